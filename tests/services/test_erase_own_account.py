import pytest
from django.utils import timezone

from accounts.models import User
from accounts.services import erase_own_account
from audit.actors import Actor
from audit.models import AuditEvent
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched
from tests.factories import (
    InvitationFactory,
    MembershipFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db


def test_everything_of_the_user_goes_and_nothing_of_anybody_else() -> None:
    with charlie_untouched():
        alice = UserFactory()
        give_key(alice)
        SessionFactory(user=alice)
        MembershipFactory(user=alice)
        InvitationFactory(email=alice.email.upper())
        done = erase_own_account(
            actor=Actor(kind="user", id=alice.pk, channel="test", person_id=alice.pk),
            now=timezone.now(),
        )
    assert not User.objects.filter(pk=alice.pk).exists()
    assert done.counts == {
        "accounts.User": 1,
        "accounts.Session": 1,
        "apikeys.ApiKey": 1,
        "organizations.Membership": 1,
        "organizations.Invitation": 1,
    }
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert request.state == "completed"
    assert request.counts == done.counts
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert event.action == "user.erased"
