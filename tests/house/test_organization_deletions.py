"""An owner closes an organization with a grace period, its slug typed."""

import json
from datetime import timedelta
from typing import Any

import pytest

from accounts.models import User
from erasure.models import DeletionRequest
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched
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
    spell_deletion,
)
from tests.house.deleting import ACME, close, follow, fresh

pytestmark = pytest.mark.django_db


def test_an_owner_closes_an_organization_with_a_grace_period() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        platform = give_key(organization)
        managed = ManagedUserFactory(organization=organization).user
        response = close(organization, give_key(alice))
        assert response.status_code == 202
        row = deletion_of(organization)
        body = response.json()
        assert body["id"] == spell_deletion(row.pk)
        assert body["subject"] == {"kind": "organization", "id": str(organization.pk)}
        assert row.due_at - row.requested_at == timedelta(days=14)
        assert fresh(Organization, organization).is_deleted
        assert fresh(User, managed).is_deleted
        assert deletion_of(managed).cause_id == row.pk
        assert Membership.objects.filter(organization=organization).exists()
        assert (
            ask("DELETE", "/users/x", platform, None, {"x-api-version": "2025-09"}).status_code
            == 401
        )
        assert follow(body["status_url"]).json()["state"] == "scheduled"


def test_only_an_owner_closes_it() -> None:
    with charlie_untouched():
        organization = owned_by(UserFactory())
        admin = MembershipFactory(organization=organization, role="admin").user
        for stranger in (admin, UserFactory()):
            response = close(organization, give_key(stranger))
            assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")
        key = give_key(UserFactory())
        for path in (ACME, "x", ""):
            response = ask("POST", f"/v1/organizations/{path}/deletion", key, {"slug": "acme"})
            assert refused(response) == (404, "ORGANIZATION_NOT_FOUND")
        assert not fresh(Organization, organization).is_deleted


def test_a_closed_organization_is_not_closed_again() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    key = give_key(alice)
    close(organization, key)
    assert close(organization, key).status_code in (404, 409)
    assert DeletionRequest.objects.filter(subject_id=organization.pk).count() == 1


def test_a_managed_user_who_alone_owns_another_organization_stands_in_the_way() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    other = owned_by(ManagedUserFactory(organization=organization).user)
    response = close(organization, give_key(alice))
    assert response.status_code == 409
    assert str(other.pk) in json.dumps(details(response))
    assert not fresh(Organization, organization).is_deleted


def test_an_organizations_plan_that_drifted_is_refused() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    key = give_key(alice)
    path = f"/v1/organizations/{organization.pk}/deletion-preview"
    plan = ask("GET", path, key).json()["id"]
    ManagedUserFactory(organization=organization)
    response = close(organization, key, plan_id=plan)
    assert refused(response) == (409, "PLAN_DRIFTED")
    assert details(response)["drift"]


@pytest.mark.parametrize("body", [{"organizations": {}}, {"plan_id": 5}, {"confirm": True}])
def test_a_fault_in_an_organizations_body_is_named(body: Any) -> None:
    alice = UserFactory()
    response = close(owned_by(alice), give_key(alice), **body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert faults(response) == {("body", next(iter(body)))}


def test_the_slug_confirms_it() -> None:
    alice = UserFactory()
    organization, key = owned_by(alice), give_key(alice)
    path = f"/v1/organizations/{organization.pk}/deletion"
    assert refused(ask("POST", path, key)) == (422, "VALIDATION_ERROR")
    assert faults(ask("POST", path, key, {})) == {("body", "slug")}
    for typed in (organization.slug.upper(), organization.slug + " ", organization.name, "x"):
        response = ask("POST", path, key, {"slug": typed})
        assert refused(response) == (409, "WRONG_CONFIRMATION")
    assert not fresh(Organization, organization).is_deleted
    assert not DeletionRequest.objects.exists()
