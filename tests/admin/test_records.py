"""Deletion requests and the audit log: everybody who may looks, and nobody does more."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.services import erase_own_account
from audit.actors import Actor, Origin
from audit.events import Reference, record
from audit.forgetting import redact_person
from audit.models import AuditEvent, EventDetail
from contracts import ids
from erasure.desk.shown import tell_facts
from erasure.models import DeletionRequest
from tests.admin.desk import delete_softly, sign_in, sign_in_superuser, text_of
from tests.admin.test_organization_members import form_of
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

REQUESTS = "/admin/erasure/deletionrequest/"
EVENTS = "/admin/audit/auditevent/"


def found(client: Client, url: str, **query: str) -> list[Any]:
    return [row.pk for row in client.get(url, query).context["cl"].result_list]


def test_a_finished_request_tells_what_was_removed(client: Client) -> None:
    sign_in(client, "erasure.view_deletionrequest")
    alice = UserFactory()
    actor = Actor(kind="user", id=alice.pk, channel="DELETE /account", person_id=alice.pk)
    done = erase_own_account(actor=actor, now=timezone.now())
    for page in (client.get(REQUESTS), client.get(f"{REQUESTS}{done.request_id}/change/")):
        text = text_of(page)
        assert ids.encode(ids.USER, alice.pk) in text
        assert "Erased" in text
        assert "DELETE /account" in text
    assert "1 row removed, as the database counted them." in text


def test_requests_are_found_by_account_id_and_request_id(client: Client) -> None:
    sign_in(client, "erasure.view_deletionrequest")
    alice, bob = delete_softly(), delete_softly()
    trace = ids.new_request_id()
    DeletionRequest.objects.filter(subject_id=alice.pk).update(request_id=trace, state="failed")
    hers = DeletionRequest.objects.get(subject_id=alice.pk)
    for term in (ids.encode(ids.USER, alice.pk), str(alice.pk), str(hers.pk), trace):
        assert found(client, REQUESTS, q=term) == [hers.pk]
    assert found(client, REQUESTS, state__exact="failed") == [hers.pk]
    assert found(client, REQUESTS, q="nobody") == []
    assert len(found(client, REQUESTS)) == 2
    assert bob.pk != alice.pk


def test_an_event_shows_its_facts_and_what_is_personal_about_it(client: Client) -> None:
    sign_in(client, "audit.view_auditevent")
    alice = UserFactory()
    actor = Actor(
        kind="user",
        id=alice.pk,
        channel="DELETE /v1/user",
        request_id=ids.new_request_id(),
        person_id=alice.pk,
        origin=Origin("192.0.2.7", "<b>agent</b>"),
    )
    pk = record(
        "user.deleted",
        actor=actor,
        subject=Reference("user", alice.pk),
        now=timezone.now(),
        facts={"deletion": "d-1", "removed": {"apikeys.ApiKey": 2}, "scopes": ["a", "b"]},
        keep_details=True,
    )
    page = text_of(client.get(f"{EVENTS}{pk}/change/"))
    assert "192.0.2.7" in page
    assert "&lt;b&gt;agent&lt;/b&gt;" in page
    assert "deletion: d-1; removed: 2 API keys; scopes: a, b" in page
    assert tell_facts({"member": str(alice.pk)}) == f"member: {ids.encode(ids.USER, alice.pk)}"
    redact_person(alice.pk)
    assert "None is kept." in text_of(client.get(f"{EVENTS}{pk}/change/"))


def test_events_are_found_by_every_id_on_them(client: Client) -> None:
    sign_in(client, "audit.view_auditevent")
    alice, bob = UserFactory(), UserFactory()
    trace = ids.new_request_id()
    now = timezone.now()
    actor = Actor(kind="user", id=bob.pk, channel="admin", request_id=trace)
    pk = record("user.erased", actor=actor, subject=Reference("user", alice.pk), now=now)
    record(
        "other", actor=Actor.system("cron"), subject=Reference("user", UserFactory().pk), now=now
    )
    for term in (ids.encode(ids.USER, alice.pk), ids.encode(ids.USER, bob.pk), str(pk), trace):
        assert found(client, EVENTS, q=term) == [pk]
    assert found(client, EVENTS, action="user.erased") == [pk]
    assert found(client, EVENTS, channel="admin") == [pk]


@pytest.mark.parametrize("whose", ["person", "organization"])
def test_a_story_is_all_that_touches_somebody_from_the_beginning(
    client: Client, whose: str
) -> None:
    sign_in(client, "audit.view_auditevent")
    alice, acme = UserFactory(), OrganizationFactory()
    chosen = alice.pk if whose == "person" else acme.pk
    noon = timezone.now()
    other = Reference("user", UserFactory().pk)
    actors = [
        Actor.system("cron"),
        Actor("user", alice.pk, "admin", person_id=alice.pk),
        Actor("organization", acme.pk, "keys", person_id=alice.pk),
    ]
    about = [Reference("user", alice.pk), other, other]
    told = [
        record("it", actor=actor, subject=subject, now=noon - timedelta(hours=number))
        for number, (actor, subject) in enumerate(zip(actors, about, strict=True))
    ]
    within = record(
        "it", actor=Actor.system("cron"), subject=other, now=noon, organization_id=acme.pk
    )
    record("it", actor=Actor.system("cron"), subject=other, now=noon)
    expected = [*reversed(told)] if whose == "person" else [told[2], within]
    assert found(client, EVENTS, story=str(chosen)) == expected
    if whose == "person":
        spelled = ids.encode(ids.USER, alice.pk)
        assert found(client, EVENTS, story=spelled) == expected
        page = text_of(client.get(EVENTS))
        assert f"?story={alice.pk}" in page
    assert len(found(client, EVENTS, story="nobody")) == 5


def test_what_staff_change_in_the_admin_is_in_the_log_by_field_and_not_by_value(
    client: Client,
) -> None:
    staff = sign_in_superuser(client)
    acme = OrganizationFactory(name="Acme", slug="acme")
    MembershipFactory(organization=acme, role="owner")
    data = {**form_of(acme), "name": "Alice's own"}
    assert client.post(f"/admin/organizations/organization/{acme.pk}/change/", data)
    event = AuditEvent.objects.get(action="admin.changed")
    assert (event.subject_kind, event.subject_id) == ("organization", acme.pk)
    assert (event.actor_id, event.channel) == (staff.pk, "admin")
    assert event.facts == {"model": "organizations.Organization", "fields": ["Name"]}
    assert not EventDetail.objects.filter(event_id=event.pk, field="message").exists()
    entry = LogEntry.objects.get(object_id=str(acme.pk))
    assert entry.user_id == staff.pk


@pytest.mark.parametrize("url", [REQUESTS, EVENTS])
def test_even_a_superuser_only_reads(client: Client, url: str) -> None:
    sign_in_superuser(client)
    delete_softly()
    before = (DeletionRequest.objects.count(), AuditEvent.objects.count())
    model = AuditEvent if url == EVENTS else DeletionRequest
    pk = model.objects.values_list("pk", flat=True)[0]
    assert client.get(f"{url}add/").status_code == 403
    assert client.post(f"{url}add/", {}).status_code == 403
    assert client.post(f"{url}{pk}/change/", {"state": "completed"}).status_code == 403
    assert client.post(f"{url}{pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "index": "0", "_selected_action": str(pk), "post": "yes"}
    client.post(url, data)
    page = text_of(client.get(url))
    assert "delete_selected" not in page
    assert before == (DeletionRequest.objects.count(), AuditEvent.objects.count())


@pytest.mark.parametrize("url", [REQUESTS, EVENTS])
def test_without_permission_nothing_is_seen(client: Client, url: str) -> None:
    sign_in(client, "accounts.view_deleteduser", "audit.delete_auditevent")
    assert client.get(url).status_code == 403


@pytest.mark.parametrize("url", [REQUESTS, EVENTS])
def test_a_longer_list_costs_no_more_queries(client: Client, url: str) -> None:
    sign_in_superuser(client)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(url).status_code == 200
        return len(queries)

    delete_softly()
    count()
    few = count()
    for _ in range(20):
        delete_softly()
    assert count() == few
