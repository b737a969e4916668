from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from accounts.models import User
from audit.models import AuditEvent
from organizations.models import Membership, Organization
from tests.admin.desk import delete_softly, sign_in, sign_in_superuser, text_of
from tests.bystanders import charlie_untouched
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
)

pytestmark = pytest.mark.django_db

URL = "/admin/organizations/organization/"
NO_OWNER = "An organization needs at least one owner whose account is active."


def form_of(organization: Organization, *added: tuple[User, str], **changed: str) -> dict[str, Any]:
    """Return the page's form as it stands, with rows added and fields changed by row's index."""
    rows = list(organization.memberships.select_related("user"))
    data = {
        "name": organization.name,
        "slug": organization.slug,
        "memberships-TOTAL_FORMS": str(len(rows) + len(added)),
        "memberships-INITIAL_FORMS": str(len(rows)),
    }
    for index, row in enumerate(rows):
        data[f"memberships-{index}-id"] = str(row.pk)
        data[f"memberships-{index}-organization"] = str(organization.pk)
        data[f"memberships-{index}-role"] = row.role
    for index, (user, role) in enumerate(added, start=len(rows)):
        data[f"memberships-{index}-user"] = str(user.pk)
        data[f"memberships-{index}-role"] = role
    for prefix in ("invitations", "managed_users"):
        data |= {f"{prefix}-TOTAL_FORMS": "0", f"{prefix}-INITIAL_FORMS": "0"}
    return {**data, **{f"memberships-{name.replace('__', '-')}": v for name, v in changed.items()}}


def save(client: Client, organization: Organization, data: dict[str, Any]) -> str:
    answer = client.post(f"{URL}{organization.pk}/change/", data)
    return "" if answer.status_code == 302 else text_of(answer)


def roles(organization: Organization) -> dict[str, str]:
    rows = Membership.objects.filter(organization=organization)
    return dict(rows.values_list("user__username", "role"))


@pytest.fixture
def acme() -> Organization:
    organization: Organization = OrganizationFactory(name="Acme", slug="acme")
    MembershipFactory(organization=organization, user__username="alice", role="owner")
    MembershipFactory(organization=organization, user__username="bob")
    return organization


def test_members_are_added_promoted_and_removed(client: Client, acme: Organization) -> None:
    sign_in_superuser(client)
    dana = UserFactory(username="dana")
    with charlie_untouched():
        assert not save(client, acme, form_of(acme, (dana, "owner"), **{"1__role": "admin"}))
        assert roles(acme) == {"alice": "owner", "bob": "admin", "dana": "owner"}
        assert not save(client, acme, form_of(acme, **{"0__DELETE": "on"}))
    assert roles(acme) == {"bob": "admin", "dana": "owner"}
    told = AuditEvent.objects.filter(action__startswith="member.", organization_id=acme.pk)
    assert sorted((it.action, it.facts.get("member") == str(dana.pk)) for it in told) == [
        ("member.added", True),
        ("member.removed", False),
        ("member.role_changed", False),
    ]


@pytest.mark.parametrize("change", [{"0__DELETE": "on"}, {"0__role": "member"}])
def test_the_last_owner_stays(client: Client, acme: Organization, change: dict[str, str]) -> None:
    sign_in_superuser(client)
    assert NO_OWNER in save(client, acme, form_of(acme, **change))
    assert roles(acme) == {"alice": "owner", "bob": "member"}


def test_an_owner_who_is_locked_or_deleted_does_not_count(
    client: Client, acme: Organization
) -> None:
    sign_in_superuser(client)
    locked = UserFactory(is_active=False)
    MembershipFactory(organization=acme, user=locked, role="owner")
    gone = UserFactory()
    MembershipFactory(organization=acme, user=gone, role="owner")
    delete_softly(gone)
    assert NO_OWNER in save(client, acme, form_of(acme, **{"0__DELETE": "on"}))
    assert roles(acme)["alice"] == "owner"


def test_an_owner_who_left_since_the_page_was_opened_does_not_count(
    client: Client, acme: Organization
) -> None:
    sign_in_superuser(client)
    dana = MembershipFactory(organization=acme, user__username="dana", role="owner")
    data = form_of(acme, **{"0__role": "member"})
    Membership.objects.filter(pk=dana.pk).update(role="member")
    # The form still says that Dana is to be an owner, and saving makes her one again.
    assert not save(client, acme, data)
    assert roles(acme)["dana"] == "owner"
    data = form_of(acme, **{"2__role": "member"})
    assert NO_OWNER in save(client, acme, data)


