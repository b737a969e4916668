"""Previews: the plan on the wire, to those whose affair it is, and nothing touched."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apikeys import scopes
from audit.actors import Actor
from audit.events import Reference
from erasure.holds import place_hold
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import ask, faults, owned_by, refused, spell

pytestmark = pytest.mark.django_db


def preview(user: Any, key: str, query: str = "") -> Any:
    return ask("GET", f"/v1/user/{spell(user)}/deletion-preview{query}", key)


def preview_of_organization(organization: Any, key: str, query: str = "") -> Any:
    return ask("GET", f"/v1/organizations/{organization.pk}/deletion-preview{query}", key)


def test_ones_own_account_is_counted_and_not_touched() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key = give_key(alice)
        SessionFactory(user=alice)
        MembershipFactory.create_batch(3, user=alice)
        # The key's use is written down, once a minute.
        ask("GET", "/v1/api-keys", key)
        before = read_rows()
        response = preview(alice, key)
        assert read_rows() == before
    plan = response.json()
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert list(plan) == [
        *("id", "subject", "total", "capped", "removed", "detached", "anonymised", "kept"),
        *("blockers", "holds", "affected", "effects", "companions"),
    ]
    assert re.fullmatch(r"plan_[0-9a-f]{64}", plan["id"])
    assert plan["subject"] == {"kind": "user", "id": spell(alice)}
    counted = {label: rows for label, rows in plan["removed"].items() if "Membership" in label}
    assert counted == {"organizations.Membership": 3}
    assert plan["removed"]["accounts.User"] == plan["removed"]["accounts.Session"] == 1
    assert plan["total"] == sum(plan["removed"].values())
    assert plan["capped"] is False


def test_a_cap_makes_lower_bounds() -> None:
    alice = UserFactory()
    MembershipFactory.create_batch(5, user=alice)
    plan = preview(alice, give_key(alice), "?cap=2").json()
    assert plan["capped"] is True
    assert plan["removed"]["organizations.Membership"] == 2


@pytest.mark.parametrize(
    "cap", ["0", "-1", "x", "", "1.5", "%C2%B2", "1000001", "99999999", "1&cap=2"]
)
def test_a_cap_that_is_none_is_named(cap: str) -> None:
    alice = UserFactory()
    response = preview(alice, give_key(alice), f"?cap={cap}")
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert faults(response) == {("query", "cap")}


def test_what_stands_against_it_is_told() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    plan = preview(alice, give_key(alice)).json()
    [blocker] = plan["blockers"]
    assert blocker["code"] == "sole_owner"
    assert str(organization.pk) in str(blocker["facts"])


def test_a_hold_is_told_without_its_reason() -> None:
    alice = UserFactory()
    hold = place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", alice.pk),
        reason="Secret investigation 4711",
        review_at=timezone.localdate() + timedelta(days=90),
        now=timezone.now(),
    )
    response = preview(alice, give_key(alice))
    [told] = response.json()["holds"]
    assert told["id"] == str(hold)
    assert b"4711" not in response.content


def test_somebody_elses_account_is_refused() -> None:
    with charlie_untouched():
        key, bob = give_key(UserFactory()), UserFactory()
        assert refused(preview(bob, key)) == (403, "INSUFFICIENT_PERMISSIONS")
        for name in ("usr_00000000000000000000000000", "usr_x", "x", ""):
            response = ask("GET", f"/v1/user/{name}/deletion-preview", key)
            assert refused(response) == (404, "USER_NOT_FOUND")


def test_a_platforms_key_previews_no_user() -> None:
    managed = ManagedUserFactory()
    key = give_key(managed.organization)
    assert refused(preview(managed.user, key)) == (403, "INSUFFICIENT_PERMISSIONS")


def test_an_owner_sees_the_whole_organization() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        MembershipFactory(organization=organization)
        InvitationFactory(organization=organization)
        managed = ManagedUserFactory(organization=organization).user
        plan = preview_of_organization(organization, give_key(alice)).json()
    assert plan["subject"] == {"kind": "organization", "id": str(organization.pk)}
    assert plan["removed"]["organizations.Organization"] == 1
    assert plan["removed"]["organizations.Membership"] == 2
    assert plan["removed"]["organizations.Invitation"] == 1
    assert plan["companions"] == [{"kind": "user", "id": spell(managed)}]
    assert plan["removed"]["accounts.User"] == 1


def test_only_an_owner_sees_it() -> None:
    organization = owned_by(UserFactory())
    admin = MembershipFactory(organization=organization, role="admin").user
    for stranger in (admin, UserFactory()):
        response = preview_of_organization(organization, give_key(stranger))
        assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")
    key = give_key(UserFactory())
    for path in ("00000000-0000-0000-0000-000000000000", "x", ""):
        response = ask("GET", f"/v1/organizations/{path}/deletion-preview", key)
        assert refused(response) == (404, "ORGANIZATION_NOT_FOUND")


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/v1/user/{user}/deletion-preview", scopes.ACCOUNT_READ),
        ("/v1/organizations/{organization}/deletion-preview", scopes.ORGANIZATIONS_DELETE),
    ],
)
def test_each_preview_takes_its_scope(path: str, scope: str) -> None:
    alice = UserFactory()
    path = path.format(user=spell(alice), organization=owned_by(alice).pk)
    others = sorted(scopes.PERSONAL - {scope})
    assert refused(ask("GET", path, give_key(alice, *others)))[0] == 403
    assert ask("GET", path, give_key(alice, scope)).status_code == 200
    assert refused(ask("GET", path)) == (401, "AUTHENTICATION_REQUIRED")
    response = ask("DELETE", path, give_key(alice))
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_the_plans_id_is_that_of_its_content() -> None:
    alice = UserFactory()
    key = give_key(alice)
    first = preview(alice, key).json()["id"]
    assert preview(alice, key).json()["id"] == first
    MembershipFactory(user=alice, organization=OrganizationFactory())
    assert preview(alice, key).json()["id"] != first
