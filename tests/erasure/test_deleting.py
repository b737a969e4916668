"""The soft delete of users and organizations alike, by staff, and what goes along."""

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings

from accounts.models import Session, User
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.models import AuditEvent
from erasure import deleting, requests
from erasure.deleting import schedule_deletion
from erasure.exceptions import (
    Blocked,
    DeletionInProgress,
    PlanDrifted,
    RightMissing,
    SubjectNotFound,
)
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from organizations.models import ManagedUser, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.erasure.leaving import NOW, SYSTEM, about, person, request_of
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

DUE = NOW + settings.GRACE_PERIOD


def organization_with(managed: int) -> Organization:
    made: Organization = OrganizationFactory()
    MembershipFactory(organization=made, role="owner")
    give_key(made)
    for _ in range(managed):
        ManagedUserFactory(organization=made, user=person())
    return made


def delete(row: User | Organization, **options: str) -> DeletionRequest:
    return schedule_deletion(actor=SYSTEM, subject=about(row), now=NOW, **options)


def test_users_and_organizations_have_the_same_grace_states_and_events() -> None:
    with charlie_untouched():
        rows: list[Any] = [person(), organization_with(0)]
        made = [delete(row, reference="CASE-1") for row in rows]
    for row, request in zip(rows, made, strict=True):
        row.refresh_from_db()
        assert (row.is_deleted, row.is_active, row.deleted_at) == (True, False, NOW)
        kept = request_of(row)
        assert kept.pk == request.pk
        assert (kept.state, kept.due_at, kept.generation) == ("scheduled", DUE, 1)
        owned = {"owned": True} if isinstance(row, Organization) else {}
        assert (kept.before, kept.reference) == ({"is_active": True, **owned}, "CASE-1")
        event = AuditEvent.objects.get(subject_id=row.pk)
        assert event.action == f"{kept.subject_kind}.deleted"
        assert event.facts == {"deletion": str(kept.pk), "reference": "CASE-1"}


def test_access_ends_at_once() -> None:
    user, organization = person(), organization_with(1)
    delete(user)
    delete(organization)
    assert not Session.objects.exists()
    assert not ApiKey.objects.filter(revoked_at=None).exists()


def test_whoever_an_organization_manages_goes_along_under_its_cause() -> None:
    organization = organization_with(2)
    early = person()
    ManagedUserFactory(organization=organization, user=early)
    own = delete(early)
    cause = delete(organization)
    managed = ManagedUser.objects.filter(organization=organization).exclude(user=early)
    assert managed.count() == 2
    for row in managed:
        request = request_of(row.user)
        assert row.user.is_deleted
        assert (request.cause_id, request.organization_id) == (cause.pk, organization.pk)
        assert (request.state, request.due_at) == ("scheduled", DUE)
    # Who was on the way out before keeps the deletion of their own.
    assert request_of(early).pk == own.pk
    assert request_of(early).cause_id is None


def test_a_hold_does_not_stop_it_since_the_data_stays() -> None:
    user = person()
    place_hold(actor=SYSTEM, subject=about(user), reason="x", review_at=None, now=NOW)
    assert delete(user).state == "scheduled"


def test_what_blocks_is_told_and_nothing_changes() -> None:
    user = MembershipFactory(role="owner").user
    before = read_rows()
    with pytest.raises(Blocked) as refused:
        delete(user)
    assert [it.code for it in refused.value.blockers] == ["sole_owner"]
    assert read_rows() == before


def test_a_second_time_it_is_in_progress() -> None:
    user = person()
    delete(user)
    with pytest.raises(DeletionInProgress):
        delete(user)


def test_what_is_gone_is_not_found() -> None:
    user = person()
    subject = about(user)
    user.delete()
    with pytest.raises(SubjectNotFound):
        schedule_deletion(actor=SYSTEM, subject=subject, now=NOW)


def test_staff_need_the_right() -> None:
    staff, user = UserFactory(is_staff=True), person()
    actor = Actor(kind="user", id=staff.pk, channel="test", person_id=staff.pk)
    with pytest.raises(RightMissing):
        schedule_deletion(actor=actor, subject=about(user), now=NOW)
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    assert schedule_deletion(actor=actor, subject=about(user), now=NOW)
    User.objects.filter(pk=staff.pk).update(is_active=False)
    with pytest.raises(RightMissing):
        schedule_deletion(actor=actor, subject=about(person()), now=NOW)


def test_the_plan_that_was_looked_at_is_kept_without_a_name() -> None:
    user = person(username="alice-in-person")
    plan = make_plan(about(user))
    request = delete(user, plan_id=plan.id)
    assert request.plan_id == plan.id
    assert request.planned == plan.as_record()
    assert "alice-in-person" not in str(DeletionRequest.objects.values())


def test_another_plan_than_the_one_of_now_is_refused() -> None:
    user = person()
    plan = make_plan(about(user))
    give_key(user)
    before = read_rows()
    with pytest.raises(PlanDrifted):
        delete(user, plan_id=plan.id)
    assert read_rows() == before


def test_one_that_joins_between_the_locks_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A managed user who is provisioned between the look and the organization's lock."""
    organization = organization_with(1)
    real = deleting.lock_all

    def lock_all(subjects: object) -> object:
        locked = real(subjects)
        ManagedUserFactory(organization=organization, user=person())
        return locked

    monkeypatch.setattr(deleting, "lock_all", lock_all)
    with pytest.raises(DeletionInProgress):
        delete(organization)
    organization.refresh_from_db()
    assert not organization.is_deleted


def test_the_grace_period_is_a_setting(settings: object) -> None:
    settings.GRACE_PERIOD = timedelta(days=3)  # type: ignore[attr-defined]
    assert delete(person()).due_at == NOW + timedelta(days=3)


def test_a_deletion_that_was_taken_back_can_be_asked_for_again() -> None:
    user = person()
    delete(user)
    requests.cancel(subject=about(user), now=NOW)
    User.objects.update(is_deleted=False, is_active=True)
    assert delete(user).generation == 2
