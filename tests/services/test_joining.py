"""How users, members and organizations come to be."""

from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.joining import UserExists, create_user, provision_user
from accounts.models import User
from apikeys.exceptions import OrganizationNotRun
from audit.actors import Actor
from audit.models import AuditEvent
from erasure.exceptions import SubjectNotFound
from organizations.founding import create_organization
from organizations.invitations import invite
from organizations.members import add_member
from organizations.models import Invitation, ManagedUser, Membership, Organization
from organizations.services import create_organization_key
from tests.bystanders import charlie_untouched
from tests.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
NOW = timezone.now()


def test_a_user_is_created_with_an_event_that_names_nobody() -> None:
    with charlie_untouched():
        pk = create_user(actor=SYSTEM, username="alice", email="alice@example.com", now=NOW)
    alice = User.objects.get(pk=pk)
    assert (alice.username, alice.is_staff) == ("alice", False)
    assert not alice.has_usable_password()
    event = AuditEvent.objects.get(action="user.created", subject_id=pk)
    assert "alice" not in str(vars(event))


@pytest.mark.parametrize(
    "fields", [{"username": "alice"}, {"username": "other", "email": "ALICE@example.com"}]
)
def test_a_name_or_address_is_borne_by_one_living_user_only(fields: dict[str, Any]) -> None:
    create_user(actor=SYSTEM, username="alice", email="alice@example.com", now=NOW)
    with pytest.raises(UserExists):
        create_user(actor=SYSTEM, **fields, now=NOW)
    User.objects.update(is_deleted=True, is_active=False)
    assert create_user(actor=SYSTEM, **fields, now=NOW)


def test_users_without_an_address_do_not_collide() -> None:
    for name in ("alice", "bob"):
        create_user(actor=SYSTEM, username=name, now=NOW)


def test_a_managed_user_belongs_to_its_organization() -> None:
    organization = OrganizationFactory()
    given = {"actor": SYSTEM, "organization_id": organization.pk, "now": NOW}
    pk = provision_user(**given, username="erin", external_id="42")
    managed = ManagedUser.objects.get(user_id=pk)
    assert (managed.organization_id, managed.external_id) == (organization.pk, "42")
    with pytest.raises(UserExists):
        provision_user(**given, username="another", external_id="42")
    assert not User.objects.filter(username="another").exists()
    other = {**given, "organization_id": OrganizationFactory().pk}
    assert provision_user(**other, username="another", external_id="42")


def test_a_missing_or_deleted_organization_provisions_nobody() -> None:
    gone = OrganizationFactory(is_deleted=True)
    for pk in (gone.pk, uuid7()):
        with pytest.raises(SubjectNotFound):
            provision_user(
                actor=SYSTEM, organization_id=pk, username="erin", external_id="1", now=NOW
            )
    assert not User.objects.exists()


def test_an_organization_begins_with_an_owner_and_takes_members() -> None:
    alice, bob = UserFactory(), UserFactory()
    pk = create_organization(actor=SYSTEM, owner_id=alice.pk, name="Acme", slug="acme", now=NOW)
    add_member(actor=SYSTEM, organization_id=pk, user_id=bob.pk, role="admin", now=NOW)
    roles = dict(Membership.objects.filter(organization_id=pk).values_list("user_id", "role"))
    assert roles == {alice.pk: "owner", bob.pk: "admin"}
    with pytest.raises(SubjectNotFound):
        create_organization(actor=SYSTEM, owner_id=uuid7(), name="X", slug="xx", now=NOW)
    with pytest.raises(SubjectNotFound):
        add_member(actor=SYSTEM, organization_id=uuid7(), user_id=bob.pk, role="admin", now=NOW)
    assert Organization.objects.count() == 1


def test_a_deleted_user_joins_nothing() -> None:
    acme, gone = OrganizationFactory(), UserFactory(is_deleted=True, is_active=False)
    with pytest.raises(SubjectNotFound):
        add_member(actor=SYSTEM, organization_id=acme.pk, user_id=gone.pk, role="member", now=NOW)


def test_an_invitation_is_told_to_the_log_without_its_address() -> None:
    acme = OrganizationFactory()
    made = invite(
        actor=SYSTEM, organization_id=acme.pk, email="new@example.com", role="member", now=NOW
    )
    assert Invitation.objects.get(pk=made.id).email == "new@example.com"
    assert "example.com" not in str(list(AuditEvent.objects.values()))
    with pytest.raises(SubjectNotFound):
        invite(actor=SYSTEM, organization_id=uuid7(), email="x@y.zz", role="member", now=NOW)


def test_only_who_runs_an_organization_makes_its_keys() -> None:
    actor = Actor(kind="user", id=UserFactory().pk, channel="test")
    for somebody in (actor, SYSTEM):
        with pytest.raises(OrganizationNotRun):
            create_organization_key(
                actor=somebody,
                organization_id=OrganizationFactory().pk,
                name="key",
                wanted=frozenset(),
                expires_at=None,
                now=NOW,
            )


def test_the_first_superuser_comes_from_djangos_own_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "a long password")
    call_command(
        "createsuperuser", username="root", email="root@example.com", interactive=False, verbosity=0
    )
    root = User.objects.get(username="root")
    assert root.is_superuser
    assert root.is_staff
    assert root.check_password("a long password")
    assert root.password.startswith("argon2$")
