"""``/v1/organizations/{id}/members``: list, change roles, remove."""

import pytest

from accounts.models import User
from audit.models import AuditEvent
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched
from tests.factories import OrganizationFactory, UserFactory, give_key
from tests.house.asking import ask, faults, owned_by, refused, spell
from tests.house.test_organizations import join, path_of, roles

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Organization:
    return owned_by(UserFactory(username="olga"))


def owner_key(acme: Organization) -> str:
    return give_key(User.objects.get(username="olga"))


def member_path(acme: Organization, user: User) -> str:
    return path_of(acme, f"members/{spell(user)}")


def test_members_see_each_other_a_page_at_a_time(acme: Organization) -> None:
    with charlie_untouched():
        people = [join(acme) for _ in range(3)]
        gone, locked = join(acme), join(acme)
        User.objects.filter(pk=gone.pk).update(is_active=False, is_deleted=True)
        User.objects.filter(pk=locked.pk).update(is_active=False)
        key = give_key(people[0])
        first = ask("GET", path_of(acme, "members?limit=3"), key).json()
        rest = ask(
            "GET", path_of(acme, f"members?limit=3&cursor={first['next_cursor']}"), key
        ).json()
        assert rest["next_cursor"] is None
        shown = [*first["data"], *rest["data"]]
        olga = User.objects.get(username="olga")
        expected = sorted([olga, *people, locked], key=lambda user: user.pk)
        assert [it["user_id"] for it in shown] == [spell(user) for user in expected]
        assert {it["user_id"] for it in shown if not it["active"]} == {spell(locked)}
        assert set(shown[0]) == {"user_id", "username", "name", "role", "active", "joined_at"}
        # An address is nobody's business.
        assert "@" not in str(shown)
    stranger = ask("GET", path_of(acme, "members"), give_key(UserFactory()))
    assert refused(stranger) == (404, "ORGANIZATION_NOT_FOUND")


@pytest.mark.parametrize(
    ("actor", "target", "role", "allowed"),
    [
        ("owner", "member", "owner", True),
        ("owner", "owner", "member", True),
        ("admin", "member", "admin", True),
        ("admin", "admin", "member", True),
        ("admin", "member", "owner", False),
        ("admin", "owner", "admin", False),
        ("member", "member", "admin", False),
    ],
)
def test_who_may_change_whose_role(
    acme: Organization, actor: str, target: str, role: str, allowed: bool
) -> None:
    with charlie_untouched():
        acting, bob = join(acme, actor), join(acme, target)
        response = ask("PATCH", member_path(acme, bob), give_key(acting), {"role": role})
        if allowed:
            assert (response.status_code, response.json()["role"]) == (200, role)
        else:
            assert refused(response) == (403, "INSUFFICIENT_ROLE")
        assert roles(acme)[bob.pk] == (role if allowed else target)
    told = AuditEvent.objects.filter(action="member.role_changed")
    facts = {"member": str(bob.pk), "role": role, "before": target}
    assert [it.facts for it in told] == ([facts] if allowed else [])


@pytest.mark.parametrize(
    ("actor", "target", "allowed"),
    [
        ("owner", "owner", True),
        ("owner", "admin", True),
        ("admin", "admin", True),
        ("admin", "owner", False),
        ("member", "member", False),
    ],
)
def test_who_may_remove_whom(acme: Organization, actor: str, target: str, allowed: bool) -> None:
    with charlie_untouched():
        acting, bob = join(acme, actor), join(acme, target)
        response = ask("DELETE", member_path(acme, bob), give_key(acting))
        assert response.status_code == (204 if allowed else 403)
        assert (bob.pk in roles(acme)) is not allowed
        # The account itself stays.
        assert User.live.filter(pk=bob.pk).exists()
    told = AuditEvent.objects.filter(action="member.removed")
    facts = {"member": str(bob.pk), "how": "removed"}
    assert [it.facts for it in told] == ([facts] if allowed else [])


def test_an_organizations_own_key_counts_as_an_admin(acme: Organization) -> None:
    key, bob = give_key(acme), join(acme)
    assert ask("PATCH", member_path(acme, bob), key, {"role": "admin"}).status_code == 200
    assert refused(ask("PATCH", member_path(acme, bob), key, {"role": "owner"})) == (
        403,
        "INSUFFICIENT_ROLE",
    )
    assert ask("DELETE", member_path(acme, bob), key).status_code == 204


def test_the_last_live_owner_stays_owner(acme: Organization) -> None:
    olga, key = User.objects.get(username="olga"), owner_key(acme)
    locked = join(acme, "owner")
    User.objects.filter(pk=locked.pk).update(is_active=False)
    for response in (
        ask("PATCH", member_path(acme, olga), key, {"role": "admin"}),
        ask("DELETE", member_path(acme, olga), key),
    ):
        assert refused(response) == (409, "SOLE_OWNER")
    assert roles(acme)[olga.pk] == "owner"
    # An owner who is locked out keeps nobody, and may go.
    assert ask("DELETE", member_path(acme, locked), key).status_code == 204


def test_nobody_becomes_an_owner_who_could_not_act(acme: Organization) -> None:
    locked = join(acme)
    User.objects.filter(pk=locked.pk).update(is_active=False)
    response = ask("PATCH", member_path(acme, locked), owner_key(acme), {"role": "owner"})
    assert refused(response) == (409, "HEIR_REFUSED")


def test_whoever_is_no_living_member_is_not_found(acme: Organization) -> None:
    gone = join(acme)
    User.objects.filter(pk=gone.pk).update(is_active=False, is_deleted=True)
    key = owner_key(acme)
    for user in (gone, UserFactory()):
        for method, body in (("DELETE", None), ("PATCH", {"role": "admin"})):
            assert refused(ask(method, member_path(acme, user), key, body)) == (
                404,
                "MEMBER_NOT_FOUND",
            )
    response = ask("DELETE", path_of(acme, "members/x"), key)
    assert refused(response) == (404, "MEMBER_NOT_FOUND")
    elsewhere = path_of(OrganizationFactory(), f"members/{spell(gone)}")
    assert refused(ask("DELETE", elsewhere, key)) == (404, "ORGANIZATION_NOT_FOUND")


def test_a_role_is_one_of_three(acme: Organization) -> None:
    response = ask("PATCH", member_path(acme, join(acme)), owner_key(acme), {"role": "king"})
    assert faults(response) == {("body", "role")}


def test_a_role_that_stays_is_no_event(acme: Organization) -> None:
    bob = join(acme)
    response = ask("PATCH", member_path(acme, bob), owner_key(acme), {"role": "member"})
    assert response.status_code == 200
    assert not AuditEvent.objects.exists()
    assert Membership.objects.filter(user=bob, role="member").exists()
