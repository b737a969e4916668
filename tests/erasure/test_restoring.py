"""The way back: what a deletion took comes back, of users and organizations alike, and no more."""

from datetime import timedelta

import pytest
from django.conf import settings

from accounts.exceptions import NameTaken
from accounts.models import User
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.models import AuditEvent
from erasure.deleting import restore, schedule_deletion
from erasure.exceptions import GraceExpired, NotRestorable, RightMissing, SubjectNotFound
from erasure.models import DeletionRequest
from organizations.exceptions import SlugTaken
from organizations.models import ManagedUser, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.erasure.leaving import NOW, SYSTEM, about, person, request_of
from tests.erasure.test_deleting import organization_with
from tests.factories import ManagedUserFactory, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

LAST = NOW + settings.GRACE_PERIOD - timedelta(microseconds=1)


def delete(row: User | Organization) -> DeletionRequest:
    return schedule_deletion(actor=SYSTEM, subject=about(row), now=NOW)


def bring_back(row: User | Organization, **options: object) -> DeletionRequest:
    arguments: dict[str, object] = {"actor": SYSTEM, "now": LAST, **options}
    return restore(subject=about(row), **arguments)  # type: ignore[arg-type]


def test_users_and_organizations_come_back_alike_and_credentials_do_not() -> None:
    with charlie_untouched():
        rows = (person(), organization_with(0))
        for row in rows:
            delete(row)
            bring_back(row, reference="CASE-2")
    for row in rows:
        row.refresh_from_db()
        assert (row.is_deleted, row.is_active, row.deleted_at) == (False, True, None)
        request = request_of(row)
        assert (request.state, request.finished_at) == ("cancelled", LAST)
        event = AuditEvent.objects.get(subject_id=row.pk, action__endswith=".restored")
        assert event.facts == {"deletion": str(request.pk), "reference": "CASE-2"}
    # Charlie's keys are the only ones that live.
    assert not ApiKey.objects.filter(revoked_at=None, user=rows[0]).exists()
    assert not ApiKey.objects.filter(revoked_at=None, organization=rows[1]).exists()


def test_with_an_organization_come_back_those_whom_it_took_along_and_no_others() -> None:
    organization = organization_with(2)
    left = person()
    ManagedUserFactory(organization=organization, user=left)
    delete(left)
    locked = ManagedUser.objects.filter(organization=organization).exclude(user=left)[0].user
    User.objects.filter(pk=locked.pk).update(is_active=False)
    delete(organization)
    bring_back(organization)
    states = {
        row.user_id: (row.user.is_deleted, row.user.is_active)
        for row in ManagedUser.objects.filter(organization=organization)
    }
    assert states.pop(left.pk) == (True, False)
    assert states.pop(locked.pk) == (False, False), "locked before, and stays so"
    assert set(states.values()) == {(False, True)}
    assert request_of(left).state == "scheduled"


def test_a_link_undoes_its_own_deletion_and_no_later_one() -> None:
    user = person()
    first = delete(user)
    bring_back(user)
    second = delete(user)
    stranger = Actor(kind="user", id=user.pk, channel="link", person_id=user.pk)
    with pytest.raises(RightMissing):
        bring_back(user, actor=stranger)
    with pytest.raises(NotRestorable):
        bring_back(user, actor=stranger, by_link=True, deletion_id=first.pk)
    assert request_of(user).state == "scheduled"
    bring_back(user, actor=stranger, by_link=True, deletion_id=second.pk)
    assert request_of(user).state == "cancelled"


def test_until_the_last_moment_and_not_a_moment_longer() -> None:
    user = person()
    delete(user)
    with pytest.raises(GraceExpired):
        bring_back(user, now=LAST + timedelta(microseconds=1))
    bring_back(user)


@pytest.mark.parametrize("state", ["running", "failed", "completed", "cancelled"])
def test_only_from_scheduled(state: str) -> None:
    user = person()
    delete(user)
    DeletionRequest.objects.update(state=state)
    before = read_rows()
    with pytest.raises(NotRestorable):
        bring_back(user)
    assert read_rows() == before


def test_a_slug_that_somebody_has_taken_is_a_conflict_and_nothing_changes() -> None:
    organization = organization_with(1)
    delete(organization)
    OrganizationFactory(slug=organization.slug)
    before = read_rows()
    with pytest.raises(SlugTaken):
        bring_back(organization)
    assert read_rows() == before


def test_a_companions_taken_name_keeps_all_of_them_away() -> None:
    organization = organization_with(1)
    managed = ManagedUser.objects.get(organization=organization).user
    delete(organization)
    UserFactory(username=managed.username)
    before = read_rows()
    with pytest.raises(NameTaken):
        bring_back(organization)
    assert read_rows() == before


def test_what_is_erased_is_not_found() -> None:
    user = person()
    delete(user)
    User.objects.filter(pk=user.pk).delete()
    with pytest.raises(SubjectNotFound):
        bring_back(user)
