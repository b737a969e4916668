"""Tearing down a large organization: access ends in the request, a worker does the rest."""

from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db.models import Count
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import User
from apikeys.models import ApiKey
from audit.models import AuditEvent, EventDetail
from contracts import ids
from erasure import alone, draining, executor, receipts, requests, sets, signing, subjects, tasks
from erasure.along import read_along, tell_along
from erasure.brakes import place_pause, release_pause
from erasure.clocks import wake_purge
from erasure.exceptions import NotRestorable
from erasure.holds import place_hold, release_hold
from erasure.models import DeletionRequest
from erasure.purging import purge_due
from erasure.stopping import is_stopping
from erasure.working import carry_on
from organizations.models import Invitation, ManagedUser, Membership, Organization
from tests.bystanders import charlie_untouched
from tests.commands.shell import run_json
from tests.erasure.leaving import SYSTEM, about
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    SessionFactory,
    UserFactory,
    give_key,
)
from tests.ledgers import a_ledger

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has more than twelve rows is large, goes in pieces of four or so, and two managed users
    are many."""
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 12)
    monkeypatch.setattr(alone, "PIECE", 0)
    monkeypatch.setattr(draining, "FIRST", 4)
    monkeypatch.setattr(draining, "MOST", 4)
    monkeypatch.setattr(subjects, "FEW", 2)


@pytest.fixture
def acme() -> Organization:
    """An organization of 30 rows and more."""
    owner = MembershipFactory(role="owner")
    acme: Organization = owner.organization
    for _ in range(15):
        MembershipFactory(organization=acme)
        InvitationFactory(organization=acme)
    return acme


def owner_of(organization: Organization) -> User:
    owner: User = organization.memberships.get(role="owner").user
    return owner


def tear_down(organization: Organization, key: str = "") -> Any:
    key = key or give_key(owner_of(organization))
    return Client().delete(
        f"/organizations/{organization.pk}", headers={"Authorization": f"Bearer {key}"}
    )


def request_of(row: User | Organization) -> DeletionRequest:
    return DeletionRequest.objects.get(subject_id=row.pk)


def drain(organization: Organization) -> dict[str, int]:
    """Do what the worker does with the task."""
    done: dict[str, int] = tasks.drain.call(str(request_of(organization).pk))
    return done


def is_there(organization: Organization) -> bool:
    return Organization.objects.filter(pk=organization.pk).exists()


def uses(key: str) -> int:
    """Return what the service answers to a key that may read its own account."""
    headers = {"Authorization": f"Bearer {key}"}
    return Client().get("/v1/api-keys", headers=headers).status_code


def test_the_answer_comes_at_once_and_a_worker_finishes(acme: Organization, tmp_path: Path) -> None:
    with charlie_untouched(), a_ledger(tmp_path) as ledger:
        own = give_key(acme)
        key = give_key(owner_of(acme), "organizations:delete", "account:read")
        response = tear_down(acme, key)
        assert (response.status_code, response.content) == (204, b"")
        request = request_of(acme)
        where = f"/v1/deletions/{ids.encode(ids.DELETION, request.pk)}"
        assert response["Location"] == where
        acme.refresh_from_db()
        assert (acme.is_deleted, acme.is_active) == (True, False)
        assert uses(own) == 401
        assert not ApiKey.objects.filter(organization=acme, revoked_at=None).exists()
        # For everybody else it is gone.
        assert tear_down(acme, key).status_code == 404

        headers = {"Authorization": f"Bearer {key}"}
        progress = Client().get(where, headers=headers).json()
        assert (progress["state"], progress["progress"]) == ("running", None)
        wanted = count_rows(acme)
        assert drain(acme) == {"erased": 1, "failed": 0}
        progress = Client().get(where, headers=headers).json()
        assert (progress["state"], progress["counts"]) == ("completed", wanted)
        assert not is_there(acme)
        assert AuditEvent.objects.filter(subject_id=acme.pk, action="organization.erased").exists()
        told = receipts.verify(receipts.receipt_of(request_of(acme)), signing.key_set()["keys"])
        assert told["removed"] == wanted
        assert told["rows"] == sum(wanted.values()) > 30
        states = [entry.state for _, entry in ledger.read() if entry.subject_id == acme.pk]
        # One intent for all pieces; that it came to its end is written after the commit.
        assert states == ["intent"]
        # A task that runs twice finds nothing to do.
        assert drain(acme) == {"erased": 0, "failed": 0}


def count_rows(organization: Organization) -> dict[str, int]:
    """Count by hand what an organization owns."""
    counts = {"organizations.Organization": 1}
    for model in (Membership, Invitation, ApiKey):
        if rows := model._default_manager.filter(organization=organization).count():
            counts[model._meta.label] = rows
    return counts


def test_the_progress_is_told_while_it_goes(
    acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    tear_down(acme)
    seen: list[dict[str, Any]] = []
    real = draining.Drain.work

    def work(self: draining.Drain, **options: Any) -> Any:
        seen.append(request_of(acme).cursor)
        return real(self, **options)

    monkeypatch.setattr(draining.Drain, "work", work)
    # It is told to give way after some pieces, and another worker goes on.
    pieces = iter([False] * 5)
    monkeypatch.setattr(tasks, "is_stopping", lambda: next(pieces, True))
    assert drain(acme) == {"erased": 0, "failed": 0}
    request = request_of(acme)
    assert (request.state, request.lease_token) == ("running", None)
    assert 0 < sum(request.counts.values()) < 32
    assert request.cursor["expected"] > 0
    assert request.cursor["seconds"] > 0
    monkeypatch.setattr(tasks, "is_stopping", is_stopping)
    assert drain(acme) == {"erased": 1, "failed": 0}
    assert len(seen) > 8


def test_a_task_that_got_lost_is_found_by_the_sweep(acme: Organization) -> None:
    with mock.patch("erasure.engines.wake"):
        tear_down(acme)
    now = timezone.now()
    assert wake_purge(now, execute=True) == {"due": 1, "stalled": 1, "woken": 1}
    assert purge_due(actor=SYSTEM, clock=timezone.now, jobs=1).erased == 1
    assert not is_there(acme)


def test_nobody_restores_what_was_torn_down(acme: Organization) -> None:
    tear_down(acme)
    with pytest.raises(NotRestorable):
        requests.cancel(subject=about(acme), now=timezone.now())


def test_a_hold_or_a_pause_that_comes_later_keeps_it_until_it_is_released(
    acme: Organization,
) -> None:
    tear_down(acme)
    now = timezone.now()
    hold = place_hold(actor=SYSTEM, subject=about(acme), reason="x", review_at=None, now=now)
    pause = place_pause(actor=SYSTEM, reason="x", now=now, organization_id=acme.pk)
    assert drain(acme) == {"erased": 0, "failed": 0}
    release_hold(actor=SYSTEM, hold_id=hold, now=now)
    assert drain(acme) == {"erased": 0, "failed": 0}
    assert is_there(acme)
    release_pause(actor=SYSTEM, pause_id=pause, now=now)
    assert drain(acme) == {"erased": 1, "failed": 0}


def test_many_managed_users_lose_their_access_in_the_request(acme: Organization) -> None:
    erin = UserFactory(username="erin")
    erin.set_password("correct horse")
    erin.save()
    ManagedUserFactory(organization=acme, user=erin)
    for _ in range(3):
        ManagedUserFactory(organization=acme)
    key = give_key(erin, "keys:manage")
    session = Client()
    assert session.login(username="erin", password="correct horse")
    assert uses(key) == 200
    tear_down(acme)
    # Nothing was written about them, and yet nothing of theirs works any more.
    erin.refresh_from_db()
    assert not erin.is_deleted
    assert uses(key) == 401
    assert not Client().login(username="erin", password="correct horse")
    assert session.get("/admin/").wsgi_request.user.is_anonymous


def write_about(user: User) -> None:
    """Give somebody rows that go after what says that an organization manages them."""
    EventDetail.objects.bulk_create(
        EventDetail(event_id=uuid7(), person_id=user.pk, field="f", value="v") for _ in range(20)
    )


def test_whose_worker_died_amid_a_managed_user_goes_on_with_that_user_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However far it had come: what says that the user is managed goes with one of the pieces."""
    is_unmanaged = set()
    for pieces in count(1):
        acme = MembershipFactory(role="owner").organization
        erin = ManagedUserFactory(organization=acme).user
        write_about(erin)
        tear_down(acme)
        asked = iter([False] * pieces)
        monkeypatch.setattr(tasks, "is_stopping", lambda asked=asked: next(asked, True))
        if drain(acme)["erased"]:
            break
        is_unmanaged.add(not ManagedUser.objects.filter(user=erin).exists())
        monkeypatch.setattr(tasks, "is_stopping", is_stopping)
        assert drain(acme)["failed"] == 0
        hers, cause = request_of(erin), request_of(acme)
        assert (hers.state, cause.state) == ("completed", "completed")
        assert cause.along == tell_along([(about(erin), hers.pk)]), pieces
    assert is_unmanaged == {False, True}


