from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.exceptions import NameTaken
from accounts.models import Session, User
from accounts.services import restore_user, soft_delete_own_account
from apikeys.models import ApiKey
from apikeys.verification import verify_key
from audit.actors import Actor
from audit.models import AuditEvent
from erasure.exceptions import GraceExpired, NotRestorable, SubjectNotFound
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched
from tests.contracts.transcript import place_hold
from tests.factories import MembershipFactory, SessionFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db

STAFF = Actor.system("test")
NOW = timezone.now()


def delete(user: User) -> None:
    actor = Actor(kind="user", id=user.pk, channel="v1-user", person_id=user.pk)
    soft_delete_own_account(actor=actor, user_id=user.pk, now=NOW)


def test_the_account_comes_back_as_it_was_and_its_credentials_do_not() -> None:
    with charlie_untouched():
        alice = UserFactory(name="Alice")
        key = give_key(alice)
        SessionFactory(user=alice)
        membership = MembershipFactory(user=alice, role="admin")
        delete(alice)
        restore_user(actor=STAFF, user_id=alice.pk, now=NOW, reference="CASE-7")
    alice.refresh_from_db()
    assert (alice.is_deleted, alice.is_active, alice.deleted_at) == (False, True, None)
    membership.refresh_from_db()
    assert membership.role == "admin"
    assert verify_key(key, now=NOW) is None
    assert ApiKey.objects.filter(user=alice, revoked_at=None).count() == 0
    assert not Session.objects.filter(user=alice).exists()
    assert DeletionRequest.objects.get(subject_id=alice.pk).state == "cancelled"
    event = AuditEvent.objects.get(action="user.restored", subject_id=alice.pk)
    deletion = DeletionRequest.objects.get(subject_id=alice.pk)
    assert event.facts == {"deletion": str(deletion.pk), "reference": "CASE-7"}


def test_until_the_last_second_of_the_grace_period() -> None:
    alice = UserFactory()
    delete(alice)
    end = NOW + settings.GRACE_PERIOD
    with pytest.raises(GraceExpired):
        restore_user(actor=STAFF, user_id=alice.pk, now=end)
    restore_user(actor=STAFF, user_id=alice.pk, now=end - timedelta(microseconds=1))
    alice.refresh_from_db()
    assert not alice.is_deleted


def test_a_legal_hold_does_not_stop_a_restore() -> None:
    alice = UserFactory()
    delete(alice)
    place_hold("user", alice.pk)
    restore_user(actor=STAFF, user_id=alice.pk, now=NOW)


@pytest.mark.parametrize("field", ["username", "email"])
def test_a_taken_name_is_a_clear_conflict_and_nothing_changes(field: str) -> None:
    alice = UserFactory(username="alice", email="alice@example.com")
    delete(alice)
    value = {"username": "alice", "email": "ALICE@example.com"}[field]
    UserFactory(**{field: value})
    with pytest.raises(NameTaken) as refused:
        restore_user(actor=STAFF, user_id=alice.pk, now=NOW)
    assert refused.value.field == field
    alice.refresh_from_db()
    assert alice.is_deleted
    assert DeletionRequest.objects.get(subject_id=alice.pk).state == "scheduled"


def test_what_is_not_deleted_cannot_be_restored() -> None:
    alice = UserFactory()
    with pytest.raises(NotRestorable):
        restore_user(actor=STAFF, user_id=alice.pk, now=NOW)


def test_a_claimed_erasure_wins_over_a_restore() -> None:
    alice = UserFactory()
    delete(alice)
    DeletionRequest.objects.update(state="running")
    with pytest.raises(NotRestorable):
        restore_user(actor=STAFF, user_id=alice.pk, now=NOW)


def test_an_erased_account_is_gone() -> None:
    alice = UserFactory()
    pk = alice.pk
    alice.delete()
    with pytest.raises(SubjectNotFound):
        restore_user(actor=STAFF, user_id=pk, now=NOW)


def test_delete_restore_delete_counts_generations() -> None:
    alice = UserFactory()
    delete(alice)
    restore_user(actor=STAFF, user_id=alice.pk, now=NOW)
    delete(alice)
    requests = DeletionRequest.objects.filter(subject_id=alice.pk).order_by("generation")
    assert [(r.generation, r.state) for r in requests] == [(1, "cancelled"), (2, "scheduled")]


def test_an_account_that_staff_had_deactivated_comes_back_deactivated() -> None:
    alice = UserFactory()
    delete(alice)
    DeletionRequest.objects.update(before={"is_active": False})
    restore_user(actor=STAFF, user_id=alice.pk, now=NOW)
    alice.refresh_from_db()
    assert (alice.is_deleted, alice.is_active) == (False, False)
