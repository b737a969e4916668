"""``/v1/audit-events``: one's own organizations, or all for staff; page by page."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.utils import timezone

from accounts.models import UserGroup
from apikeys import scopes
from audit import offline
from audit.actors import Actor
from audit.events import Reference, record
from audit.models import AuditEvent
from audit.signers import verifiers
from contracts import ids
from tests.audit.logs import events, seal_all
from tests.databases import triggers_off
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory, give_key
from tests.house.asking import ask, faults, refused

pytestmark = pytest.mark.django_db

URL = "/v1/audit-events"
SYSTEM = Actor.system("test")


def write(action: str, organization: Any = None, subject: Any = None, **values: Any) -> UUID:
    about = Reference("user", (subject or UserFactory()).pk)
    now = values.pop("now", timezone.now())
    within = organization.pk if organization else None
    return record(action, actor=SYSTEM, subject=about, now=now, organization_id=within, **values)


def seen(key: str, query: str = "") -> list[str]:
    response = ask("GET", f"{URL}{query}", key)
    assert response.status_code == 200, response.content
    return [it["action"] for it in response.json()["data"]]


def test_an_organization_sees_its_own_events_and_nobody_elses() -> None:
    acme, other = OrganizationFactory(), OrganizationFactory()
    key = give_key(acme)
    AuditEvent.objects.count()
    write("member.added", acme)
    write("member.added", other)
    write("user.created")
    record(
        "organization.renamed",
        actor=SYSTEM,
        subject=Reference("organization", acme.pk),
        now=timezone.now(),
    )
    assert seen(key) == ["organization.renamed", "member.added"]
    assert seen(key, f"?organization={acme.pk}") == ["organization.renamed", "member.added"]
    assert refused(ask("GET", f"{URL}?organization={other.pk}", key)) == (
        403,
        "INSUFFICIENT_PERMISSIONS",
    )


def test_admins_see_the_organizations_that_they_run_and_members_see_none() -> None:
    acme, other = OrganizationFactory(), OrganizationFactory()
    admin, member = UserFactory(), UserFactory()
    MembershipFactory(user=admin, organization=acme, role="admin")
    MembershipFactory(user=member, organization=acme, role="member")
    write("in.acme", acme)
    write("in.other", other)
    write("of.admin", None, admin)
    assert seen(give_key(admin)) == ["in.acme"]
    assert seen(give_key(admin), f"?organization={acme.pk}") == ["in.acme"]
    assert seen(give_key(member)) == []
    assert ask("GET", f"{URL}?organization={acme.pk}", give_key(member)).status_code == 403
    weak = give_key(admin, scopes.ACCOUNT_READ)
    assert refused(ask("GET", URL, weak)) == (403, "INSUFFICIENT_PERMISSIONS")
    assert ask("GET", URL).status_code == 401


def test_staff_with_the_permission_see_everything() -> None:
    acme = OrganizationFactory()
    staff, clerk = UserFactory(is_staff=True), UserFactory(is_staff=True)
    group = Group.objects.create(name="auditors")
    group.permissions.add(Permission.objects.get(codename="view_auditevent"))
    UserGroup.objects.create(user=staff, group=group)
    alice = UserFactory()
    write("in.acme", acme)
    pk = write("of.alice", None, alice, facts={"n": 1})
    key = give_key(staff)
    assert seen(key) == ["of.alice", "in.acme"]
    assert seen(key, f"?organization={acme.pk}") == ["in.acme"]
    assert seen(give_key(clerk)) == []
    (found,) = ask("GET", f"{URL}?subject={ids.encode(ids.USER, alice.pk)}", key).json()["data"]
    assert found["id"] == ids.encode(ids.EVENT, pk)
    assert found["subject"] == {"kind": "user", "id": ids.encode(ids.USER, alice.pk)}
    assert found["actor"] == {"kind": "system", "id": None}
    assert (found["facts"], found["position"], found["forged"]) == ({"n": 1}, None, False)
    with triggers_off():
        events().filter(pk=pk).update(action="of.bob")
    assert [it["forged"] for it in ask("GET", URL, key).json()["data"]] == [True, False]


def test_filters_hold_together() -> None:
    acme = OrganizationFactory()
    key = give_key(acme)
    now = timezone.now()
    alice = UserFactory()
    write("member.added", acme, alice, now=now - timedelta(days=2))
    write("member.removed", acme, alice)
    write("key.made", acme)
    assert seen(key, "?action=member.removed") == ["member.removed"]
    assert seen(key, "?action=member.") == ["member.removed", "member.added"]
    day = f"{now - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert seen(key, f"?since={day}&action=member.") == ["member.removed"]
    assert seen(key, f"?until={day}") == ["member.added"]
    assert seen(key, f"?subject={alice.pk}&action=key.made") == []


def test_pages_follow_each_other_while_events_come_in() -> None:
    acme = OrganizationFactory()
    key = give_key(acme)
    for n in range(7):
        write(f"e{n}", acme)
    pages: list[list[str]] = []
    query = "?limit=3"
    while query:
        answer = ask("GET", f"{URL}{query}", key).json()
        pages.append([it["action"] for it in answer["data"]])
        cursor = answer["next_cursor"]
        query = f"?limit=3&cursor={cursor}" if cursor else ""
        write("late", acme)
    assert pages == [["e6", "e5", "e4"], ["e3", "e2", "e1"], ["e0"]]


def test_a_wrong_query_is_refused_part_by_part() -> None:
    key = give_key(OrganizationFactory())
    response = ask(
        "GET",
        f"{URL}?limit=0&cursor=x&since=yesterday&subject=bob&organization=x&actor=&action=&other=1",
        key,
    )
    assert response.status_code == 422
    names = ("limit", "cursor", "since", "subject", "organization", "actor", "action", "other")
    assert faults(response) == {("query", it) for it in names}


@pytest.mark.parametrize("path", ["", "/export"])
def test_a_time_that_no_calendar_holds_is_refused(path: str) -> None:
    """In UTC these lie in the year 0 and in the year 10000."""
    key = give_key(OrganizationFactory())
    write("user.created")
    seal_all()
    for name, at in (
        ("since", "0001-01-01T00:00:00%2B01:00"),
        ("until", "9999-12-31T23:59:59-01:00"),
    ):
        response = ask("GET", f"{URL}{path}?{name}={at}", key)
        assert response.status_code == 422
        assert faults(response) == {("query", name)}


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    acme = OrganizationFactory()
    key = give_key(acme)
    write("at.noon", acme, now=datetime(2026, 11, 27, 12, tzinfo=UTC))
    assert seen(key, "?since=2026-11-27T13:00:00%2B01:00") == ["at.noon"]
    assert seen(key, "?until=2026-11-27T13:00:00%2B01:00") == []
    assert seen(key, "?since=2026-11-27T12:00:01") == []


@pytest.mark.parametrize("query", ["limit=1", "limit=0", "cursor=x"])
def test_an_export_has_no_pages(query: str) -> None:
    key = give_key(OrganizationFactory())
    write("user.created")
    seal_all()
    response = ask("GET", f"{URL}/export?{query}", key)
    assert response.status_code == 422
    assert faults(response) == {("query", query.partition("=")[0])}
    assert "This parameter does not exist." in response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_client_that_goes_away_ends_the_export() -> None:
    acme = OrganizationFactory()
    key = give_key(acme)
    for n in range(5):
        write(f"mine{n}", acme)
    response = ask("GET", f"{URL}/export", key)
    assert b"sexton-audit-export/1" in next(iter(response.streaming_content))
    response.close()
    assert not connection.in_atomic_block
    write("later", acme)
    assert b'"later"' in b"".join(ask("GET", f"{URL}/export", key).streaming_content)


def test_an_export_of_ones_own_organization_proves_itself(tmp_path: Path) -> None:
    acme, other = OrganizationFactory(), OrganizationFactory()
    key = give_key(acme)
    assert refused(ask("GET", f"{URL}/export", key)) == (409, "NOTHING_SEALED")
    for n in range(5):
        write(f"mine{n}", acme)
        write("secret", other)
    seal_all()
    response = ask("GET", f"{URL}/export", key)
    assert response["Content-Type"] == "application/jsonl"
    body = b"".join(response.streaming_content)
    file = tmp_path / "export.jsonl"
    file.write_bytes(body)
    assert b"secret" not in body
    assert offline.check(file, verifiers()).events == 5
    assert [json.loads(it)["event"]["action"] for it in body.splitlines() if b'"event"' in it] == [
        f"mine{n}" for n in range(5)
    ]
