"""A user leaves and settles what becomes of the organizations, all in one transaction."""

from uuid import uuid4

import pytest
from django.conf import settings

from accounts.models import User
from accounts.services import schedule_deletion
from audit.actors import Actor
from audit.models import AuditEvent
from erasure.deleting import restore
from erasure.exceptions import ActorGone, PlanDrifted, RightMissing, SubjectNotFound
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from organizations.exceptions import SettlementRefused, SoleOwner
from organizations.leaving import DELETE, LEAVE, Settlement, Settlements
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.erasure.leaving import NOW, SYSTEM, about, person, request_of
from tests.factories import ManagedUserFactory, MembershipFactory, OrganizationFactory

pytestmark = pytest.mark.django_db


def own(user: User, *, others: int = 0, owner_too: bool = False) -> Organization:
    """Give a user an organization, with further members, all of them owners if need be."""
    organization: Organization = OrganizationFactory()
    MembershipFactory(organization=organization, user=user, role="owner")
    for _ in range(others):
        role = "owner" if owner_too else "member"
        MembershipFactory(organization=organization, user=person(), role=role)
    return organization


def leave(user: User, settlements: Settlements, **options: str) -> DeletionRequest:
    actor = Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)
    return schedule_deletion(
        actor=actor, user_id=user.pk, organizations=settlements, now=NOW, **options
    )


def roles(organization: Organization) -> dict[object, str]:
    rows = Membership.objects.filter(organization=organization)
    return dict(rows.values_list("user_id", "role"))


def heir_of(organization: Organization) -> User:
    member = Membership.objects.filter(organization=organization).exclude(role="owner")[0]
    found: User = member.user
    return found


def test_each_organization_has_the_fate_that_was_asked_for() -> None:
    with charlie_untouched():
        user = person()
        passed, doomed, left = own(user, others=1), own(user), own(user, others=1, owner_too=True)
        managed = ManagedUserFactory(organization=doomed, user=person()).user
        heir = heir_of(passed)
        request = leave(
            user,
            {passed.pk: Settlement.transfer_to(heir.pk), doomed.pk: DELETE, left.pk: LEAVE},
        )
    user.refresh_from_db()
    assert (user.is_deleted, request.state) == (True, "scheduled")
    assert roles(passed)[heir.pk] == "owner"
    event = AuditEvent.objects.get(action="member.role_changed")
    assert (event.subject_id, event.facts) == (passed.pk, {"member": str(heir.pk), "role": "owner"})
    assert not Organization.objects.get(pk=left.pk).is_deleted
    doomed.refresh_from_db()
    assert doomed.is_deleted
    fate = request_of(doomed)
    assert (fate.cause_id, fate.due_at) == (request.pk, NOW + settings.GRACE_PERIOD)
    assert request_of(managed).cause_id == fate.pk


def test_what_nobody_settled_must_have_another_owner() -> None:
    user = person()
    sole, shared = own(user, others=1), own(user, others=1, owner_too=True)
    before = read_rows()
    with pytest.raises(SoleOwner) as refused:
        leave(user, {})
    assert [it.id for it in refused.value.organizations] == [sole.pk]
    with pytest.raises(SoleOwner):
        leave(user, {sole.pk: LEAVE, shared.pk: LEAVE})
    assert read_rows() == before


@pytest.mark.parametrize("heir", ["stranger", "deleted", "inactive", "oneself", "nobody"])
def test_an_heir_is_a_live_member(heir: str) -> None:
    user = person()
    organization = own(user, others=1)
    member = heir_of(organization)
    if heir == "deleted":
        User.objects.filter(pk=member.pk).update(is_deleted=True, is_active=False)
    if heir == "inactive":
        User.objects.filter(pk=member.pk).update(is_active=False)
    chosen = {
        "stranger": person().pk,
        "oneself": user.pk,
        "nobody": uuid4(),
    }.get(heir, member.pk)
    before = read_rows()
    with pytest.raises(SettlementRefused) as refused:
        leave(user, {organization.pk: Settlement.transfer_to(chosen)})
    assert (refused.value.organization_id, refused.value.reason) == (
        organization.pk,
        "not_a_member",
    )
    assert read_rows() == before


