"""``/v1/organizations``: found, list, read, rename, pass on, leave, archive."""

from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import User
from apikeys import scopes
from apikeys.models import ApiKey
from audit.models import AuditEvent
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory, give_key
from tests.house.asking import ask, faults, owned_by, refused, spell

pytestmark = pytest.mark.django_db


def path_of(organization: Organization, step: str = "") -> str:
    return f"/v1/organizations/{organization.pk}" + (f"/{step}" if step else "")


def join(organization: Organization, role: str = "member") -> User:
    user: User = MembershipFactory(organization=organization, role=role).user
    return user


def roles(organization: Organization) -> dict[Any, str]:
    return dict(Membership.objects.filter(organization=organization).values_list("user_id", "role"))


def events(organization: Organization) -> list[str]:
    told = AuditEvent.objects.filter(subject_id=organization.pk).order_by("at", "id")
    return list(told.values_list("action", flat=True))


def test_whoever_creates_an_organization_owns_it() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key = give_key(alice)
        response = ask("POST", "/v1/organizations", key, {"name": "Acme ✓", "slug": "acme"})
    made = Organization.objects.get(slug="acme")
    assert response.status_code == 201
    assert response.json() == {
        "id": str(made.pk),
        "name": "Acme ✓",
        "slug": "acme",
        "role": "owner",
        "created_at": made.created_at.isoformat().replace("+00:00", "Z"),
        "archived_at": None,
    }
    assert roles(made) == {alice.pk: "owner"}
    assert events(made) == ["organization.created"]


@pytest.mark.parametrize(
    "slug", ["", "a", "-a", "a-", "a--b", "Acme", "a_b", "a b", "é" * 3, "a" * 61, "acme\n", 5]
)
def test_a_slug_has_a_form(slug: Any) -> None:
    body = {"name": "Acme", "slug": slug}
    response = ask("POST", "/v1/organizations", give_key(UserFactory()), body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert faults(response) == {("body", "slug")}


def test_a_slug_is_no_id() -> None:
    body = {"name": "Acme", "slug": str(uuid4())}
    response = ask("POST", "/v1/organizations", give_key(UserFactory()), body)
    assert refused(response) == (422, "SLUG_REFUSED")
    assert not Organization.objects.exists()


def test_a_slug_belongs_to_one_living_organization() -> None:
    alice = UserFactory()
    key = give_key(alice)
    taken = OrganizationFactory(slug="acme")
    body = {"name": "Acme", "slug": "acme"}
    assert refused(ask("POST", "/v1/organizations", key, body)) == (409, "SLUG_TAKEN")
    mine = owned_by(alice)
    assert refused(ask("PATCH", path_of(mine), key, {"slug": "acme"})) == (409, "SLUG_TAKEN")
    Organization.objects.filter(pk=taken.pk).update(is_deleted=True, is_active=False)
    assert ask("POST", "/v1/organizations", key, body).status_code == 201


def test_the_list_holds_mine_a_page_at_a_time() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key = give_key(alice)
        mine = [MembershipFactory(user=alice).organization for _ in range(5)]
        MembershipFactory(user=alice, organization__is_deleted=True)
        seen, cursor = [], ""
        for expected in (2, 2, 1):
            page = ask("GET", f"/v1/organizations?limit=2{cursor}", key).json()
            assert len(page["data"]) == expected
            seen += [row["id"] for row in page["data"]]
            cursor = f"&cursor={page['next_cursor']}"
        assert page["next_cursor"] is None
        assert seen == sorted(str(one.pk) for one in mine)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "cursor=x", "limit=1&limit=2"]
)
def test_a_page_is_asked_for_in_its_form(query: str) -> None:
    response = ask("GET", f"/v1/organizations?{query}", give_key(UserFactory()))
    assert refused(response) == (422, "VALIDATION_ERROR")


def test_an_organization_is_shown_to_whoever_belongs_to_it() -> None:
    acme = OrganizationFactory()
    member = give_key(join(acme))
    assert ask("GET", path_of(acme), member).json()["role"] == "member"
    assert ask("GET", path_of(acme), give_key(acme)).json()["role"] is None
    assert [it["id"] for it in ask("GET", "/v1/organizations", give_key(acme)).json()["data"]] == [
        str(acme.pk)
    ]
    strangers = (give_key(UserFactory()), give_key(OrganizationFactory()))
    for key in strangers:
        for path in (path_of(acme), f"/v1/organizations/{uuid4()}", "/v1/organizations/x"):
            assert refused(ask("GET", path, key)) == (404, "ORGANIZATION_NOT_FOUND")
    assert refused(ask("GET", path_of(acme))) == (401, "AUTHENTICATION_REQUIRED")
    narrow = give_key(join(acme), scopes.ACCOUNT_READ)
    assert refused(ask("GET", path_of(acme), narrow)) == (403, "INSUFFICIENT_PERMISSIONS")


