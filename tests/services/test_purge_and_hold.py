"""A hold that arrives between a purge's claim and its work."""

from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import User
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import EventDetail
from erasure import requests
from erasure.alone import Budget, erase_claimed
from erasure.exceptions import UnderLegalHold
from erasure.holds import release_hold
from erasure.models import DeletionRequest, LegalHold
from erasure.purging import purge_due
from tests.bystanders import charlie_untouched
from tests.contracts.transcript import place_hold
from tests.erasure.leaving import clock, due_person, gone, make_due, person
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()
LATER = NOW + settings.GRACE_PERIOD + timedelta(seconds=1)
SYSTEM = Actor.system("test")


def claim(user: User, now: datetime) -> DeletionRequest | None:
    return requests.claim(DeletionRequest.objects.get(subject_id=user.pk).pk, now=now)


def test_the_hold_wins_and_the_claim_is_given_back() -> None:
    with charlie_untouched():
        alice = UserFactory()
        actor = Actor(kind="user", id=alice.pk, channel="v1-user", person_id=alice.pk)
        soft_delete_own_account(actor=actor, user_id=alice.pk, now=NOW)
        claimed = claim(alice, LATER)
        assert claimed
        place_hold("user", alice.pk)
        with pytest.raises(UnderLegalHold):
            erase_claimed(claimed, actor=SYSTEM, clock=lambda: LATER, budget=Budget())
        requests.release(claimed)
    assert User.objects.filter(pk=alice.pk).exists()
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert (request.state, request.lease_token) == ("scheduled", None)


@pytest.mark.parametrize("is_held", [True, False])
def test_a_request_that_calls_a_user_an_organization_takes_nothing_of_theirs(is_held: bool) -> None:
    with charlie_untouched():
        alice, bob = person(), due_person()
        if is_held:
            place_hold("user", alice.pk)
        request = make_due(alice)
        DeletionRequest.objects.filter(pk=request.pk).update(subject_kind="organization")
        report = purge_due(actor=SYSTEM, clock=clock)
    assert (report.erased, report.held, gone(bob), gone(alice)) == (1, 0, True, False)
    assert EventDetail.objects.filter(person_id=alice.pk).count() == 2
    request.refresh_from_db()
    assert request.state == ("scheduled" if is_held else "failed")
    assert ("StillAlive" in request.last_error) is not is_held


@pytest.mark.parametrize("kind", ["organization", "nonsense"])
def test_a_hold_that_calls_a_user_something_else_is_seen_and_can_be_released(kind: str) -> None:
    bob, now = due_person(), timezone.now()
    hold = LegalHold.objects.create(subject_kind=kind, subject_id=bob.pk, placed_at=now)
    assert purge_due(actor=SYSTEM, clock=clock).erased == 0
    assert LegalHold.objects.on(Reference("user", bob.pk)).get() == hold
    assert release_hold(actor=SYSTEM, hold_id=hold.pk, now=now)
    assert (purge_due(actor=SYSTEM, clock=clock).erased, gone(bob)) == (1, True)


def test_a_request_of_a_kind_that_nobody_registered_keeps_nobody_waiting() -> None:
    alice, bob = person(), due_person()
    request = make_due(alice)
    DeletionRequest.objects.filter(pk=request.pk).update(subject_kind="nonsense")
    report = purge_due(actor=SYSTEM, clock=clock)
    assert (report.erased, report.failed, gone(bob), gone(alice)) == (1, {}, True, False)
    request.refresh_from_db()
    assert request.state == "scheduled"


def test_a_claim_is_taken_once() -> None:
    alice = UserFactory()
    actor = Actor(kind="user", id=alice.pk, channel="v1-user", person_id=alice.pk)
    soft_delete_own_account(actor=actor, user_id=alice.pk, now=NOW)
    assert claim(alice, LATER)
    assert claim(alice, LATER) is None
    assert claim(alice, LATER + requests.LEASE)
    assert DeletionRequest.objects.get(subject_id=alice.pk).attempts == 2
