"""The brakes from the shell: they stop what runs by itself, and say so."""

import json
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from audit.models import AuditEvent
from erasure.models import Pause
from erasure.tasks import purge
from tests.bystanders import charlie_untouched, read_rows
from tests.deployment.shell import manage
from tests.erasure.clockwork import delete_user, exists, ready_purges, request_of
from tests.factories import OrganizationFactory

pytestmark = pytest.mark.django_db

REASON = "A query was too broad."


def run(*args: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("pause_erasures", *args, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def place(*args: str) -> tuple[int, str]:
    return run("place", "--reason", REASON, *args)


def test_a_pause_stops_the_purge_and_its_release_wakes_it() -> None:
    with charlie_untouched():
        user = delete_user()
        assert place()[0] == 0
        assert purge.call() == {"erased": 0, "failed": 0}
        assert exists(user)
        assert request_of(user).state == "scheduled"
        assert run("release")[0] == 0
        assert ready_purges() == 1
        assert purge.call() == {"erased": 1, "failed": 0}
    assert not exists(user)


def test_one_organizations_pause_stops_only_what_it_manages() -> None:
    organization = OrganizationFactory()
    held, other = delete_user(), delete_user()
    request = request_of(held)
    request.organization_id = organization.pk
    request.save()
    assert place("--organization", str(organization.pk))[0] == 0
    purge.call()
    assert (exists(held), exists(other)) == (True, False)
    # Releasing everything leaves the pause of one.
    assert run("release") == (1, "There was no such pause.\n")
    assert run("release", "--organization", str(organization.pk))[0] == 0
    purge.call()
    assert not exists(held)


def test_what_is_paused_is_listed() -> None:
    assert run("list") == (0, "Nothing is paused.\n")
    organization = OrganizationFactory()
    place()
    place("--organization", str(organization.pk))
    code, out = run("list")
    assert code == 0
    assert [line.split(",")[0] for line in out.splitlines()] == [
        "Paused: everything",
        f"Paused: {organization.pk}",
    ]
    assert out.count(REASON) == 2
    assert run("list", "--organization", str(organization.pk))[1].count("Paused") == 1


def test_json_prints_one_object() -> None:
    code, out = run("place", "--reason", REASON, "--json")
    pause = Pause.objects.get()
    told = {
        "id": str(pause.pk),
        "organization": None,
        "placed_at": pause.placed_at.isoformat(),
        "reason": REASON,
    }
    assert (code, json.loads(out)) == (0, {"did": "place", "pauses": [told]})
    assert json.loads(run("list", "--json")[1]) == {"did": "list", "pauses": [told]}
    assert json.loads(run("release", "--json")[1]) == {"did": "release", "pauses": [told]}
    assert json.loads(run("list", "--json")[1])["pauses"] == []


def test_a_second_pause_of_the_same_is_none() -> None:
    place()
    assert place() == (1, "It is paused already.\n")
    assert Pause.objects.standing().count() == 1


def test_both_ends_are_on_record_without_the_reason() -> None:
    place()
    run("release")
    events = AuditEvent.objects.filter(action__startswith="pause.").order_by("at", "id")
    assert [event.action for event in events] == ["pause.placed", "pause.released"]
    assert {event.channel for event in events} == {"pause_erasures"}
    assert REASON not in str([event.facts for event in events])


def test_an_organization_that_is_not_there_cannot_be_paused() -> None:
    before = read_rows()
    with pytest.raises(CommandError) as refused:
        place("--organization", str(uuid4()))
    assert refused.value.returncode == 2
    assert read_rows() == before


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["stop"],
        ["place"],
        ["place", "--reason", " "],
        ["list", "--organization", "acme"],
    ],
)
def test_wrong_usage_is_refused(args: list[Any]) -> None:
    with pytest.raises(CommandError):
        run(*args)
    assert not Pause.objects.exists()


def test_the_shell_ends_with_two_on_wrong_usage() -> None:
    assert manage("pause_erasures", "place").returncode == 2