def test_owners_admins_and_its_own_key_rename_it() -> None:
    acme = OrganizationFactory()
    for key in (give_key(join(acme, "owner")), give_key(join(acme, "admin")), give_key(acme)):
        response = ask("PATCH", path_of(acme), key, {"name": f"Acme {key[-3:]}"})
        assert response.json()["name"] == f"Acme {key[-3:]}"
    response = ask("PATCH", path_of(acme), give_key(join(acme)), {"slug": "mine"})
    assert refused(response) == (403, "INSUFFICIENT_ROLE")
    changed = AuditEvent.objects.filter(action="organization.changed")
    assert [it.facts for it in changed] == [{"fields": ["name"]}] * 3
    ask("PATCH", path_of(acme), give_key(acme), {})
    assert changed.count() == 3


def test_an_organizations_key_founds_nothing_leaves_nothing_and_passes_nothing_on() -> None:
    acme = OrganizationFactory()
    key = give_key(acme)
    body = {"name": "More", "slug": "more"}
    assert refused(ask("POST", "/v1/organizations", key, body)) == (403, "INSUFFICIENT_PERMISSIONS")
    response = ask("POST", path_of(acme, "leave"), key)
    assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")
    for step in ("archive", "unarchive"):
        assert refused(ask("POST", path_of(acme, step), key)) == (403, "INSUFFICIENT_ROLE")
    response = ask("POST", path_of(acme, "transfer"), key, {"to": spell(join(acme))})
    assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")


def test_members_leave_and_the_last_owner_does_not() -> None:
    with charlie_untouched():
        alice = UserFactory()
        acme = owned_by(alice)
        bob = join(acme)
        assert ask("POST", path_of(acme, "leave"), give_key(bob)).status_code == 204
        assert refused(ask("POST", path_of(acme, "leave"), give_key(bob))) == (
            404,
            "ORGANIZATION_NOT_FOUND",
        )
        response = ask("POST", path_of(acme, "leave"), give_key(alice))
        assert refused(response) == (409, "SOLE_OWNER")
        told = response.json()["error"]["details"]["organizations"]
        assert told == [{"id": str(acme.pk), "name": acme.name, "members": 1}]
        assert roles(acme) == {alice.pk: "owner"}
    event = AuditEvent.objects.get(action="member.removed")
    assert event.facts == {"member": str(bob.pk), "how": "left"}
    assert (event.subject_id, event.organization_id) == (acme.pk, acme.pk)


@pytest.mark.parametrize("keep", [None, "member", "owner"])
def test_an_owner_passes_an_organization_on(keep: str | None) -> None:
    with charlie_untouched():
        alice = UserFactory()
        acme = owned_by(alice)
        bob = join(acme)
        body = {"to": spell(bob), **({"keep_role": keep} if keep else {})}
        response = ask("POST", path_of(acme, "transfer"), give_key(alice), body)
        assert (response.status_code, response.json()["role"]) == (200, "owner")
        assert roles(acme) == {alice.pk: keep or "admin", bob.pk: "owner"}
    assert events(acme)[-1] == "organization.transferred"


def test_only_a_living_member_gets_an_organization() -> None:
    alice = UserFactory()
    acme = owned_by(alice)
    key = give_key(alice)
    locked, gone = join(acme), join(acme)
    User.objects.filter(pk=locked.pk).update(is_active=False)
    User.objects.filter(pk=gone.pk).update(is_active=False, is_deleted=True)

    def give(to: User) -> tuple[int, str]:
        return refused(ask("POST", path_of(acme, "transfer"), key, {"to": spell(to)}))

    assert give(alice) == (409, "HEIR_REFUSED")
    assert give(locked) == (409, "HEIR_REFUSED")
    assert give(gone) == (409, "HEIR_REFUSED")
    assert give(UserFactory()) == (404, "MEMBER_NOT_FOUND")
    admin = give_key(join(acme, "admin"))
    response = ask("POST", path_of(acme, "transfer"), admin, {"to": spell(alice)})
    assert refused(response) == (403, "INSUFFICIENT_ROLE")
    response = ask("POST", path_of(acme, "transfer"), key, {"to": "usr_x", "keep_role": "king"})
    assert faults(response) == {("body", "to"), ("body", "keep_role")}
    assert roles(acme)[alice.pk] == "owner"


