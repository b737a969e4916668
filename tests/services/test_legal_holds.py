from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure.exceptions import RightMissing, SubjectNotFound
from erasure.holds import place_hold, release_hold
from erasure.models import LegalHold
from erasure.purging import purge_due
from tests.bystanders import charlie_untouched
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

STAFF = Actor.system("test")
NOW = timezone.now()
LATER = NOW + settings.GRACE_PERIOD + timedelta(seconds=1)


def test_a_hold_keeps_what_is_due_and_its_release_makes_it_due_again() -> None:
    with charlie_untouched():
        alice = UserFactory()
        actor = Actor(kind="user", id=alice.pk, channel="v1-user", person_id=alice.pk)
        soft_delete_own_account(actor=actor, user_id=alice.pk, now=NOW)
        subject = Reference("user", alice.pk)
        hold = place_hold(actor=STAFF, subject=subject, reason="case", review_at=None, now=NOW)
        report = purge_due(actor=STAFF, clock=lambda: LATER)
        assert not report.erased
        assert User.objects.filter(pk=alice.pk).exists()
        assert release_hold(actor=STAFF, hold_id=hold, now=LATER)
        assert not release_hold(actor=STAFF, hold_id=hold, now=LATER)
        erased: list[Reference] = []
        purge_due(
            actor=STAFF,
            clock=lambda: LATER,
            on_progress=lambda done, _: erased.extend(it.subject for it in done),
        )
        assert erased == [subject]
    assert not User.objects.filter(pk=alice.pk).exists()
    actions = AuditEvent.objects.filter(subject_id=alice.pk).order_by("id")
    assert list(actions.values_list("action", flat=True)) == [
        "user.deleted",
        "hold.placed",
        "hold.released",
        "user.erased",
    ]


def test_what_is_gone_cannot_be_held() -> None:
    alice = UserFactory()
    subject = Reference("user", alice.pk)
    alice.delete()
    with pytest.raises(SubjectNotFound):
        place_hold(actor=STAFF, subject=subject, reason="case", review_at=None, now=NOW)


def test_the_right_to_hold_is_checked_by_the_service_itself() -> None:
    alice = UserFactory()
    subject = Reference("user", alice.pk)
    hold = place_hold(actor=STAFF, subject=subject, reason="case", review_at=None, now=NOW)
    for someone in (UserFactory(), UserFactory(is_staff=True)):
        actor = Actor(kind="user", id=someone.pk, channel="admin", person_id=someone.pk)
        with pytest.raises(RightMissing, match="add_legalhold"):
            place_hold(actor=actor, subject=subject, reason="x", review_at=None, now=NOW)
        with pytest.raises(RightMissing, match="change_legalhold"):
            release_hold(actor=actor, hold_id=hold, now=NOW)
    assert LegalHold.objects.active().count() == 1
    boss = UserFactory(is_staff=True, is_superuser=True)
    assert release_hold(
        actor=Actor(kind="user", id=boss.pk, channel="admin", person_id=boss.pk),
        hold_id=hold,
        now=NOW,
    )
