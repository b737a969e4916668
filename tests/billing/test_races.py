"""Two workers at once ask Stripe once; with the guard removed they ask twice."""

from threading import Barrier, Thread, get_ident
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from organizations.billing import carrying
from organizations.billing.carrying import carry_out_due
from organizations.billing.models import BillingOrder
from organizations.billing.orders import order_cancel
from tests.billing.fakestripe import FakeStripe
from tests.billing.subscribers import SYSTEM, name_of, subscribed
from tests.bystanders import charlie_untouched

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 4


def race(stripe: FakeStripe) -> int:
    """Have two workers carry out what is due at the same moment; return how often Stripe was asked
    to cancel."""
    before = len(stripe.writes())
    start, stripe.meeting = Barrier(2), Barrier(2)
    raised: list[Exception] = []

    def work() -> None:
        try:
            connection.ensure_connection()
            start.wait(60)
            carry_out_due(clock=timezone.now)
        except Exception as error:  # noqa: BLE001 - handed to the test
            raised.append(error)
        finally:
            connection.close()

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stripe.meeting = None
    assert not raised
    return len(stripe.writes()) - before


def test_two_workers_ask_once(stripe: FakeStripe) -> None:
    with charlie_untouched():
        for _ in range(ROUNDS):
            organization = subscribed(stripe)
            name = name_of(organization)
            order_cancel([organization.pk], actor=SYSTEM, now=timezone.now())
            assert race(stripe) == 1
            assert stripe.cancels[name] == 1
    assert not BillingOrder.objects.open().exists()


def test_without_the_guard_they_ask_twice(
    stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The positive control: an order is taken by whoever saw it."""
    seen, been = Barrier(2), set[int]()

    def claim(*, now: Any) -> BillingOrder | None:
        if get_ident() in been:
            return None
        been.add(get_ident())
        order: BillingOrder | None = BillingOrder.objects.open().first()
        seen.wait(60)
        return order

    monkeypatch.setattr(carrying, "claim_next", claim)
    monkeypatch.setattr(carrying, "_is_mine", lambda *args: True)
    organization = subscribed(stripe)
    order_cancel([organization.pk], actor=SYSTEM, now=timezone.now())
    stripe.patience = 60
    assert race(stripe) == 2
