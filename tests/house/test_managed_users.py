"""``/v1/organizations/{id}/managed-users``: provision, list, read, remove, take back."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from apikeys.verification import verify_key
from audit.models import AuditEvent
from erasure.models import DeletionRequest
from organizations.models import ManagedUser, Membership, Organization
from tests.bystanders import charlie_untouched
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import ask, deletion_of, faults, make_due, owned_by, refused, spell
from tests.house.test_organizations import join, path_of

pytestmark = pytest.mark.django_db

ERIN = {
    "username": "erin",
    "external_id": "customer-42",
    "email": "erin@example.com",
    "name": "Erin Eaves",
}


def one_path(acme: Organization, user: User, step: str = "") -> str:
    return path_of(acme, f"managed-users/{spell(user)}{step}")


def test_an_organization_provisions_accounts_without_a_password() -> None:
    with charlie_untouched():
        acme = OrganizationFactory()
        path = path_of(acme, "managed-users")
        for number, key in enumerate((give_key(acme), give_key(join(acme, "admin")))):
            body = {"username": f"erin{number}", "external_id": f"customer-{number}"}
            response = ask("POST", path, key, body)
            assert response.status_code == 201
        made = User.objects.get(username="erin0")
        row = ManagedUser.objects.get(user=made)
        assert (row.organization_id, row.external_id) == (acme.pk, "customer-0")
        assert not made.has_usable_password()
        assert ask("POST", path, give_key(acme), ERIN).json()["email"] == "erin@example.com"
    told = AuditEvent.objects.filter(action="user.provisioned", organization_id=acme.pk)
    assert told.count() == 3
    assert "erin" not in str(list(told.values()))


def test_who_may_not_provision() -> None:
    acme = OrganizationFactory()
    path = path_of(acme, "managed-users")
    member = give_key(join(acme))
    assert refused(ask("POST", path, member, ERIN)) == (403, "INSUFFICIENT_ROLE")
    assert refused(ask("GET", path, member)) == (403, "INSUFFICIENT_ROLE")
    for key in (give_key(OrganizationFactory()), give_key(UserFactory())):
        assert refused(ask("POST", path, key, ERIN)) == (404, "ORGANIZATION_NOT_FOUND")
    assert not User.objects.filter(username="erin").exists()


@pytest.mark.parametrize("field", ["username", "external_id", "email"])
def test_what_is_taken_is_a_conflict(field: str) -> None:
    acme = OrganizationFactory()
    key, path = give_key(acme), path_of(acme, "managed-users")
    ask("POST", path, key, ERIN)
    other = {"username": "x", "external_id": "x", "email": "x@example.com", field: ERIN[field]}
    assert refused(ask("POST", path, key, other)) == (409, "USER_EXISTS")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"username", "external_id"}),
        ({**ERIN, "username": "a b"}, {"username"}),
        ({**ERIN, "username": "a\n"}, {"username"}),
        ({**ERIN, "external_id": "\x00"}, {"external_id"}),
        ({**ERIN, "email": "x"}, {"email"}),
        ({**ERIN, "password": "x"}, {"password"}),
    ],
)
def test_each_fault_in_a_body_is_named(body: Any, fields: set[str]) -> None:
    acme = OrganizationFactory()
    response = ask("POST", path_of(acme, "managed-users"), give_key(acme), body)
    assert faults(response) == {("body", name) for name in fields}


def test_the_list_is_a_page_at_a_time() -> None:
    with charlie_untouched():
        acme = OrganizationFactory()
        rows = [ManagedUserFactory(organization=acme) for _ in range(3)]
        gone = ManagedUserFactory(organization=acme).user
        User.objects.filter(pk=gone.pk).update(is_deleted=True, is_active=False)
        key, path = give_key(acme), path_of(acme, "managed-users?limit=2")
        first = ask("GET", path, key).json()
        rest = ask("GET", f"{path}&cursor={first['next_cursor']}", key).json()
        shown = [it["user_id"] for it in [*first["data"], *rest["data"]]]
        assert shown == [spell(row.user) for row in rows]
        assert rest["next_cursor"] is None
        assert ask("GET", one_path(acme, rows[0].user), key).json() == first["data"][0]
        assert refused(ask("GET", one_path(acme, gone), key)) == (404, "USER_NOT_FOUND")


def test_a_removed_user_is_closed_with_a_grace_period_and_can_be_taken_back() -> None:
    with charlie_untouched():
        acme = OrganizationFactory()
        erin = ManagedUserFactory(organization=acme).user
        theirs, key = give_key(erin), give_key(acme)
        response = ask("DELETE", one_path(acme, erin), key)
        request = deletion_of(erin)
        assert (response.status_code, response.json()["state"]) == (202, "scheduled")
        assert request.organization_id == acme.pk
        erin.refresh_from_db()
        assert (erin.is_deleted, erin.is_active) == (True, False)
        assert verify_key(theirs, now=timezone.now()) is None
        # The organization may follow it by its key, whoever asked.
        path = f"/v1/deletions/{response.json()['id']}"
        assert ask("GET", path, give_key(acme)).json()["state"] == "scheduled"
        assert refused(ask("DELETE", one_path(acme, erin), key)) == (404, "USER_NOT_FOUND")
        response = ask("POST", one_path(acme, erin, "/restore"), key)
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
        erin.refresh_from_db()
        assert erin.is_active
        assert verify_key(theirs, now=timezone.now()) is None
        response = ask("POST", one_path(acme, erin, "/restore"), key)
        assert refused(response) == (404, "USER_NOT_FOUND")
    told = AuditEvent.objects.filter(subject_id=erin.pk).order_by("at", "id")
    assert [it.action for it in told] == ["user.deleted", "user.restored"]
    assert {it.organization_id for it in told} == {acme.pk}


def test_too_late_is_too_late() -> None:
    acme = OrganizationFactory()
    erin = ManagedUserFactory(organization=acme).user
    key = give_key(acme)
    ask("DELETE", one_path(acme, erin), key)
    make_due(erin)
    response = ask("POST", one_path(acme, erin, "/restore"), key)
    assert refused(response) == (409, "GRACE_EXPIRED")


def test_what_somebody_else_asked_for_is_not_the_organizations_to_take_back() -> None:
    acme = OrganizationFactory()
    erin = ManagedUserFactory(organization=acme).user
    ask("DELETE", f"/v1/user/{spell(erin)}", give_key(erin))
    response = ask("POST", one_path(acme, erin, "/restore"), give_key(acme))
    assert refused(response) == (404, "USER_NOT_FOUND")
    assert deletion_of(erin).state == "scheduled"


def test_a_managed_user_who_alone_owns_an_organization_stays() -> None:
    with charlie_untouched():
        acme = OrganizationFactory()
        erin = ManagedUserFactory(organization=acme).user
        hers = owned_by(erin)
        response = ask("DELETE", one_path(acme, erin), give_key(acme))
        assert refused(response) == (409, "SOLE_OWNER")
        assert response.json()["error"]["details"]["organizations"][0]["id"] == str(hers.pk)
        assert not DeletionRequest.objects.filter(subject_id=erin.pk).exists()
        MembershipFactory(organization=hers, role="owner")
        assert ask("DELETE", one_path(acme, erin), give_key(acme)).status_code == 202
        assert Membership.objects.live_owners().filter(organization=hers).exists()


def test_users_of_others_are_not_found() -> None:
    with charlie_untouched():
        acme = OrganizationFactory()
        theirs = ManagedUserFactory().user
        for user in (theirs, join(acme)):
            for method, step in (("GET", ""), ("DELETE", ""), ("POST", "/restore")):
                response = ask(method, one_path(acme, user, step), give_key(acme))
                assert refused(response) == (404, "USER_NOT_FOUND")