@pytest.mark.parametrize("fate", ["transfer", "delete"])
def test_only_an_owner_settles(fate: str) -> None:
    user = person()
    foreign = own(person(), others=1)
    MembershipFactory(organization=foreign, user=user, role="admin")
    settlement = Settlement.transfer_to(heir_of(foreign).pk) if fate == "transfer" else DELETE
    before = read_rows()
    with pytest.raises(SettlementRefused) as refused:
        leave(user, {foreign.pk: settlement})
    assert refused.value.reason == "not_owner"
    assert read_rows() == before


def test_what_is_not_there_cannot_be_settled() -> None:
    user = person()
    for organization_id in (uuid4(), OrganizationFactory(is_deleted=True, is_active=False).pk):
        with pytest.raises(SettlementRefused) as refused:
            leave(user, {organization_id: LEAVE})
        assert refused.value.reason == "unknown"
    user.refresh_from_db()
    assert not user.is_deleted


def test_a_doomed_organization_leaves_no_other_without_an_owner() -> None:
    """A user whom it manages is the only owner of another organization."""
    user = person()
    doomed = own(user)
    managed = ManagedUserFactory(organization=doomed, user=person()).user
    other = own(managed)
    before = read_rows()
    with pytest.raises(SoleOwner) as refused:
        leave(user, {doomed.pk: DELETE})
    assert [it.id for it in refused.value.organizations] == [other.pk]
    assert read_rows() == before


def test_an_organization_that_manages_its_own_owner_goes_with_them() -> None:
    user = person()
    doomed = own(user)
    ManagedUserFactory(organization=doomed, user=user)
    request = leave(user, {doomed.pk: DELETE})
    assert request_of(user).pk == request.pk
    assert request_of(doomed).cause_id == request.pk


def test_a_restore_brings_back_what_the_deletion_took_and_no_heir_loses_anything() -> None:
    user = person()
    passed, doomed = own(user, others=1), own(user)
    heir = heir_of(passed)
    leave(user, {passed.pk: Settlement.transfer_to(heir.pk), doomed.pk: DELETE})
    restore(actor=SYSTEM, subject=about(user), now=NOW)
    doomed.refresh_from_db()
    user.refresh_from_db()
    assert (user.is_deleted, doomed.is_deleted, doomed.is_active) == (False, False, True)
    assert roles(passed) == {user.pk: "owner", heir.pk: "owner"}


def test_others_need_the_right_of_staff() -> None:
    user, stranger = person(), person()
    actor = Actor(kind="user", id=stranger.pk, channel="test", person_id=stranger.pk)
    with pytest.raises(RightMissing):
        schedule_deletion(actor=actor, user_id=user.pk, organizations={}, now=NOW)
    made = schedule_deletion(actor=SYSTEM, user_id=user.pk, organizations={}, now=NOW)
    assert (made.requested_by_kind, made.state) == ("system", "scheduled")
    with pytest.raises(SubjectNotFound):
        schedule_deletion(actor=SYSTEM, user_id=user.pk, organizations={}, now=NOW)


def test_who_is_gone_meanwhile_is_told_so() -> None:
    user = person()
    User.objects.filter(pk=user.pk).update(is_active=False)
    with pytest.raises(ActorGone):
        leave(user, {})


def test_the_plan_that_was_named_must_be_that_of_now() -> None:
    user = person()
    plan = make_plan(about(user))
    with pytest.raises(PlanDrifted):
        leave(user, {}, plan_id="plan_of_somebody_else")
    assert leave(user, {}, plan_id=plan.id).plan_id == plan.id