def test_staff_who_finish_what_a_dead_worker_began_count_all_who_went_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acme = MembershipFactory(role="owner").organization
    users = [ManagedUserFactory(organization=acme).user for _ in range(3)]
    write_about(users[1])
    tear_down(acme)
    asked = iter([False] * 4)
    monkeypatch.setattr(tasks, "is_stopping", lambda: next(asked, True))
    drain(acme)
    states = sorted(request_of(user).state for user in users)
    assert states == ["completed", "completed", "running"]
    monkeypatch.setattr(subjects, "FEW", 25)
    code, said = run_json("erase_organization", str(acme.pk), "--execute")
    assert code == 0, said
    assert not is_there(acme)
    along = [(about(user), request_of(user).pk) for user in users]
    assert request_of(acme).along == tell_along(along)


def test_a_hold_on_a_managed_user_who_is_half_gone_keeps_the_organization(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acme = MembershipFactory(role="owner").organization
    erin = ManagedUserFactory(organization=acme).user
    write_about(erin)
    tear_down(acme)
    for _ in range(20):
        asked = iter([False, False])
        monkeypatch.setattr(tasks, "is_stopping", lambda asked=asked: next(asked, True))
        drain(acme)
        if not ManagedUser.objects.filter(user=erin).exists():
            break
    assert request_of(erin).state == "running"
    monkeypatch.setattr(tasks, "is_stopping", is_stopping)
    now = timezone.now()
    hold = place_hold(actor=SYSTEM, subject=about(erin), reason="x", review_at=None, now=now)
    assert drain(acme)["erased"] == 0
    assert is_there(acme)
    release_hold(actor=SYSTEM, hold_id=hold, now=now)
    assert drain(acme)["failed"] == 0
    assert (request_of(erin).state, is_there(acme)) == ("completed", False)


def test_many_managed_users_are_erased_each_on_its_own(acme: Organization, tmp_path: Path) -> None:
    with charlie_untouched(), a_ledger(tmp_path) as ledger:
        users = [ManagedUserFactory(organization=acme).user for _ in range(7)]
        for user in users:
            give_key(user)
            SessionFactory(user=user)
        # One is on the way out already, and one was deleted before.
        requests.schedule(
            actor=SYSTEM,
            subject=about(users[0]),
            due_at=timezone.now() + requests.RETRY_AT_MOST,
            now=timezone.now(),
            before={},
        )
        tear_down(acme)
        cause = request_of(acme)
        assert drain(acme) == {"erased": 8, "failed": 0}
        assert not User.objects.filter(pk__in=[user.pk for user in users]).exists()
        written = {entry.subject_id for _, entry in ledger.read() if entry.state == "intent"}
        assert {acme.pk, *(user.pk for user in users)} <= written
        keys = signing.key_set()["keys"]
        for user in users:
            request = request_of(user)
            assert (request.state, request.cause_id) == ("completed", cause.pk)
            told = receipts.verify(receipts.receipt_of(request), keys)
            assert told["removed"] == {
                "accounts.Session": 1,
                "accounts.User": 1,
                "apikeys.ApiKey": 1,
                "organizations.ManagedUser": 1,
            }
        told = receipts.verify(receipts.receipt_of(request_of(acme)), keys)
        lines = ((about(user), request_of(user).pk) for user in reversed(users))
        assert told["along"] == read_along(cause.pk) == tell_along(lines)
        assert told["along"]["user"] == 7
        events = AuditEvent.objects.filter(action="user.erased", organization_id=acme.pk)
        assert events.aggregate(found=Count("subject_id", distinct=True))["found"] >= 6


@pytest.mark.parametrize("searches", [False, True])
def test_who_went_along_is_kept_in_memory_for_a_search_only(
    acme: Organization, *, searches: bool
) -> None:
    for _ in range(5):
        ManagedUserFactory(organization=acme)
    tear_down(acme)
    done = carry_on(
        request_of(acme).pk,
        actor=SYSTEM,
        clock=timezone.now,
        gives_way=lambda: False,
        searches=searches,
    )
    assert (done.number, len(done.erased)) == (6, 6 if searches else 0)


def test_who_owns_another_organization_is_deleted_in_the_request(acme: Organization) -> None:
    frank = ManagedUserFactory(organization=acme).user
    for _ in range(3):
        ManagedUserFactory(organization=acme)
    other = MembershipFactory(user=frank, role="owner").organization
    key = give_key(owner_of(acme))
    refused = tear_down(acme, key)
    assert refused.status_code == 409
    assert not DeletionRequest.objects.exists()
    MembershipFactory(organization=other, role="owner")
    assert tear_down(acme, key).status_code == 204
    frank.refresh_from_db()
    # Whoever leaves the other one now is told that nobody else owns it.
    assert frank.is_deleted
    assert drain(acme)["failed"] == 0
    assert not is_there(acme)
    assert is_there(other)


def test_a_hold_on_one_of_many_managed_users_refuses_the_teardown(acme: Organization) -> None:
    users = [ManagedUserFactory(organization=acme).user for _ in range(4)]
    now = timezone.now()
    place_hold(actor=SYSTEM, subject=about(users[2]), reason="x", review_at=None, now=now)
    assert tear_down(acme).status_code == 409
    acme.refresh_from_db()
    assert not acme.is_deleted
    assert ManagedUser.objects.filter(organization=acme).count() == 4
