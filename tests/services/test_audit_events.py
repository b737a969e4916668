import pytest
from django.utils import timezone

from audit.actors import Actor, Origin
from audit.events import Reference, record
from audit.forgetting import redact_person
from audit.models import AuditEvent, EventDetail
from audit.querysets import AppendOnlyError
from tests.bystanders import charlie_untouched
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def test_events_are_neither_changed_nor_deleted() -> None:
    alice = UserFactory()
    record("test", actor=Actor.system("test"), subject=Reference("user", alice.pk), now=NOW)
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.all().delete()
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.update(action="another")
    with pytest.raises(AppendOnlyError):
        AuditEvent.objects.filter(action="test").update(action="another")
    assert AuditEvent.objects.get().action == "test"


def test_what_is_personal_lies_beside_the_event_and_can_be_erased() -> None:
    with charlie_untouched():
        alice = UserFactory()
        actor = Actor(
            kind="user",
            id=alice.pk,
            channel="test",
            person_id=alice.pk,
            origin=Origin(address="192.0.2.1", user_agent=""),
        )
        subject = Reference("user", alice.pk)
        record("test", actor=actor, subject=subject, now=NOW, keep_details=True)
        record("test", actor=actor, subject=subject, now=NOW)
        kept = EventDetail.objects.filter(person_id=alice.pk).values_list("field", "value")
        assert list(kept) == [("address", "192.0.2.1")]
        assert "192.0.2.1" not in str(list(AuditEvent.objects.values()))
        assert redact_person(alice.pk) == 1
        assert redact_person(alice.pk) == 0
    assert AuditEvent.objects.filter(subject_id=alice.pk).count() == 2


def test_an_actor_says_who_it_is() -> None:
    assert str(Actor.system("purge")) == "system"
    alice = UserFactory()
    assert str(Actor(kind="user", id=alice.pk, channel="x")) == f"user:{alice.pk}"
