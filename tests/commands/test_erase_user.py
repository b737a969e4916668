"""Erasing a user from the shell: the plan first, and every refusal with its exit code."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.utils import timezone

from accounts.models import User
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched, read_rows
from tests.commands.shell import run, run_json
from tests.deployment.shell import manage
from tests.factories import MembershipFactory, SessionFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db


def exists(user: User) -> bool:
    return bool(User.objects.filter(pk=user.pk).exists())


def owned_by(user: User) -> Any:
    return MembershipFactory(user=user, role="owner").organization


def hold(user: User) -> None:
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", user.pk),
        reason="Case 4711",
        review_at=timezone.localdate() + timedelta(days=30),
        now=timezone.now(),
    )


def test_without_execute_it_shows_the_plan_and_changes_nothing() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        give_key(alice)
        MembershipFactory(user=alice)
        before = read_rows()
        for mode in ([], ["--dry-run"]):
            code, out = run("erase_user", "alice", *mode)
            assert code == 0
            assert "removed: 1 accounts.User" in out
            assert "removed: 1 organizations.Membership" in out
            assert "3 rows in all" in out
            assert "plan_" in out
            assert out.endswith("Nothing was changed. Run it again with --execute to erase.\n")
        assert read_rows() == before


def test_with_execute_the_user_is_gone_and_nobody_else() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        give_key(alice)
        SessionFactory(user=alice)
        code, out = run("erase_user", "alice", "--execute", "--reference", "Case 4711")
    assert code == 0
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    name = ids.encode(ids.DELETION, request.pk)
    assert f"Erased for ever: 3 rows. {name}\n" in out
    assert out.endswith("Searched for 2 identifiers: nothing is left.\n")
    assert (request.searched["identifiers"], request.searched["hits"]) == (2, 0)
    assert not exists(alice)
    assert (request.state, request.channel, request.reference) == (
        "completed",
        "erase_user",
        "Case 4711",
    )
    event = AuditEvent.objects.get(action="user.erased")
    assert (event.actor_kind, event.channel) == ("system", "erase_user")


def leave_note(text: str) -> None:
    """Leave something of a person where no policy looks for it."""
    Group.objects.create(name=f"friends of {text}")


def test_what_is_left_is_said_loudly_and_ends_with_1() -> None:
    with charlie_untouched():
        for name in ("alice", "bob"):
            UserFactory(username=name)
            leave_note(f"{name}@example.com")
        code, out = run("erase_user", "alice", "--execute")
        assert code == 1
        assert "Erased for ever: 1 rows." in out
        assert "LEFT BEHIND: auth_group, name: " in out
        assert out.endswith("SOMETHING IS LEFT: 1 hits of 2 identifiers.\n")
        code, told = run_json("erase_user", "bob", "--execute")
    assert (code, told["executed"], told["refusal"]) == (1, True, None)
    [hit] = told["search"]["hits"]
    assert (hit["where"], hit["column"], hit["form"]) == ("auth_group", "name", "plain")
    assert told["search"]["identifiers"] == 2
    assert not User.objects.filter(username__in=["alice", "bob"]).exists()


def test_without_a_search_the_receipt_states_none() -> None:
    alice = UserFactory(username="alice")
    leave_note("alice@example.com")
    code, told = run_json("erase_user", "alice", "--execute", "--no-search")
    assert (code, told["executed"], told["search"]) == (0, True, None)
    assert DeletionRequest.objects.get(subject_id=alice.pk).searched == {}


@pytest.mark.parametrize("form", ["id", "username", "address"])
def test_a_user_is_found_by_id_name_and_address(form: str) -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice", email="Alice@example.com")
        names = {
            "id": ids.encode(ids.USER, alice.pk),
            "username": "alice",
            "address": "alice@EXAMPLE.com",
        }
        assert run("erase_user", names[form], "--execute")[0] == 0
    assert not exists(alice)


@pytest.mark.parametrize("text", ["ali", "nobody", "", "usr_00000000000000000000000000", "%"])
def test_what_is_nobodys_name_ends_with_2(text: str) -> None:
    alice = UserFactory(username="alice")
    code, said = run("erase_user", text, "--execute")
    assert code == 2
    assert said == f"There is no user {text!r}."
    assert exists(alice)


def test_a_name_that_means_several_is_refused_and_lists_them() -> None:
    with charlie_untouched():
        old = UserFactory(username="alice", email="", is_deleted=True, is_active=False)
        new = UserFactory(username="alice")
        code, said = run("erase_user", "alice", "--execute")
    assert code == 2
    assert "means several" in said
    for user in (old, new):
        assert f"user {ids.encode(ids.USER, user.pk)}" in said
        assert exists(user)


def test_json_tells_everything() -> None:
    alice = UserFactory(username="alice")
    code, told = run_json("erase_user", "alice")
    assert code == 0
    assert told["subject"] == {"kind": "user", "id": ids.encode(ids.USER, alice.pk)}
    assert told["plan"]["removed"] == {"accounts.User": 1}
    assert told["plan"]["id"].startswith("plan_")
    assert (told["executed"], told["deletion"], told["refusal"]) == (False, None, None)
    code, told = run_json("erase_user", "alice", "--execute")
    assert code == 0
    assert (told["executed"], told["refusal"]) == (True, None)
    assert told["rows"] == {"accounts.User": 1}
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert told["deletion"] == ids.encode(ids.DELETION, request.pk)


def test_a_deleted_user_whose_grace_runs_is_erased_under_the_same_request() -> None:
    alice = UserFactory(username="alice")
    actor = Actor(kind="user", id=alice.pk, channel="test", person_id=alice.pk)
    soft_delete_own_account(actor=actor, user_id=alice.pk, now=timezone.now())
    assert run("erase_user", "alice", "--execute")[0] == 0
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert (request.state, request.channel) == ("completed", "test")


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_a_hold_refuses_it(mode: list[str]) -> None:
    alice = UserFactory(username="alice")
    hold(alice)
    code, out = run("erase_user", "alice", *mode)
    assert code == 1
    assert "LEGAL HOLD" in out
    assert "Case 4711" in out
    assert "REFUSED. A legal hold forbids it. Release the hold first. Nothing was done." in out
    code, told = run_json("erase_user", "alice", *mode)
    assert (code, told["executed"], told["refusal"]["code"]) == (1, False, "UnderLegalHold")
    assert exists(alice)


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_the_only_owner_of_an_organization_is_refused(mode: list[str]) -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        organization = owned_by(alice)
        code, out = run("erase_user", "alice", *mode)
    assert code == 1
    assert "REFUSED." in out
    assert organization.name in out
    assert exists(alice)


def test_the_plan_that_was_approved_is_carried_out_and_no_other() -> None:
    alice = UserFactory(username="alice")
    _, told = run_json("erase_user", "alice")
    plan = told["plan"]["id"]
    membership = MembershipFactory(user=alice)
    for mode in ([], ["--execute"]):
        code, out = run("erase_user", "alice", "--plan-id", plan, *mode)
        assert code == 1
        assert "no longer what the plan says" in out
    assert exists(alice)
    membership.delete()
    assert run("erase_user", "alice", "--plan-id", plan, "--execute")[0] == 0
    assert not exists(alice)


def test_a_cap_bounds_a_dry_run_only() -> None:
    alice = UserFactory(username="alice")
    MembershipFactory.create_batch(3, user=alice)
    code, out = run("erase_user", "alice", "--cap", "2")
    assert code == 0
    assert "at least 2 organizations.Membership" in out
    assert run("erase_user", "alice", "--cap", "2", "--execute")[0] == 2
    assert exists(alice)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("alice", "--execute", "--dry-run"),
        ("alice", "--cap", "0"),
        ("alice", "--reference", ""),
        ("alice", "--reference", "two\nlines"),
        ("alice", "--yes"),
    ],
)
def test_wrong_usage_is_refused(args: tuple[str, ...]) -> None:
    alice = UserFactory(username="alice")
    assert run("erase_user", *args)[0] in (1, 2)
    assert exists(alice)


def test_a_shell_sees_the_exit_codes() -> None:
    done = manage("erase_user")
    assert done.returncode == 2
    help_text = manage("erase_user", "--help").stdout
    assert "Exit codes:" in " ".join(help_text.split())


def test_on_a_terminal_the_plan_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            print(text, end="")

        def flush(self) -> None:
            """Nothing is kept back."""

    UserFactory(username="alice")
    call_command("erase_user", "alice", stdout=Terminal())
    out = capsys.readouterr().out
    assert "accounts.User" in out
    assert "rows in all" in out
    assert "plan_" in out
