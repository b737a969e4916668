"""Erasures that somebody waits for: by staff, of families, in one transaction or in many."""

from typing import Any

import pytest
from django.db import connection

from accounts.models import Session, User
from accounts.services import erase_managed_user, erase_own_account
from audit.actors import Actor
from audit.models import AuditEvent, EventDetail
from erasure import alone, draining, executor, locking, pacing, sets, signing, working
from erasure.along import read_along
from erasure.brakes import place_pause
from erasure.closing import Erasure
from erasure.draining import Drain
from erasure.exceptions import (
    Blocked,
    DeletionInProgress,
    LedgerUnavailable,
    Paused,
    PlanDrifted,
    RightMissing,
    SubjectNotFound,
    UnderLegalHold,
)
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest, LegalHold
from erasure.planner import make_plan
from erasure.purging import purge_due
from erasure.receipts import receipt_of, verify
from organizations.models import ManagedUser, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.erasure.leaving import (
    DAY,
    NOW,
    SYSTEM,
    about,
    due_person,
    gone,
    person,
    request_of,
)
from tests.erasure.test_deleting import organization_with
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has more than twelve rows is large, and goes in pieces of four or so."""
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 12)
    monkeypatch.setattr(alone, "PIECE", 0)
    monkeypatch.setattr(draining, "FIRST", 4)
    monkeypatch.setattr(draining, "MOST", 4)


def erase(row: Any, **options: Any) -> Erasure:
    return erase_now(actor=SYSTEM, subject=about(row), now=NOW, **options)


def large_person(rows: int = 30) -> User:
    user = person()
    for _ in range(rows):
        MembershipFactory(user=user)
    return user


def test_a_live_person_goes_with_receipt_and_event() -> None:
    with charlie_untouched():
        user = person()
        done = erase(user, reference="CASE-3")
    request = request_of(user)
    assert gone(user)
    assert (
        done.counts
        == request.counts
        == {
            "accounts.User": 1,
            "accounts.Session": 1,
            "apikeys.ApiKey": 1,
            "audit.EventDetail": 2,
        }
    )
    assert (request.state, len(request.signature or b"")) == ("completed", 64)
    event = AuditEvent.objects.get(subject_id=user.pk)
    assert event.facts == {
        "deletion": str(request.pk),
        "removed": request.counts,
        "reference": "CASE-3",
    }


def test_an_organization_goes_after_those_whom_it_manages() -> None:
    organization = organization_with(2)
    users = [row.user for row in ManagedUser.objects.filter(organization=organization)]
    done = erase(organization)
    assert done.counts["organizations.Organization"] == 1
    assert "accounts.User" not in done.counts
    for user in users:
        assert gone(user)
        assert request_of(user).cause_id == done.request_id


def test_a_plan_that_is_named_must_be_that_of_now() -> None:
    user = person()
    plan = make_plan(about(user))
    give_key(user)
    before = read_rows()
    with pytest.raises(PlanDrifted) as refused:
        erase(user, plan_id=plan.id)
    assert refused.value.drift
    assert read_rows() == before
    assert erase(user, plan_id=make_plan(about(user)).id).counts["apikeys.ApiKey"] == 2


def test_a_plan_whose_record_is_at_hand_may_differ_in_nothing_material() -> None:
    user, other = person(), person()
    plan = make_plan(about(user))
    given = {"plan_id": plan.id, "planned": plan.as_record()}
    give_key(user)
    for _ in range(10):
        MembershipFactory(user=user)
    with pytest.raises(PlanDrifted) as refused:
        erase(user, **given)
    assert refused.value.drift == [
        "organizations.Membership: 10 rows to be removed, none was planned"
    ]
    user.memberships.all().delete()
    with pytest.raises(PlanDrifted):
        erase(user, plan_id=plan.id, planned={**plan.as_record(), "removed": {"accounts.User": 9}})
    with pytest.raises(PlanDrifted):
        erase(other, **given)
    assert erase(user, **given).counts["apikeys.ApiKey"] == 2
    assert not gone(other)


def test_a_plan_that_was_written_down_may_differ_in_nothing_material() -> None:
    user = due_person(overdue=-DAY)
    plan = make_plan(about(user))
    DeletionRequest.objects.update(plan_id=plan.id, planned=plan.as_record())
    # Fewer rows are no drift; a model that nobody had looked at is.
    Session.objects.filter(user=user).delete()
    MembershipFactory(user=user)
    with pytest.raises(PlanDrifted):
        erase(user, plan_id=plan.id)
    user.memberships.all().delete()
    assert erase(user, plan_id=plan.id)


@pytest.mark.parametrize("reason", ["hold", "pause", "owner", "lease", "restored", "gone"])
def test_what_stands_against_it_is_told_and_nothing_changes(reason: str) -> None:
    user = due_person()
    expected: dict[str, type[Exception]] = {
        "hold": UnderLegalHold,
        "pause": Paused,
        "owner": Blocked,
        "lease": DeletionInProgress,
        "restored": SubjectNotFound,
        "gone": SubjectNotFound,
    }
    if reason == "hold":
        place_hold(actor=SYSTEM, subject=about(user), reason="x", review_at=None, now=NOW)
    if reason == "pause":
        place_pause(actor=SYSTEM, reason="x", now=NOW)
    if reason == "owner":
        user = MembershipFactory(role="owner").user
    if reason == "lease":
        DeletionRequest.objects.update(state="running", lease_until=NOW + DAY)
    if reason == "restored":
        User.objects.update(is_deleted=False)
    subject = about(user)
    if reason == "gone":
        User.objects.filter(pk=user.pk).delete()
    before = read_rows()
    with pytest.raises(expected[reason]):
        erase_now(actor=SYSTEM, subject=subject, now=NOW, only_deleted=reason == "restored")
    assert read_rows() == before


def test_a_hold_on_one_of_a_family_keeps_all_of_it() -> None:
    organization = organization_with(2)
    held = ManagedUser.objects.filter(organization=organization)[0].user
    place_hold(actor=SYSTEM, subject=about(held), reason="x", review_at=None, now=NOW)
    before = read_rows()
    with pytest.raises(UnderLegalHold) as refused:
        erase(organization)
    assert refused.value.subject_id == held.pk
    assert read_rows() == before


def test_staff_need_the_right_to_erase() -> None:
    staff, user = UserFactory(is_staff=True), person()
    actor = Actor(kind="user", id=staff.pk, channel="test", person_id=staff.pk)
    with pytest.raises(RightMissing):
        erase_now(actor=actor, subject=about(user), now=NOW)
    assert not gone(user)


def test_without_a_ledger_nothing_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    user = person()
    before = read_rows()

    class Broken:
        identity = ""

        def intend(self, entries: Any) -> None:
            raise LedgerUnavailable("no space")

    monkeypatch.setattr("erasure.closing.open_ledger", Broken)
    with pytest.raises(LedgerUnavailable):
        erase(user)
    assert read_rows() == before


@pytest.mark.usefixtures("_small")
def test_a_large_one_goes_in_many_transactions_and_is_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states: list[tuple[str, bool, int]] = []
    real = Drain.work

    def work(self: Drain, **options: Any) -> Any:
        request = DeletionRequest.objects.get(subject_id=self.subject_id)
        user = User.objects.get(pk=self.subject_id)
        states.append((request.state, user.is_deleted, sum(request.counts.values())))
        return real(self, **options)

    monkeypatch.setattr(Drain, "work", work)
    with charlie_untouched():
        user = large_person()
        actor = Actor(kind="user", id=user.pk, channel="account", person_id=user.pk)
        done = erase_own_account(actor=actor, now=NOW)
    assert gone(user)
    # Access ended before the first piece.
    assert {(state, is_deleted) for state, is_deleted, _ in states} == {("running", True)}
    request = request_of(user)
    assert done.counts == request.counts
    assert (request.state, request.cursor, request.lease_token) == ("completed", {}, None)
    actions = AuditEvent.objects.filter(subject_id=user.pk).order_by("id")
    assert list(actions.values_list("action", flat=True)) == ["user.deleted", "user.erased"]


@pytest.mark.usefixtures("_small")
def test_a_large_family_goes_in_many_transactions() -> None:
    with charlie_untouched():
        organization = organization_with(3)
        users = [row.user for row in ManagedUser.objects.filter(organization=organization)]
        done = erase(organization)
    assert not Organization.objects.filter(pk=organization.pk).exists()
    assert all(map(gone, users))
    request = request_of(organization)
    assert done.counts == request.counts
    assert {request_of(user).cause_id for user in users} == {request.pk}
    assert request.along == read_along(request.pk)
    assert request.along["user"] == 3


@pytest.mark.usefixtures("_small")
def test_a_contract_that_keeps_the_log_keeps_it_in_pieces_too() -> None:
    organization = organization_with(0)
    user = large_person()
    ManagedUserFactory(organization=organization, user=user)
    actor = Actor(kind="organization", id=organization.pk, channel="users")
    erase_managed_user(actor=actor, reference=user.pk, now=NOW)
    assert gone(user)
    assert EventDetail.objects.filter(person_id=user.pk).count() == 2
    assert "audit.EventDetail" not in request_of(user).counts


@pytest.mark.usefixtures("_small")
def test_a_large_one_whose_process_dies_is_finished_by_the_purge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = large_person()
    real, pieces = working.erase_claimed, 0  # type: ignore[attr-defined]
    inside: Any = alone
    carry = Drain.work

    def die(self: Drain, **options: Any) -> Any:
        nonlocal pieces
        pieces += 1
        if pieces == 3:
            raise KeyboardInterrupt
        return carry(self, **options)

    monkeypatch.setattr(Drain, "work", die)
    with pytest.raises(KeyboardInterrupt):
        erase(user)
    half = request_of(user)
    assert (half.state, half.lease_until is not None) == ("running", True)
    assert 0 < sum(half.counts.values()) < 30
    assert purge_due(actor=SYSTEM, clock=lambda: NOW).erased == 0, "its lease stands"
    assert real is inside.erase_claimed
    assert purge_due(actor=SYSTEM, clock=lambda: NOW + DAY).erased == 1
    assert request_of(user).counts["organizations.Membership"] == 30


@pytest.mark.usefixtures("_small")
def test_a_hold_that_comes_while_a_large_one_goes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    user = large_person()
    real = Drain.work

    def work(self: Drain, **options: Any) -> Any:
        if not LegalHold.objects.exists():
            LegalHold.objects.create(
                subject_kind="user", subject_id=user.pk, reason="x", placed_at=NOW
            )
        return real(self, **options)

    monkeypatch.setattr(Drain, "work", work)
    with pytest.raises(UnderLegalHold):
        erase(user)
    assert not gone(user)
    assert request_of(user).state == "running"


def test_the_statements_of_a_set_do_not_depend_on_its_size() -> None:
    """Hundreds of subjects are so many rows in so many statements, and no statement for each."""
    from django.test.utils import CaptureQueriesContext

    counts = []
    for size in (1, 30):
        for _ in range(size):
            due_person()
        with CaptureQueriesContext(connection) as captured:
            purge_due(actor=SYSTEM, clock=lambda: NOW, canary=False)
        # SQLite closes requests and writes events row by row, within one call each.
        counts.append(len([it for it in captured if "SAVEPOINT" not in it["sql"]]))
    assert counts[0] == counts[1] or connection.vendor == "sqlite"


@pytest.mark.usefixtures("_small")
def test_what_the_soft_delete_of_a_large_one_takes_is_counted_with_it() -> None:
    """Sessions end with the access, moments before the rest goes: the receipt counts them."""
    with charlie_untouched():
        organization = organization_with(3)
        users = [row.user for row in ManagedUser.objects.filter(organization=organization)]
        for user in users:
            SessionFactory(user=user)
        large = large_person()
        sessions = {user.pk: Session.objects.filter(user=user).count() for user in (*users, large)}
        erase(organization)
        erase(large)
    for user in (*users, large):
        assert gone(user)
        assert request_of(user).counts["accounts.Session"] == sessions[user.pk] >= 1
        receipt = verify(receipt_of(request_of(user)), signing.key_set()["keys"])
        assert receipt["removed"] == request_of(user).counts