def test_ownership_passes_on_in_one_save(client: Client, acme: Organization) -> None:
    sign_in_superuser(client)
    data = form_of(acme, **{"0__role": "member", "1__role": "owner"})
    assert not save(client, acme, data)
    assert roles(acme) == {"alice": "member", "bob": "owner"}


def test_a_membership_does_not_pass_to_somebody_else(client: Client, acme: Organization) -> None:
    sign_in_superuser(client)
    dana = UserFactory(username="dana")
    save(client, acme, form_of(acme, **{"1__user": str(dana.pk)}))
    assert roles(acme) == {"alice": "owner", "bob": "member"}


def test_nobody_joins_twice_and_no_deleted_user_joins(client: Client, acme: Organization) -> None:
    sign_in_superuser(client)
    alice = User.objects.get(username="alice")
    assert "exists" in save(client, acme, form_of(acme, (alice, "member")))
    assert "Select a valid choice" in save(client, acme, form_of(acme, (delete_softly(), "member")))
    assert roles(acme) == {"alice": "owner", "bob": "member"}


def test_a_new_organization_needs_an_owner(client: Client) -> None:
    staff = sign_in_superuser(client)
    alice = UserFactory()
    data = {
        "name": "New",
        "slug": "new",
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "0",
        "memberships-0-user": str(alice.pk),
        "memberships-0-role": "member",
    }
    assert NO_OWNER in text_of(client.post(f"{URL}add/", data))
    empty = {**data, "memberships-0-user": ""}
    assert NO_OWNER in text_of(client.post(f"{URL}add/", empty))
    assert not Organization.objects.exists()
    client.post(f"{URL}add/", {**data, "memberships-0-role": "owner"})
    organization = Organization.objects.get(slug="new")
    assert roles(organization) == {alice.username: "owner"}
    events = AuditEvent.objects.filter(subject_id=organization.pk)
    assert sorted(events.values_list("action", "actor_id")) == [
        ("admin.added", staff.pk),
        ("member.added", staff.pk),
        ("organization.created", staff.pk),
    ]
    assert LogEntry.objects.get().object_repr == str(organization.pk)
    taken = text_of(client.post(f"{URL}add/", {**data, "memberships-0-role": "owner"}))
    assert "An organization with this slug exists." in taken


def test_a_name_can_change_while_the_members_stay(client: Client, acme: Organization) -> None:
    sign_in(client, "organizations.change_organization")
    data = {"name": "Acme & Sons", "slug": "acme"}
    client.post(f"{URL}{acme.pk}/change/", data)
    acme.refresh_from_db()
    assert acme.name == "Acme & Sons"


def test_those_who_may_look_see_people_and_change_nothing(
    client: Client, acme: Organization
) -> None:
    ManagedUserFactory(organization=acme, user__username="erin", external_id="customer-1")
    InvitationFactory(organization=acme, email="guest@example.com")
    sign_in(
        client,
        "organizations.view_organization",
        "organizations.view_membership",
        "organizations.view_invitation",
        "organizations.view_manageduser",
    )
    page = text_of(client.get(f"{URL}{acme.pk}/change/"))
    for word in ("alice", "bob", "erin", "customer-1", "guest@example.com", "usr_"):
        assert word in page
    assert 'name="_save"' not in page
    data = form_of(acme, **{"0__DELETE": "on"})
    assert client.post(f"{URL}{acme.pk}/change/", data).status_code == 403
    assert client.get(f"{URL}add/").status_code == 403


def test_without_permission_people_stay_unseen(client: Client, acme: Organization) -> None:
    sign_in(client, "organizations.view_organization")
    page = text_of(client.get(f"{URL}{acme.pk}/change/"))
    assert "alice" not in page
    sign_in(client, "accounts.view_user")
    assert client.get(URL).status_code == 403


def test_the_list_finds_by_name_slug_and_id(client: Client, acme: Organization) -> None:
    sign_in(client, "organizations.view_organization")
    OrganizationFactory(name="Borealis", slug="borealis")
    for term in ("Acme", "acme", str(acme.pk)):
        page = text_of(client.get(URL, {"q": term}))
        assert "Acme" in page
        assert "Borealis" not in page
