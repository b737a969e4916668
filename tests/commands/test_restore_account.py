"""Restoring from the shell, users and organizations alike."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent, EventDetail
from contracts import ids
from erasure.deleting import schedule_deletion
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.commands.shell import run, run_json
from tests.factories import ManagedUserFactory, MembershipFactory, OrganizationFactory, UserFactory
from tests.house.asking import make_due

pytestmark = pytest.mark.django_db


def delete(subject: Any) -> DeletionRequest:
    kind = "user" if isinstance(subject, User) else "organization"
    return schedule_deletion(
        actor=Actor.system("test"), subject=Reference(kind, subject.pk), now=timezone.now()
    )


def is_deleted(subject: Any) -> bool:
    return bool(type(subject)._default_manager.get(pk=subject.pk).is_deleted)


def test_without_execute_it_says_what_it_would_do() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        request = delete(alice)
        before = read_rows()
        code, out = run("restore_account", "alice")
        assert read_rows() == before
    assert code == 0
    assert out.startswith("Would restore user alice, which is due to be erased on ")
    code, told = run_json("restore_account", "alice", "--dry-run")
    assert (code, told["executed"], told["refusal"]) == (0, False, None)
    assert told["subject"] == {"kind": "user", "id": ids.encode(ids.USER, alice.pk)}
    assert told["deletion"] == ids.encode(ids.DELETION, request.pk)
    assert told["due_at"] == request.due_at.isoformat()


@pytest.mark.parametrize("form", ["id", "username", "address"])
def test_a_user_comes_back(form: str) -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice", email="alice@example.com")
        delete(alice)
        names = {
            "id": ids.encode(ids.USER, alice.pk),
            "username": "alice",
            "address": "ALICE@example.com",
        }
        typed = ("--reference", "Case 4711", "--reason", "She rang us up")
        code, out = run("restore_account", names[form], "--execute", *typed)
    assert (code, out) == (0, "Restored: user alice.\n")
    assert not is_deleted(alice)
    event = AuditEvent.objects.get(action="user.restored")
    assert (event.actor_kind, event.channel) == ("system", "restore_account")
    assert event.facts["reference"] == "Case 4711"
    [detail] = EventDetail.objects.filter(event_id=event.pk)
    assert (detail.field, detail.value) == ("reason", "She rang us up")


@pytest.mark.parametrize("form", ["id", "slug"])
def test_an_organization_comes_back_with_the_users_it_manages(form: str) -> None:
    with charlie_untouched():
        acme = OrganizationFactory(slug="acme")
        MembershipFactory(organization=acme, role="owner")
        managed = ManagedUserFactory(organization=acme).user
        delete(acme)
        assert is_deleted(managed)
        name = str(acme.pk) if form == "id" else "acme"
        assert run("restore_account", name, "--execute")[0] == 0
    assert not is_deleted(acme)
    assert not is_deleted(managed)


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_after_the_grace_period_it_is_refused(mode: list[str]) -> None:
    alice = UserFactory(username="alice")
    delete(alice)
    make_due(alice)
    code, told = run_json("restore_account", "alice", *mode)
    assert (code, told["executed"], told["refusal"]["code"]) == (1, False, "GraceExpired")
    assert is_deleted(alice)


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_who_was_never_deleted_is_not_restored(mode: list[str]) -> None:
    UserFactory(username="alice")
    code, out = run("restore_account", "alice", *mode)
    assert code == 1
    assert out == (
        "REFUSED: user alice. There is no scheduled deletion to undo. Nothing was done.\n"
    )


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_into_a_taken_name_it_is_refused(mode: list[str]) -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        delete(alice)
        UserFactory(username="alice", email="another@example.com")
        name = ids.encode(ids.USER, alice.pk)
        code, told = run_json("restore_account", name, *mode)
    assert (code, told["refusal"]["code"]) == (1, "NameTaken")
    assert is_deleted(alice)


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_who_was_taken_along_is_not_restored_alone(mode: list[str]) -> None:
    acme = OrganizationFactory(slug="acme")
    managed = ManagedUserFactory(organization=acme).user
    delete(acme)
    code, told = run_json("restore_account", ids.encode(ids.USER, managed.pk), *mode)
    assert (code, told["refusal"]["code"]) == (1, "TakenAlong")
    assert f"organization {acme.pk}" in told["refusal"]["text"]
    assert is_deleted(managed)


def test_a_name_that_means_several_is_refused() -> None:
    for address in ("one@example.com", "two@example.com"):
        delete(UserFactory(username="alice", email=address))
    code, said = run("restore_account", "alice", "--execute")
    assert code == 2
    assert "means several" in said
    assert User.objects.filter(is_deleted=True).count() == 2


def test_a_kind_narrows_where_a_name_is_looked_for() -> None:
    user, organization = UserFactory(username="acme"), OrganizationFactory(slug="acme")
    delete(user)
    delete(organization)
    assert run("restore_account", "acme", "--execute")[0] == 2
    assert run("restore_account", "acme", "--kind", "organization", "--execute")[0] == 0
    assert is_deleted(user)
    assert not Organization.objects.get(pk=organization.pk).is_deleted


@pytest.mark.parametrize("args", [("nobody",), ("alice", "--kind", "robot"), ()])
def test_wrong_usage_ends_with_an_error(args: tuple[str, ...]) -> None:
    assert run("restore_account", *args)[0] in (1, 2)
