"""What becomes of a leaver's organizations, settled in the call that deletes the account."""

from typing import Any

import pytest

from accounts.models import User
from apikeys import scopes
from erasure import links
from erasure.models import DeletionRequest
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import (
    ask,
    deletion_of,
    details,
    faults,
    owned_by,
    refused,
    spell,
)
from tests.house.deleting import ACME, delete, fresh, restore, restorer

pytestmark = pytest.mark.django_db


def test_a_sole_owner_is_told_which_organizations_stand_in_the_way() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    response = delete(alice, give_key(alice))
    assert refused(response) == (409, "SOLE_OWNER")
    expected = {"id": str(organization.pk), "name": organization.name, "members": 1}
    assert details(response) == {"organizations": [expected]}


def test_an_organization_passes_to_a_member_in_the_same_call() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        bob = MembershipFactory(organization=organization).user
        body = {"organizations": {str(organization.pk): {"transfer_to": spell(bob)}}}
        assert delete(alice, give_key(alice), body).status_code == 202
    assert Membership.objects.get(organization=organization, user=bob).role == "owner"
    organization.refresh_from_db()
    assert not organization.is_deleted


def test_an_organization_goes_along_and_comes_back_along() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        managed = ManagedUserFactory(organization=organization).user
        body = {"organizations": {str(organization.pk): "delete"}}
        assert delete(alice, give_key(alice), body).status_code == 202
        mine, theirs = deletion_of(alice), deletion_of(organization)
        assert (theirs.cause_id, theirs.due_at) == (mine.pk, mine.due_at)
        assert fresh(Organization, organization).is_deleted
        assert fresh(User, managed).is_deleted
        page = ask("GET", f"/restore/{links.sign_link(links.RESTORE, mine)}")
        assert b"1 organization" in page.content
        key = give_key(restorer(), scopes.DELETIONS_RESTORE)
        assert restore(mine, key).status_code == 200
    assert not fresh(Organization, organization).is_deleted
    assert not fresh(User, managed).is_deleted
    assert not fresh(User, alice).is_deleted


def test_an_organization_with_another_owner_is_left() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    MembershipFactory(organization=organization, role="owner")
    body = {"organizations": {str(organization.pk): "leave"}}
    assert delete(alice, give_key(alice), body).status_code == 202
    assert not fresh(Organization, organization).is_deleted


def test_leaving_the_only_owner_behind_is_refused() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    body = {"organizations": {str(organization.pk): "leave"}}
    assert refused(delete(alice, give_key(alice), body)) == (409, "SOLE_OWNER")
    assert not fresh(User, alice).is_deleted


def test_it_is_all_or_nothing() -> None:
    with charlie_untouched():
        alice = UserFactory()
        first, second = owned_by(alice), owned_by(alice)
        heir = MembershipFactory(organization=first).user
        stranger = UserFactory()
        body = {
            "organizations": {
                str(first.pk): {"transfer_to": spell(heir)},
                str(second.pk): {"transfer_to": spell(stranger)},
            }
        }
        key = give_key(alice)
        # The key's use is written down, once a minute.
        ask("GET", "/v1/api-keys", key)
        before = read_rows()
        response = delete(alice, key, body)
        assert refused(response) == (409, "SETTLEMENT_REFUSED")
        assert read_rows() == before
    assert Membership.objects.get(organization=first, user=heir).role == "member"


@pytest.mark.parametrize("fate", ["delete", "transfer"])
def test_nobody_disposes_of_what_they_do_not_own(fate: str) -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(UserFactory())
        MembershipFactory(organization=organization, user=alice, role="admin")
        heir = MembershipFactory(organization=organization).user
        wish = "delete" if fate == "delete" else {"transfer_to": spell(heir)}
        body = {"organizations": {str(organization.pk): wish}}
        response = delete(alice, give_key(alice), body)
        assert refused(response) == (409, "SETTLEMENT_REFUSED")
    assert not fresh(User, alice).is_deleted


@pytest.mark.parametrize("fate", ["delete", "transfer"])
def test_a_key_that_may_only_delete_its_account_gives_no_organization_away(fate: str) -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    heir = MembershipFactory(organization=organization).user
    wish = "delete" if fate == "delete" else {"transfer_to": spell(heir)}
    key = give_key(alice, scopes.ACCOUNT_DELETE)
    response = delete(alice, key, {"organizations": {str(organization.pk): wish}})
    assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")
    assert not fresh(User, alice).is_deleted
    MembershipFactory(organization=organization, role="owner")
    body = {"organizations": {str(organization.pk): "leave"}}
    assert delete(alice, key, body).status_code == 202


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"plan_id": 5}, {("body", "plan_id")}),
        ({"plan_id": ""}, {("body", "plan_id")}),
        ({"plan_id": "plan_x"}, {("body", "plan_id")}),
        ({"plan_id": None}, {("body", "plan_id")}),
        ({"organizations": None}, {("body", "organizations")}),
        ({"organizations": []}, {("body", "organizations")}),
        ({"organizations": "delete"}, {("body", "organizations")}),
        ({"organizations": {"acme": "delete"}}, {("body", "organizations", "acme")}),
        ({"organizations": {ACME: "keep"}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: None}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: ["delete"]}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: {}}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: {"transfer_to": ACME}}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: {"transfer_to": 5}}}, {("body", "organizations", ACME)}),
        (
            {"organizations": {ACME: "delete", ACME.upper(): "leave"}},
            {("body", "organizations", ACME.upper())},
        ),
        (
            {"organizations": {ACME: "x", "y": "delete"}, "force": True, "plan_id": 1},
            {
                ("body", "organizations", ACME),
                ("body", "organizations", "y"),
                ("body", "plan_id"),
                ("body", "force"),
            },
        ),
    ],
)
def test_each_fault_in_a_body_is_named(body: Any, expected: set[tuple[str, ...]]) -> None:
    alice = UserFactory()
    response = delete(alice, give_key(alice), body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert faults(response) == expected
    assert not DeletionRequest.objects.exists()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", (400, "INVALID_BODY")),
        (b"{", (400, "INVALID_BODY")),
        (b'{"plan_id": "a", "plan_id": "b"}', (400, "INVALID_BODY")),
        (b" " * 70000, (413, "BODY_TOO_LARGE")),
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes, expected: tuple[int, str]) -> None:
    alice = UserFactory()
    assert refused(delete(alice, give_key(alice), body)) == expected
    assert not fresh(User, alice).is_deleted
