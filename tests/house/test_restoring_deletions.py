"""Staff take a deletion back within its grace period."""

from typing import Any

import pytest

from accounts.models import User
from apikeys import scopes
from audit.models import AuditEvent
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.bystanders import charlie_untouched
from tests.factories import (
    UserFactory,
    give_key,
)
from tests.house.asking import (
    deletion_of,
    make_due,
    owned_by,
    refused,
)
from tests.house.deleting import delete, erase, fresh, restore, restorer

pytestmark = pytest.mark.django_db


def test_staff_restore_with_the_case_in_the_log() -> None:
    with charlie_untouched():
        alice = UserFactory()
        delete(alice, give_key(alice))
        row = deletion_of(alice)
        response = restore(row, give_key(restorer()), {"reference": "Case 4711"})
    assert response.status_code == 200
    assert response.json()["state"] == "cancelled"
    assert not fresh(User, alice).is_deleted
    event = AuditEvent.objects.get(action="user.restored")
    assert event.facts["reference"] == "Case 4711"
    again = restore(row, give_key(restorer()))
    assert refused(again) == (409, "NOT_RESTORABLE")


def test_what_is_erased_is_not_restored() -> None:
    alice = UserFactory()
    delete(alice, give_key(alice))
    erase(alice)
    response = restore(deletion_of(alice), give_key(restorer()))
    assert refused(response) == (409, "NOT_RESTORABLE")
    unknown = DeletionRequest(subject_kind="user", subject_id=alice.pk)
    assert refused(restore(unknown, give_key(restorer()))) == (404, "DELETION_NOT_FOUND")


def test_a_restore_after_the_grace_period_is_refused() -> None:
    alice = UserFactory()
    delete(alice, give_key(alice))
    make_due(alice)
    response = restore(deletion_of(alice), give_key(restorer()))
    assert refused(response) == (409, "GRACE_EXPIRED")
    assert fresh(User, alice).is_deleted


def test_who_was_taken_along_is_not_restored_alone() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    body = {"organizations": {str(organization.pk): "delete"}}
    delete(alice, give_key(alice), body)
    response = restore(deletion_of(organization), give_key(restorer()))
    assert refused(response) == (409, "TAKEN_ALONG")
    assert fresh(Organization, organization).is_deleted


def test_a_restore_into_a_taken_name_is_refused() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice", email="alice@example.com")
        delete(alice, give_key(alice))
        UserFactory(username="alice", email="other@example.com")
        response = restore(deletion_of(alice), give_key(restorer()))
        assert refused(response) == (409, "NAME_TAKEN")
    assert fresh(User, alice).is_deleted


def test_restoring_takes_the_scope_and_the_permission() -> None:
    alice = UserFactory()
    key = give_key(alice)
    delete(alice, key)
    row = deletion_of(alice)
    staff = restorer()
    most = sorted(scopes.STAFF - {scopes.DELETIONS_RESTORE})
    assert refused(restore(row, give_key(staff, *most))) == (403, "INSUFFICIENT_PERMISSIONS")
    powerless = UserFactory(is_staff=True)
    assert refused(restore(row, give_key(powerless)))[0] == 403
    assert fresh(User, alice).is_deleted


@pytest.mark.parametrize("body", [{"reference": ""}, {"reference": 5}, {"reason": "x"}])
def test_a_fault_in_a_restores_body_is_named(body: Any) -> None:
    alice = UserFactory()
    delete(alice, give_key(alice))
    response = restore(deletion_of(alice), give_key(restorer()), body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert fresh(User, alice).is_deleted
