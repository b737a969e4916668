"""Nobody is billed in the grace period, and whoever comes back pays as before."""

import time
from typing import Any

import pytest
from django.utils import timezone

from erasure.deleting import restore, schedule_deletion
from erasure.executor import erase_now
from organizations.billing.carrying import claim_next, confirm
from organizations.billing.models import BillingOrder, Subscription
from organizations.billing.wishes import BEFORE, MARK, Outcome
from organizations.models import Organization
from tests.billing.fakestripe import FakeStripe, Fault
from tests.billing.subscribers import (
    SYSTEM,
    about,
    name_of,
    order_of,
    orders_of,
    settle,
    subscribed,
)
from tests.bystanders import charlie_untouched

pytestmark = pytest.mark.django_db


def delete(organization: Organization) -> None:
    schedule_deletion(actor=SYSTEM, subject=about(organization), now=timezone.now())


def bring_back(organization: Organization) -> None:
    restore(actor=SYSTEM, subject=about(organization), now=timezone.now())


def test_collection_is_paused_at_once_and_resumed_by_a_restore(stripe: FakeStripe) -> None:
    with charlie_untouched():
        organization = subscribed(stripe)
        there = stripe.objects[name_of(organization)]
        delete(organization)
        settle()
        assert there["pause_collection"] == {"behavior": "void", "resumes_at": None}
        assert there["status"] == "active"
        bring_back(organization)
        settle()
    assert there["pause_collection"] is None
    assert there["metadata"] == {}
    assert orders_of(organization) == [("pause", "confirmed"), ("resume", "confirmed")]


def test_deleted_and_back_before_stripe_heard_of_it_nothing_happens_there(
    stripe: FakeStripe,
) -> None:
    organization = subscribed(stripe)
    delete(organization)
    bring_back(organization)
    settle()
    assert order_of(organization).outcome == "was not paused by us"
    assert not stripe.writes()


@pytest.mark.parametrize("resumes_in", [None, 3600])
def test_a_pause_of_their_own_comes_back(stripe: FakeStripe, resumes_in: int | None) -> None:
    """One that would end within the grace period must not end there, either."""
    organization = subscribed(stripe)
    there = stripe.objects[name_of(organization)]
    ends = int(time.time()) + resumes_in if resumes_in else None
    own = {"behavior": "keep_as_draft", "resumes_at": ends}
    there["pause_collection"] = dict(own)
    delete(organization)
    settle()
    assert there["pause_collection"] == {"behavior": "void", "resumes_at": None}
    bring_back(organization)
    settle()
    assert there["pause_collection"] == own
    assert order_of(organization).outcome == "paused as before"


def test_one_whose_own_pause_would_be_over_is_resumed(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    there = stripe.objects[name_of(organization)]
    there["pause_collection"] = {"behavior": "void", "resumes_at": int(time.time()) - 10}
    delete(organization)
    settle()
    bring_back(organization)
    settle()
    assert there["pause_collection"] is None


def test_a_pause_that_was_ended_by_hand_stays_ended(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    there = stripe.objects[name_of(organization)]
    there["pause_collection"] = {"behavior": "keep_as_draft", "resumes_at": None}
    delete(organization)
    settle()
    there["pause_collection"] = None
    bring_back(organization)
    settle()
    assert there["pause_collection"] is None
    assert not there["metadata"].keys() & {MARK, BEFORE}


FAULTS = {
    "answer lost": Fault("POST", resets=True, after_effect=True),
    "409": Fault("POST", 409, error={"type": "invalid_request_error", "code": "lock_timeout"}),
    "reset": Fault("POST", resets=True),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_pause_is_in_effect_once(stripe: FakeStripe, fault: Fault) -> None:
    organization = subscribed(stripe)
    name = name_of(organization)
    delete(organization)
    stripe.faults.append(fault)
    assert settle().failed == 1
    assert settle(minutes=1).confirmed == 1
    assert stripe.changes == {name: 1}
    assert {call.key for call in stripe.writes()} == {order_of(organization).idempotency_key}


def test_a_failure_that_stripe_would_repeat_gets_a_new_key(stripe: FakeStripe) -> None:
    """Stripe answers the same key alike for a day, a failure of its own included."""
    organization = subscribed(stripe)
    name = name_of(organization)
    delete(organization)
    first = order_of(organization).idempotency_key
    stripe.faults.append(Fault("POST", 500))
    assert settle().failed == 1
    assert order_of(organization).idempotency_key == first
    assert settle(minutes=1).failed == 1
    assert order_of(organization).idempotency_key not in ("", first)
    assert settle(minutes=5).confirmed == 1
    assert stripe.changes == {name: 1}


def test_other_words_under_the_same_key_get_a_new_one(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    there = stripe.objects[name_of(organization)]
    delete(organization)
    stripe.faults.append(Fault("POST", 500))
    settle()
    there["pause_collection"] = {"behavior": "keep_as_draft", "resumes_at": None}
    assert settle(minutes=1).failed == 1
    assert order_of(organization).last_error == "Stripe knows the order under other words"
    assert settle(minutes=5).confirmed == 1
    assert there["pause_collection"]["behavior"] == "void"


def test_an_order_waits_for_an_earlier_one_that_is_on_its_way(stripe: FakeStripe) -> None:
    """A pause that arrives late must not undo the resume that came after it."""
    organization = subscribed(stripe)
    delete(organization)
    on_its_way = claim_next(now=timezone.now())
    assert on_its_way is not None
    bring_back(organization)
    assert claim_next(now=timezone.now()) is None
    assert not confirm(on_its_way, Outcome("paused", "active"), now=timezone.now())
    later = claim_next(now=timezone.now())
    assert later is not None
    assert later.kind == "resume"
    assert orders_of(organization) == [("pause", "superseded"), ("resume", "open")]


def test_one_whose_worker_died_lets_the_next_one_pass_when_its_lease_lapses(
    stripe: FakeStripe,
) -> None:
    organization = subscribed(stripe)
    name = name_of(organization)
    delete(organization)
    assert claim_next(now=timezone.now()) is not None
    erase_now(actor=SYSTEM, subject=about(organization), now=timezone.now())
    assert settle().confirmed == 0
    assert settle(minutes=6).confirmed == 1
    assert stripe.cancels == {name: 1}


def test_a_paused_one_is_cancelled_when_the_grace_is_over(stripe: FakeStripe) -> None:
    with charlie_untouched():
        organization = subscribed(stripe)
        name = name_of(organization)
        delete(organization)
        settle()
        erase_now(actor=SYSTEM, subject=about(organization), now=timezone.now())
        settle()
    assert stripe.objects[name]["status"] == "canceled"
    assert orders_of(organization) == [("pause", "confirmed"), ("cancel", "confirmed")]


def test_what_has_ended_needs_no_pause(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    stripe.objects[name_of(organization)]["status"] = "canceled"
    delete(organization)
    settle()
    assert order_of(organization).outcome == "had ended already"
    bring_back(organization)
    settle()
    assert order_of(organization).outcome == "had ended already"
    assert Subscription.objects.get(organization_id=organization.pk).status == "canceled"


def test_stripes_word_is_written_down(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    stripe.objects[name_of(organization)]["status"] = "past_due"
    before: Any = timezone.now()
    delete(organization)
    settle()
    known = Subscription.objects.get(organization_id=organization.pk)
    assert known.status == "past_due"
    assert known.told_at > before
    assert BillingOrder.objects.get().outcome == "paused"