def test_an_archived_organization_is_read_only_and_its_keys_are_refused() -> None:
    with charlie_untouched():
        alice = UserFactory()
        acme, key = owned_by(alice), give_key(alice)
        bob = join(acme)
        platform = give_key(acme)
        response = ask("POST", path_of(acme, "archive"), key)
        assert response.status_code == 200
        at = response.json()["archived_at"]
        assert at is not None
        assert ask("POST", path_of(acme, "archive"), key).json()["archived_at"] == at
        assert refused(ask("GET", path_of(acme), platform)) == (401, "AUTHENTICATION_REQUIRED")
        assert ask("GET", path_of(acme), key).json()["archived_at"] == at
        assert ask("GET", path_of(acme, "members"), key).status_code == 200
        assert ask("GET", path_of(acme, "invitations"), key).status_code == 200
        assert ask("GET", path_of(acme, "managed-users"), key).status_code == 200
        writes = [
            ("PATCH", "", {"name": "Other"}),
            ("POST", "leave", None),
            ("POST", "transfer", {"to": spell(bob)}),
            ("PATCH", f"members/{spell(bob)}", {"role": "admin"}),
            ("DELETE", f"members/{spell(bob)}", None),
            ("POST", "invitations", {"email": "new@example.com"}),
            ("DELETE", "invitations/inv_00000000000000000000000000", None),
            ("POST", "managed-users", {"username": "erin", "external_id": "1"}),
            ("DELETE", f"managed-users/{spell(bob)}", None),
            ("POST", f"managed-users/{spell(bob)}/restore", None),
        ]
        for method, step, body in writes:
            response = ask(method, path_of(acme, step), key, body)
            assert refused(response) == (409, "ARCHIVED"), (method, step)
        body = {"name": "platform", "organization_id": str(acme.pk)}
        assert refused(ask("POST", "/v1/api-keys", key, body)) == (409, "ARCHIVED")
        assert roles(acme) == {alice.pk: "owner", bob.pk: "member"}
        assert ask("POST", path_of(acme, "unarchive"), key).json()["archived_at"] is None
        assert ask("GET", path_of(acme), platform).status_code == 200
    assert events(acme) == ["organization.archived", "organization.unarchived"]
    assert not ApiKey.objects.filter(organization=acme).exclude(revoked_at=None).exists()


def test_only_owners_archive() -> None:
    acme = owned_by(UserFactory())
    for step in ("archive", "unarchive"):
        key = give_key(join(acme, "admin"))
        assert refused(ask("POST", path_of(acme, step), key)) == (403, "INSUFFICIENT_ROLE")


def test_an_archived_organization_can_be_deleted_and_comes_back_archived() -> None:
    alice = UserFactory()
    acme, key = owned_by(alice), give_key(alice)
    Organization.objects.filter(pk=acme.pk).update(archived_at=timezone.now())
    body = {"slug": acme.slug}
    assert ask("POST", path_of(acme, "deletion"), key, body).status_code == 202
    assert refused(ask("GET", path_of(acme), key)) == (404, "ORGANIZATION_NOT_FOUND")
    response = ask("POST", path_of(acme, "deletion/cancel"), key)
    assert (response.status_code, response.json()["state"]) == (200, "cancelled")
    assert ask("GET", path_of(acme), key).json()["archived_at"] is not None
    assert ask("DELETE", f"/organizations/{acme.pk}", key).status_code == 204


def test_a_key_of_an_archived_organization_keeps_its_name_and_can_be_revoked() -> None:
    alice = UserFactory()
    acme, key = owned_by(alice), give_key(alice)
    give_key(acme)
    Organization.objects.filter(pk=acme.pk).update(archived_at=timezone.now())
    listed = ask("GET", "/v1/api-keys", key).json()["data"]
    [shown] = [it["id"] for it in listed if it["organization_id"]]
    response = ask("PATCH", f"/v1/api-keys/{shown}", key, {"name": "other"})
    assert refused(response) == (409, "ARCHIVED")
    assert ask("DELETE", f"/v1/api-keys/{shown}", key).status_code == 204
