"""The list of deletions: what it counts, finds and says, and what each permission opens."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from contracts import ids
from erasure.deleting import restore, schedule_deletion
from erasure.desk.shown import show_deletion
from erasure.desk.views import OPEN_VIEWS, VIEWS, condition_of, count_views, tell_view
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from tests.admin.desk import days_ago, delete_softly, sign_in, sign_in_superuser, text_of
from tests.factories import MembershipFactory, OrganizationFactory

pytestmark = pytest.mark.django_db

URL = "/admin/erasure/deletionrequest/"
LOOK = "erasure.view_deletionrequest"
SYSTEM = Actor.system("test")


def request_of(user: Any) -> Any:
    return DeletionRequest.objects.with_hold().get(subject_id=user.pk)


def hold(user: Any) -> None:
    subject = Reference("user", user.pk)
    place_hold(
        actor=SYSTEM, subject=subject, reason="Dispute 9", review_at=None, now=timezone.now()
    )


def in_every_state() -> dict[str, User]:
    """Return a user for each view of the desk."""
    now = timezone.now()
    users = {
        "grace": delete_softly(at=days_ago(1)),
        "due": delete_softly(at=days_ago(14)),
        "overdue": delete_softly(at=days_ago(16)),
        "running": delete_softly(at=days_ago(15)),
        "held": delete_softly(at=days_ago(17)),
        "failed": delete_softly(at=days_ago(15)),
        "erased": delete_softly(at=days_ago(1)),
        "restored": delete_softly(at=days_ago(1)),
    }
    hold(users["held"])
    requests = DeletionRequest.objects
    lease = now + timedelta(minutes=5)
    requests.filter(subject_id=users["running"].pk).update(state="running", lease_until=lease)
    failure = {"state": "failed", "attempts": 2, "last_error": "KeyError in execute"}
    requests.filter(subject_id=users["failed"].pk).update(**failure)
    erase_now(actor=SYSTEM, subject=Reference("user", users["erased"].pk), now=now)
    restore(actor=SYSTEM, subject=Reference("user", users["restored"].pk), now=now)
    return users


def found(client: Client, **query: str) -> set[Any]:
    return {row.subject_id for row in client.get(URL, query).context["cl"].result_list}


def test_each_deletion_lies_in_one_view_and_the_tiles_count_them(client: Client) -> None:
    sign_in(client, LOOK)
    users = in_every_state()
    now = timezone.now()
    assert count_views(now) == dict.fromkeys(users, 1)
    page = client.get(URL)
    assert [tile.number for tile in page.context["tiles"]] == ["1"] * len(VIEWS)
    for slug, user in users.items():
        assert found(client, view=slug) == {user.pk}, slug
        assert tell_view(request_of(user), now).slug == slug


def test_the_open_views_leave_no_open_request_out(client: Client) -> None:
    now = timezone.now()
    late = delete_softly(at=days_ago(1))
    # An erasure that was asked for at once and whose worker died before the grace period's end.
    DeletionRequest.objects.filter(subject_id=late.pk).update(state="running", lease_until=None)
    held = delete_softly()
    hold(held)
    lease = now + timedelta(minutes=5)
    DeletionRequest.objects.filter(subject_id=held.pk).update(state="running", lease_until=lease)
    for user in (late, held):
        request = request_of(user)
        rows = DeletionRequest.objects.with_hold().filter(pk=request.pk)
        inside = [v.slug for v in OPEN_VIEWS if rows.filter(condition_of(v.slug, now)).exists()]
        assert inside == [tell_view(request, now).slug]


def test_a_chosen_tile_leads_back_to_the_whole_list(client: Client) -> None:
    sign_in(client, LOOK)
    delete_softly()
    tiles = client.get(URL, {"view": "grace"}).context["tiles"]
    assert [tile.is_chosen for tile in tiles][:2] == [True, False]
    assert tiles[0].url == URL
    assert tiles[1].url == f"{URL}?view=due"


def test_it_says_what_happens_next_in_words(client: Client) -> None:
    sign_in(client, LOOK)
    in_every_state()
    page = text_of(client.get(URL))
    for words in (
        "in 13 days",
        "due: erased by the next purge",
        "being erased now",
        "on legal hold: stays until the hold is released",
        "failed: KeyError in execute",
    ):
        assert words in page


def test_overdue_and_failed_ones_are_banners(client: Client) -> None:
    sign_in(client, LOOK)
    assert 'class="banner' not in text_of(client.get(URL))
    in_every_state()
    page = text_of(client.get(URL))
    assert "Erasure is behind." in page
    assert "The oldest has been due for 2 days." in page
    assert "Attempts have failed." in page


def test_a_hold_that_is_due_for_review_is_a_banner_for_those_who_see_holds(client: Client) -> None:
    alice = delete_softly()
    today = timezone.localdate()
    place_hold(
        actor=SYSTEM,
        subject=Reference("user", alice.pk),
        reason="Dispute 9",
        review_at=today,
        now=timezone.now(),
    )
    sign_in(client, LOOK)
    assert "due for review" not in text_of(client.get(URL))
    sign_in(client, LOOK, "erasure.view_legalhold")
    assert "due for review" in text_of(client.get(URL))


def test_deletions_are_found_by_every_id(client: Client) -> None:
    sign_in(client, LOOK)
    alice, _ = delete_softly(), delete_softly()
    trace = ids.new_request_id()
    DeletionRequest.objects.filter(subject_id=alice.pk).update(request_id=trace)
    hers = request_of(alice)
    terms = (ids.encode(ids.USER, alice.pk), str(alice.pk), show_deletion(hers.pk), trace)
    for term in (*terms, str(hers.pk)):
        assert found(client, q=term) == {alice.pk}, term
    assert found(client, q="nobody") == set()
    assert len(found(client)) == 2


def test_living_subjects_are_found_by_name_by_those_who_may_see_them(client: Client) -> None:
    alice = delete_softly(username="alice", email="a.archer@example.com")
    delete_softly(username="bob")
    acme = OrganizationFactory(name="Acme Anvils", slug="acme")
    MembershipFactory(organization=acme, role="owner")
    subject = Reference("organization", acme.pk)
    schedule_deletion(actor=SYSTEM, subject=subject, now=timezone.now())
    sign_in(client, LOOK, "accounts.view_user", "organizations.view_organization")
    for term in ("alice", "A.Archer@example.com"):
        assert found(client, q=term) == {alice.pk}
    assert found(client, q="acme") == {acme.pk}
    page = text_of(client.get(URL))
    assert "Acme Anvils" in page
    assert '<span class="living">alice</span>' in page
    sign_in(client, LOOK)
    assert found(client, q="alice") == set()
    page = text_of(client.get(URL))
    assert "Acme Anvils" not in page
    assert '<span class="living">' not in page
    assert len(found(client)) == 3


def test_it_narrows_down_by_kind_and_time(client: Client) -> None:
    sign_in(client, LOOK)
    old, new = delete_softly(at=days_ago(10)), delete_softly()
    assert found(client, asked="7") == {new.pk}
    assert found(client, asked="30") == {old.pk, new.pk}
    assert found(client, kind="organization") == set()
    assert found(client, kind="user") == {old.pk, new.pk}


def test_forty_deletions_cost_as_many_queries_as_four(client: Client) -> None:
    sign_in_superuser(client)

    def count(url: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    for _ in range(4):
        hold(delete_softly())
    count(URL)
    few = count(URL)
    for _ in range(36):
        hold(delete_softly())
    assert count(URL) == few
    assert few <= 20


@pytest.mark.parametrize("permissions", [(), ("accounts.erase_user",), ("erasure.view_legalhold",)])
def test_without_permission_nothing_is_seen(client: Client, permissions: tuple[str, ...]) -> None:
    sign_in(client, *permissions)
    alice = delete_softly()
    row = request_of(alice)
    for page in ("", f"{row.pk}/change/", f"{row.pk}/preview/", f"{row.pk}/receipt/"):
        assert client.get(f"{URL}{page}").status_code == 403


def test_who_may_only_look_is_offered_nothing_else(client: Client) -> None:
    sign_in(client, LOOK)
    row = request_of(delete_softly())
    assert 'name="action"' not in text_of(client.get(URL))
    page = text_of(client.get(f"{URL}{row.pk}/change/"))
    assert "Preview" in page
    for words in ("Restore", "Place hold", "Erase now", "Export", "Retry"):
        assert words not in page


def test_nothing_here_writes_to_the_admins_history(client: Client) -> None:
    sign_in_superuser(client)
    alice = delete_softly(username="alice")
    row = request_of(alice)
    client.post(f"{URL}restore/", {"id": str(row.pk), "reference": ""})
    row = request_of(delete_softly(username="bob"))
    data = {"id": str(row.pk), "reason": "Dispute 9", "review_at": "2999-01-01"}
    client.post(f"{URL}hold/", data)
    assert not LogEntry.objects.exists()
    assert not User.objects.get(pk=alice.pk).is_deleted
