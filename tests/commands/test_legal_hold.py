"""Legal holds from the shell: reasoned, dated, honoured everywhere, and listed."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure.deleting import schedule_deletion
from erasure.models import DeletionRequest, LegalHold
from tests.bystanders import charlie_untouched, read_rows
from tests.commands.shell import run, run_json
from tests.factories import OrganizationFactory, UserFactory
from tests.house.asking import make_due

pytestmark = pytest.mark.django_db

REVIEW = (timezone.localdate() + timedelta(days=90)).isoformat()
WHY = ("--reason", "Case 4711", "--review", REVIEW)


def place(name: str) -> Any:
    code, told = run_json("legal_hold", "place", name, *WHY, "--execute")
    assert code == 0
    return told["hold"]


def test_without_execute_nothing_is_placed() -> None:
    with charlie_untouched():
        UserFactory(username="alice")
        before = read_rows()
        code, out = run("legal_hold", "place", "alice", *WHY)
        assert read_rows() == before
    assert (code, out) == (
        0,
        "Would place a legal hold on user alice. Run it again with --execute.\n",
    )


def test_a_hold_is_placed_and_stops_every_erasure() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        code, told = run_json("legal_hold", "place", "alice", *WHY, "--execute")
        assert (code, told["executed"], told["refusal"]) == (0, True, None)
        hold = LegalHold.objects.get()
        assert told["hold"] == str(hold.pk)
        assert (hold.subject_kind, hold.subject_id) == ("user", alice.pk)
        assert (hold.reason, str(hold.review_at)) == ("Case 4711", REVIEW)
        assert run("erase_user", "alice", "--execute")[0] == 1
    assert User.objects.filter(pk=alice.pk).exists()
    event = AuditEvent.objects.get(action="hold.placed")
    assert (event.actor_kind, event.channel) == ("system", "legal_hold")


@pytest.mark.parametrize("form", ["id", "slug"])
def test_an_organization_can_be_held(form: str) -> None:
    acme = OrganizationFactory(slug="acme")
    place("acme" if form == "slug" else str(acme.pk))
    assert LegalHold.objects.get().subject_id == acme.pk


def test_a_released_hold_lets_the_erasure_go_on() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        subject = Reference("user", alice.pk)
        schedule_deletion(actor=Actor.system("test"), subject=subject, now=timezone.now())
        hold = place("alice")
        make_due(alice)
        DeletionRequest.objects.filter(subject_id=alice.pk).update(
            state="failed", retry_at=timezone.now() + timedelta(days=1)
        )
        code, out = run("legal_hold", "release", hold)
        assert code == 0
        assert out.startswith("Would release")
        assert LegalHold.objects.active().exists()
        code, out = run("legal_hold", "release", hold, "--execute")
        assert (code, out) == (
            0,
            "Released. Its subject is due, and is erased by the next purge.\n",
        )
        assert run("purge_accounts", "--execute")[0] == 0
    assert not User.objects.filter(pk=alice.pk).exists()


def test_another_hold_on_the_same_subject_stands_on() -> None:
    UserFactory(username="alice")
    first = place("alice")
    place("alice")
    _, out = run("legal_hold", "release", first, "--execute")
    assert out == "Released. Another hold on the same subject stands.\n"


def test_a_hold_is_released_once() -> None:
    UserFactory(username="alice")
    hold = place("alice")
    assert run_json("legal_hold", "release", hold, "--execute")[1]["executed"] is True
    for mode in ([], ["--execute"]):
        code, told = run_json("legal_hold", "release", hold, *mode)
        assert (code, told["executed"]) == (1, False)
        assert told["refusal"]["code"] == "AlreadyReleased"
    assert AuditEvent.objects.filter(action="hold.released").count() == 1


def test_the_list_names_what_stands_and_what_is_to_be_reviewed() -> None:
    alice, bob = UserFactory(username="alice"), UserFactory(username="bob")
    first, second, third = place("alice"), place("bob"), place("bob")
    run("legal_hold", "release", third, "--execute")
    LegalHold.objects.filter(pk=second).update(review_at=timezone.localdate())
    code, out = run("legal_hold", "list")
    assert code == 0
    *lines, last = out.splitlines()
    assert last == "2 legal holds."
    assert [line.split()[0] for line in lines] == [first, second]
    assert ids.encode(ids.USER, alice.pk) in lines[0]
    assert f"review on {REVIEW}: Case 4711" in lines[0]
    assert "WHICH IS DUE" in lines[1]
    _, told = run_json("legal_hold", "list", "--all")
    assert [hold["hold"] for hold in told["holds"]] == [first, second, third]
    assert told["holds"][2]["released_at"]
    _, told = run_json("legal_hold", "list", "bob")
    assert [hold["hold"] for hold in told["holds"]] == [second]
    assert told["holds"][0]["subject"] == {"kind": "user", "id": ids.encode(ids.USER, bob.pk)}


YESTERDAY = (timezone.localdate() - timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("place", "alice", "--execute"),
        ("place", "alice", "--reason", "Case", "--execute"),
        ("place", "alice", "--review", REVIEW, "--execute"),
        ("place", "alice", "--reason", "", "--review", REVIEW, "--execute"),
        ("place", "alice", "--reason", "Case", "--review", "soon", "--execute"),
        ("place", "alice", "--reason", "Case", "--review", YESTERDAY, "--execute"),
        ("place", "nobody", *WHY, "--execute"),
        ("release", "x", "--execute"),
        ("release", str(uuid4()), "--execute"),
    ],
)
def test_wrong_usage_places_and_releases_nothing(args: tuple[str, ...]) -> None:
    UserFactory(username="alice")
    assert run("legal_hold", *args)[0] in (1, 2)
    assert not LegalHold.objects.exists()
