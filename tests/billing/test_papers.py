"""The receipt says what was ordered at Stripe, and, once that is known, that it was done."""

import json
from typing import Any

import pytest
from django.utils import timezone

from erasure import alone, executor, locking, pacing, receipts, sets, working
from erasure.models import DeletionRequest
from organizations.billing.carrying import settle_by_hand
from tests.billing.fakestripe import FakeStripe
from tests.billing.subscribers import SYSTEM, name_of, order_of, settle, subscribed
from tests.billing.test_orders import by_staff, purge
from tests.bystanders import charlie_untouched
from tests.factories import InvitationFactory

pytestmark = pytest.mark.django_db


def told(organization_id: Any) -> list[str]:
    """Return what a genuine receipt says about who was told."""
    request = DeletionRequest.objects.get(subject_id=organization_id, state="completed")
    receipts.forbid_changed(request)
    lines: list[str] = json.loads(receipts.payload(request))["told"]
    return lines


@pytest.mark.parametrize("tear_down", [by_staff, purge])
def test_a_receipt_says_what_was_ordered_and_then_that_it_was_done(
    stripe: FakeStripe, tear_down: Any
) -> None:
    with charlie_untouched():
        organization = subscribed(stripe)
        name, pk = name_of(organization), organization.pk
        tear_down(organization)
        assert told(pk) == [f"Stripe: subscription {name} is ordered to end", "e-mail"]
        settle()
        assert told(pk) == [f"Stripe: subscription {name} ended: cancelled", "e-mail"]


def test_so_does_that_of_a_large_one(stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 5)
    organization = subscribed(stripe)
    InvitationFactory.create_batch(9, organization=organization)
    name, pk = name_of(organization), organization.pk
    by_staff(organization)
    assert f"Stripe: subscription {name} is ordered to end" in told(pk)


def test_what_was_done_before_the_last_row_went_is_said_at_once(
    stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large organization is still on its way out when Stripe confirms."""
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 5)
    organization = subscribed(stripe)
    InvitationFactory.create_batch(9, organization=organization)
    name, pk = name_of(organization), organization.pk
    real = working.erase_stepwise

    def settle_first(*args: Any, **options: Any) -> Any:
        settle()
        return real(*args, **options)

    monkeypatch.setattr(executor, "erase_stepwise", settle_first)
    by_staff(organization)
    assert f"Stripe: subscription {name} ended: cancelled" in told(pk)


def test_a_row_that_somebody_changed_is_not_made_to_look_genuine(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    by_staff(organization)
    rows = DeletionRequest.objects.filter(subject_id=organization.pk)
    rows.update(counts={"accounts.User": 9})
    before = rows.get().signature
    settle()
    assert order_of(organization).state == "confirmed"
    assert rows.get().signature == before


def test_what_staff_saw_to_by_hand_is_said_as_such(stripe: FakeStripe) -> None:
    organization = subscribed(stripe)
    name, pk = name_of(organization), organization.pk
    by_staff(organization)
    order = order_of(organization)
    with charlie_untouched():
        arguments: Any = {"actor": SYSTEM, "order_id": order.pk, "reference": "CASE-7"}
        assert settle_by_hand(now=timezone.now(), **arguments)
        assert not settle_by_hand(now=timezone.now(), **arguments)
    assert f"Stripe: subscription {name} ended: settled by hand" in told(pk)
    assert settle().confirmed == 0
    assert not stripe.calls
