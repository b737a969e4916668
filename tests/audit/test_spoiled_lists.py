"""Whoever lists events sees the rest of them when somebody has spoiled one."""

import json
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference, record
from audit.models import AuditEvent, EventDetail
from audit.querying import read_genuine
from organizations.models import Organization
from tests.admin.desk import sign_in_superuser, text_of
from tests.audit.logs import at, seal_all
from tests.audit.spoiling import SPOILED, spoil, write
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.factories import OrganizationFactory, give_key
from tests.house.asking import ask

pytestmark = pytest.mark.django_db

LIST = "/admin/audit/auditevent/"


@pytest.fixture
def acme() -> Iterator[Organization]:
    """An organization with seven sealed events, at the positions from 0 on."""
    acme: Organization = OrganizationFactory()
    for n in range(7):
        record(
            "acme.seen",
            actor=Actor.system("test"),
            subject=Reference("organization", acme.pk),
            now=timezone.now(),
            facts={"n": f"number{n}"},
            details={"reason": f"because{n}", "other": "another"},
        )
    seal_all()
    with triggers_off():
        yield acme


def numbers(text: str) -> list[int]:
    return [n for n in range(7) if f"number{n}" in text]


@pytest.mark.parametrize("name", SPOILED)
def test_all_lists_show_the_rest(client: Client, acme: Organization, name: str) -> None:
    key = give_key(acme)
    sign_in_superuser(client)
    spoil(name, 3)
    page = ask("GET", "/v1/audit-events?limit=5&action=acme.", key)
    assert page.status_code == 200
    cursor = page.json()["next_cursor"]
    last = ask("GET", f"/v1/audit-events?limit=5&action=acme.&cursor={cursor}", key).json()
    shown = [*page.json()["data"], *last["data"]]
    assert [it["facts"]["n"] for it in shown] == [f"number{n}" for n in (6, 5, 4, 2, 1, 0)]
    for options in ((), ("--json",)):
        code, out = run("audit_log", "--about", str(acme.pk), *options)
        assert (code, numbers(out), len(out.splitlines())) == (0, [0, 1, 2, 4, 5, 6], 6)
    for query in ("", f"?story={acme.pk}"):
        found = client.get(f"{LIST}{query}")
        assert (found.status_code, numbers(text_of(found))) == (200, [0, 1, 2, 4, 5, 6])
    found_at_once = read_genuine(AuditEvent.objects.filter(subject_id=acme.pk), most=4)
    assert len(found_at_once) == 4


def test_facts_of_another_kind_end_no_list(client: Client, acme: Organization) -> None:
    sign_in_superuser(client)
    for position, facts in enumerate(("[1, 2]", '"x"', "1", f"{'[' * 3_000}{']' * 3_000}")):
        write(f"UPDATE audit_auditevent SET facts = '{facts}' WHERE sealed_seq = {position}")
    deep = f'{{"deep": {"[" * 3_000}{"]" * 3_000}}}'
    write(f"UPDATE audit_auditevent SET facts = '{deep}' WHERE sealed_seq = 4")
    assert numbers(text_of(client.get(LIST))) == [5, 6]
    response = ask("GET", "/v1/audit-events?action=acme.", give_key(acme))
    assert [len(it["facts"]) for it in response.json()["data"]] == [1, 1, 1]
    for options in ((), ("--json",)):
        out = run("audit_log", "--action", "acme.", *options)[1]
        assert (len(out.splitlines()), numbers(out)) == (3, [5, 6])


@pytest.mark.parametrize("facts", ['{"n": "\\ud800"}', '{"\\ud800": 1}'])
def test_nor_does_half_of_a_character(client: Client, acme: Organization, facts: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("documents hold none there")
    sign_in_superuser(client)
    write(f"UPDATE audit_auditevent SET facts = '{facts}' WHERE sealed_seq = 3")
    assert numbers(text_of(client.get(LIST))) == [0, 1, 2, 4, 5, 6]
    response = ask("GET", "/v1/audit-events?action=acme.", give_key(acme))
    assert numbers(response.content.decode()) == [0, 1, 2, 4, 5, 6]
    assert numbers(run("audit_log", "--action", "acme.")[1]) == [0, 1, 2, 4, 5, 6]


def test_an_events_own_page_shows_what_can_be_read(client: Client, acme: Organization) -> None:
    sign_in_superuser(client)
    pk = at(3).pk
    if connection.vendor == "sqlite":
        write(
            "UPDATE audit_eventdetail SET value = CAST(X'ff' AS TEXT) "
            f"WHERE event_id = '{pk.hex}' AND field = 'other'"
        )
    page = text_of(client.get(f"{LIST}{pk}/change/"))
    assert "because3" in page
    assert EventDetail.objects.count() == 14
    spoil("a number that is too long", 3)
    assert client.get(f"{LIST}{pk}/change/", follow=True).redirect_chain == [("/admin/", 302)]


def test_lines_of_json_are_whole(acme: Organization) -> None:
    spoil("a number that is too long", 6)
    lines = run("audit_log", "--action", "acme.", "--limit", "2", "--json")[1].splitlines()
    assert [json.loads(it)["position"] for it in lines] == [5, 4]


@pytest.mark.parametrize("mac", ["'x'", "10000000000000", "CAST(X'ff' AS TEXT)"])
def test_a_code_that_is_none_ends_no_list(client: Client, acme: Organization, mac: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    sign_in_superuser(client)
    for seq in ("3", "NULL"):
        write(f"UPDATE audit_auditevent SET sealed_seq = {seq}, mac = {mac} WHERE sealed_seq = 3")
        assert {0, 1, 2, 4, 5, 6} <= set(numbers(text_of(client.get(LIST))))
        assert {0, 1, 2, 4, 5, 6} <= set(numbers(run("audit_log", "--action", "acme.")[1]))
        assert ask("GET", "/v1/audit-events", give_key(acme)).status_code == 200
