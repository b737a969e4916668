"""A deletion's own page: its story, and what an erasure would take."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference, record
from contracts import ids
from erasure.deleting import schedule_deletion
from erasure.desk.foreseen import unpack_plan
from erasure.desk.shown import show_deletion
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from tests.admin.desk import days_ago, delete_softly, sign_in, sign_in_superuser, text_of
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

URL = "/admin/erasure/deletionrequest/"
LOOK, RESTORE, ERASE = (
    "erasure.view_deletionrequest",
    "accounts.restore_user",
    "accounts.erase_user",
)
HOLD, RELEASE = "erasure.add_legalhold", "erasure.change_legalhold"
SYSTEM = Actor.system("test")


def request_of(subject: Any) -> DeletionRequest:
    found: DeletionRequest = DeletionRequest.objects.get(subject_id=subject.pk)
    return found


def page_of(client: Client, subject: Any) -> str:
    return text_of(client.get(f"{URL}{request_of(subject).pk}/change/"))


def confirmed(row: DeletionRequest, **fields: str) -> dict[str, str]:
    plan = f"{row.pk}:{make_plan(row.subject).id}"
    given = {"id": str(row.pk), "plan": plan, "reference": "CASE-7", "understood": "on"}
    return {**given, **fields}


def hold(subject: Any, kind: str = "user") -> None:
    about = Reference(kind, subject.pk)
    place_hold(actor=SYSTEM, subject=about, reason="Dispute 9", review_at=None, now=timezone.now())


def test_it_tells_the_whole_story_in_order(client: Client) -> None:
    sign_in(client, LOOK)
    alice = delete_softly(at=days_ago(1))
    hold(alice)
    page = page_of(client, alice)
    row = request_of(alice)
    parts = (
        ids.encode(ids.USER, alice.pk),
        "On hold",
        "The deletion was asked for",
        "By the user, through test.",
        "Access was taken away",
        "A legal hold was placed",
        "Dispute 9.",
        "What comes next",
        show_deletion(row.pk),
    )
    places = [
        page.index(part, page.index("What has happened") if n > 1 else 0)
        for n, part in enumerate(parts)
    ]
    assert places[2:] == sorted(places[2:])


def test_the_name_shows_only_to_those_who_may_see_the_kind(client: Client) -> None:
    alice = delete_softly(username="alice-archer")
    sign_in(client, LOOK)
    assert "alice-archer" not in page_of(client, alice)
    sign_in(client, LOOK, "accounts.view_user")
    assert "<h1>alice-archer</h1>" in page_of(client, alice)


def test_a_finished_one_says_what_went_and_offers_its_receipt(client: Client) -> None:
    sign_in(client, LOOK, RESTORE, ERASE, HOLD)
    alice = delete_softly()
    give_key(alice)
    erase_now(actor=SYSTEM, subject=Reference("user", alice.pk), now=timezone.now())
    page = page_of(client, alice)
    assert "2 rows removed, as the database counted them." in page
    assert "API key" in page
    assert "Backups may hold the data until" in page
    assert "receipt/" in page
    for words in ("Restore<", "Place hold", "Erase now", "Preview<"):
        assert words not in page


def test_a_story_of_many_events_costs_no_more_queries(client: Client) -> None:
    sign_in_superuser(client)
    alice = delete_softly(at=days_ago(1))
    row = request_of(alice)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{URL}{row.pk}/change/").status_code == 200
        return len(queries)

    count()
    few = count()
    for _ in range(20):
        record("deletion.retried", actor=SYSTEM, subject=row.subject, now=timezone.now())
    hold(alice)
    hold(alice)
    assert count() <= few + 1
    assert few <= 16


def test_the_preview_counts_and_changes_nothing(client: Client) -> None:
    sign_in(client, LOOK)
    alice = delete_softly()
    give_key(alice)
    row = request_of(alice)
    plan = make_plan(row.subject)
    page = text_of(client.get(f"{URL}{row.pk}/preview/"))
    assert "2 rows would be removed for ever" in page
    assert plan.id in page
    assert User.objects.filter(pk=alice.pk).exists()


def test_the_confirmation_shows_blockers_holds_and_who_is_affected(client: Client) -> None:
    sign_in(client, LOOK, "organizations.teardown_organization")
    acme = OrganizationFactory(name="Acme")
    MembershipFactory(organization=acme, role="owner")
    erin = ManagedUserFactory(organization=acme, user__username="erin").user
    subject = Reference("organization", acme.pk)
    schedule_deletion(actor=SYSTEM, subject=subject, now=timezone.now())
    hold(acme, "organization")
    row = request_of(acme)
    page = text_of(client.get(f"{URL}erase/?id={row.pk}"))
    assert "A legal hold stands." in page
    assert "Dispute 9" in page
    assert f"erin ({ids.encode(ids.USER, erin.pk)}) is erased with it" in page
    packed = page.partition(f'value="{row.pk}:')[2].partition('"')[0]
    assert unpack_plan(packed) == (make_plan(subject).id, make_plan(subject).as_record())
