"""Erasing an organization from the shell, with all that it owns and the users that it manages."""

import pytest
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.commands.shell import run, run_json
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    give_key,
)

pytestmark = pytest.mark.django_db


def furnished() -> Organization:
    """Create an organization with an owner, a member, an invitation, a key and a managed user."""
    acme: Organization = OrganizationFactory(name="Acme", slug="acme")
    MembershipFactory(organization=acme, role="owner")
    MembershipFactory(organization=acme)
    InvitationFactory(organization=acme)
    ManagedUserFactory(organization=acme)
    give_key(acme)
    return acme


def exists(organization: Organization) -> bool:
    return bool(Organization.objects.filter(pk=organization.pk).exists())


def test_without_execute_it_shows_the_plan_and_changes_nothing() -> None:
    with charlie_untouched():
        acme = furnished()
        before = read_rows()
        code, out = run("erase_organization", "acme")
        assert read_rows() == before
    assert code == 0
    assert out.startswith("organization Acme\n")
    assert "removed: 2 organizations.Membership" in out
    assert "removed: 1 accounts.User" in out
    assert "goes along: user usr_" in out
    assert exists(acme)


@pytest.mark.parametrize("form", ["id", "slug"])
def test_with_execute_it_goes_with_the_users_it_manages(form: str) -> None:
    with charlie_untouched():
        acme = furnished()
        managed = acme.managed_users.get().user_id
        members = set(acme.memberships.values_list("user_id", flat=True))
        name = "acme" if form == "slug" else str(acme.pk)
        code, told = run_json("erase_organization", name, "--execute", "--reference", "Case 1")
    assert (code, told["executed"], told["refusal"]) == (0, True, None)
    assert not exists(acme)
    assert not Membership.objects.filter(organization=acme.pk).exists()
    assert not User.objects.filter(pk=managed).exists()
    assert User.objects.filter(pk__in=members).count() == 2
    request = DeletionRequest.objects.get(subject_id=acme.pk)
    assert told["deletion"] == ids.encode(ids.DELETION, request.pk)
    assert (request.state, request.reference) == ("completed", "Case 1")
    taken_along = DeletionRequest.objects.get(subject_id=managed)
    assert taken_along.cause_id == request.pk
    assert request.searched["identifiers"] == 1
    assert (taken_along.searched["identifiers"], taken_along.searched["hits"]) == (2, 0)
    assert told["search"] == {
        "identifiers": 3,
        "hits": [],
        "not_searched": request.searched["not_searched"],
    }
    assert AuditEvent.objects.filter(action="organization.erased", subject_id=acme.pk).exists()


@pytest.mark.parametrize("mode", [[], ["--execute"]])
@pytest.mark.parametrize("on", ["organization", "managed user"])
def test_a_hold_refuses_it(on: str, mode: list[str]) -> None:
    acme = furnished()
    managed = acme.managed_users.get().user_id
    subject = (
        Reference("organization", acme.pk) if on == "organization" else Reference("user", managed)
    )
    place_hold(
        actor=Actor.system("test"),
        subject=subject,
        reason="Case 4711",
        review_at=None,
        now=timezone.now(),
    )
    code, told = run_json("erase_organization", "acme", *mode)
    assert (code, told["executed"], told["refusal"]["code"]) == (1, False, "UnderLegalHold")
    assert exists(acme)
    assert User.objects.filter(pk=managed).exists()


@pytest.mark.parametrize("mode", [[], ["--execute"]])
def test_a_managed_user_who_alone_owns_another_organization_refuses_it(mode: list[str]) -> None:
    acme = furnished()
    MembershipFactory(user=acme.managed_users.get().user, role="owner")
    code, out = run("erase_organization", "acme", *mode)
    assert code == 1
    assert "REFUSED." in out
    assert exists(acme)


def test_a_plan_that_drifted_refuses_it() -> None:
    acme = furnished()
    _, told = run_json("erase_organization", "acme")
    ManagedUserFactory(organization=acme)
    code, out = run("erase_organization", "acme", "--plan-id", told["plan"]["id"], "--execute")
    assert code == 1
    assert "no longer what the plan says" in out
    assert exists(acme)


@pytest.mark.parametrize("text", ["acm", "Acme", "nowhere", "550e8400-e29b-41d4-a716-446655440000"])
def test_what_is_no_organizations_name_ends_with_2(text: str) -> None:
    acme = furnished()
    code, said = run("erase_organization", text, "--execute")
    assert (code, said) == (2, f"There is no organization {text!r}.")
    assert exists(acme)


def test_a_users_name_is_no_organizations_name() -> None:
    acme = furnished()
    user = acme.managed_users.get().user
    code, _ = run("erase_organization", ids.encode(ids.USER, user.pk), "--execute")
    assert code == 2
    assert User.objects.filter(pk=user.pk).exists()
