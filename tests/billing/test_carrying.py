"""Orders are carried out at a Stripe that answers, fails, is late or loses its answer: tried until
confirmed, and in effect once."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from uuid_utils.compat import uuid7

from audit.models import AuditEvent
from erasure.executor import erase_now
from erasure.models import DeletionRequest
from organizations.billing import carrying, wishes
from organizations.billing.carrying import carry_out_due, claim_next, confirm
from organizations.billing.models import BillingOrder
from organizations.billing.tasks import settle_orders
from organizations.billing.wishes import Outcome
from organizations.models import Organization
from tests.billing.fakestripe import FakeStripe, Fault
from tests.billing.subscribers import (
    SYSTEM,
    about,
    name_of,
    order_of,
    settle,
    subscribed,
)
from tests.bystanders import charlie_untouched

pytestmark = pytest.mark.django_db


def torn_down(stripe: FakeStripe) -> tuple[Organization, str]:
    """Create and erase an organization; return it and its subscription's id."""
    organization = subscribed(stripe)
    name = name_of(organization)
    erase_now(actor=SYSTEM, subject=about(organization), now=timezone.now())
    return organization, name


def state(organization: Organization) -> tuple[str, int, str]:
    order = order_of(organization)
    return order.state, order.attempts, order.last_error


def test_a_subscription_is_cancelled_and_customer_and_invoices_stay(stripe: FakeStripe) -> None:
    with charlie_untouched():
        neighbour = name_of(subscribed(stripe))
        beside = dict(stripe.objects[neighbour])
        organization, name = torn_down(stripe)
        invoices = stripe.invoices_of(name)
        assert settle().confirmed == 1
    assert stripe.objects[name]["status"] == "canceled"
    assert stripe.objects[order_of(organization).customer]["object"] == "customer"
    assert stripe.invoices_of(name) == invoices != []
    assert stripe.objects[neighbour] == beside
    order = order_of(organization)
    assert (order.state, order.outcome, order.attempts) == ("confirmed", "cancelled", 1)
    assert order.finished_at is not None
    assert (order.lease_token, order.lease_until, order.retry_at) == (None, None, None)
    event = AuditEvent.objects.get(action="subscription.cancelled")
    assert event.subject_id == organization.pk
    assert event.facts == {"order": str(order.pk), "subscription": name, "outcome": "cancelled"}


def test_the_task_carries_it_out(stripe: FakeStripe) -> None:
    organization, name = torn_down(stripe)
    assert settle_orders.call() == {"confirmed": 1, "failed": 0}
    assert stripe.cancels == {name: 1}
    assert state(organization)[0] == "confirmed"


def test_one_that_is_cancelled_already_is_confirmed_without_a_call(stripe: FakeStripe) -> None:
    organization, name = torn_down(stripe)
    stripe.objects[name]["status"] = "canceled"
    assert settle().confirmed == 1
    assert order_of(organization).outcome == "had ended already"
    assert not stripe.writes()


def test_one_that_is_missing_from_the_account_is_confirmed(stripe: FakeStripe) -> None:
    organization, name = torn_down(stripe)
    del stripe.objects[name]
    assert settle().confirmed == 1
    assert order_of(organization).outcome == "missing at Stripe"


def test_an_account_that_knows_nothing_at_all_confirms_nothing(stripe: FakeStripe) -> None:
    """A key of another account would find no subscription either, and it would go on."""
    organization, _ = torn_down(stripe)
    stripe.objects.clear()
    assert settle().failed == 1
    assert state(organization) == (
        "open",
        1,
        "Neither subscription nor customer is known: is it the right account?",
    )


def test_what_waits_for_a_next_invoice_goes_and_what_is_invoiced_stays(stripe: FakeStripe) -> None:
    organization, name = torn_down(stripe)
    customer = order_of(organization).customer
    other = stripe.add_subscription(customer)
    pending = stripe.add_item(customer, subscription=name)
    nested = {"subscription_details": {"subscription": name}}
    deeper = stripe.add_item(customer, parent=nested)
    kept = [
        stripe.add_item(customer, subscription=name, invoice="in_1"),
        stripe.add_item(customer, subscription=other),
        stripe.add_item(customer),
    ]
    settle()
    assert not {pending, deeper} & stripe.objects.keys()
    assert set(kept) <= stripe.objects.keys()


FAULTS = {
    "500": Fault("DELETE", 500),
    "503 after its effect": Fault("DELETE", 503, after_effect=True),
    "429": Fault("DELETE", 429, error={"type": "invalid_request_error", "code": "rate_limit"}),
    "409": Fault("DELETE", 409, error={"type": "invalid_request_error", "code": "lock_timeout"}),
    "400": Fault("DELETE", 400, error={"type": "invalid_request_error"}),
    "reset": Fault("DELETE", resets=True),
    "answer lost": Fault("DELETE", resets=True, after_effect=True),
    "reset while it looks": Fault("GET", resets=True),
    "403": Fault("DELETE", 403),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_fails_is_tried_again_under_the_same_key(stripe: FakeStripe, fault: Fault) -> None:
    with charlie_untouched():
        organization, name = torn_down(stripe)
        stripe.faults.append(fault)
        assert settle().failed == 1
        order = order_of(organization)
        assert (order.state, order.attempts) == ("open", 1)
        assert order.last_error
        assert order.retry_at is not None
        # Not before its time.
        assert settle().confirmed == 0
        assert settle(minutes=1).confirmed == 1
    assert stripe.cancels == {name: 1}
    assert order_of(organization).state == "confirmed"
    assert {call.key for call in stripe.writes()} == {order.idempotency_key}


def test_a_late_answer_is_not_waited_for(stripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_TIMEOUT = 0.2
    organization, name = torn_down(stripe)
    stripe.faults.append(Fault("DELETE", hangs=True, after_effect=True))
    assert settle().failed == 1
    assert state(organization)[2].startswith("Stripe cannot be reached: ")
    settings.STRIPE_TIMEOUT = 60.0
    assert settle(minutes=1).confirmed == 1
    assert stripe.cancels == {name: 1}


def test_after_a_day_when_the_keys_are_forgotten_a_repetition_is_harmless(
    stripe: FakeStripe,
) -> None:
    organization, name = torn_down(stripe)
    stripe.faults.append(Fault("DELETE", resets=True, after_effect=True))
    settle()
    stripe.forget_keys()
    assert settle(days=2).confirmed == 1
    assert stripe.cancels == {name: 1}
    assert order_of(organization).outcome == "had ended already"


def test_each_further_try_waits_longer_an_hour_at_most(stripe: FakeStripe) -> None:
    organization, _ = torn_down(stripe)
    now, waits = timezone.now(), []
    for _ in range(10):
        stripe.faults.append(Fault("GET", 500))
        carry_out_due(clock=lambda now=now: now)  # type: ignore[misc]
        retry_at = order_of(organization).retry_at
        assert retry_at is not None
        waits.append((retry_at - now).total_seconds())
        now = retry_at
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_while_stripe_is_down_a_run_gives_up_early_and_later_all_is_made_up_for(
    stripe: FakeStripe,
) -> None:
    some = [torn_down(stripe) for _ in range(5)]
    stripe.faults += [Fault("GET", 500) for _ in range(9)]
    assert settle().failed == carrying.DOWN_AFTER
    assert sum(order_of(one).attempts for one, _ in some) == carrying.DOWN_AFTER
    stripe.faults.clear()
    assert settle(minutes=1).confirmed == 5
    assert stripe.cancels == {name: 1 for _, name in some}


def test_an_organization_goes_though_stripe_is_not_there(stripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    with charlie_untouched():
        organization, _ = torn_down(stripe)
    assert not Organization.objects.filter(pk=organization.pk).exists()
    assert DeletionRequest.objects.get(subject_id=organization.pk).state == "completed"
    assert not stripe.calls
    assert settle().failed == 1
    assert state(organization)[2].startswith("Stripe cannot be reached: ")


def test_without_a_key_nothing_is_tried_and_nothing_is_lost(
    stripe: FakeStripe, settings: Any
) -> None:
    organization, _ = torn_down(stripe)
    settings.STRIPE_API_KEY = ""
    assert settle() == carrying.Settled()
    assert state(organization) == ("open", 0, "")
    settings.STRIPE_API_KEY = "sk_test_fake"
    assert settle().confirmed == 1


def test_a_wrong_key_is_told_as_such(stripe: FakeStripe, settings: Any) -> None:
    organization, _ = torn_down(stripe)
    settings.STRIPE_API_KEY = "sk_test_other"
    assert settle().failed == 1
    assert state(organization)[2] == "Stripe does not accept the key (401)"


def test_of_two_workers_one_gets_an_order(stripe: FakeStripe) -> None:
    torn_down(stripe)
    now = timezone.now()
    assert claim_next(now=now) is not None
    assert claim_next(now=now) is None
    assert claim_next(now=now + carrying.LEASE) is not None


def test_a_worker_that_lost_its_lease_changes_nothing_more(stripe: FakeStripe) -> None:
    organization, name = torn_down(stripe)
    clock = iter([timezone.now(), timezone.now() + 2 * carrying.LEASE])
    calls = len(stripe.calls)

    def now() -> Any:
        return next(clock, timezone.now() + 3 * carrying.LEASE)

    ran = carry_out_due(clock=now, goes_on=lambda: False)
    assert (ran.confirmed, ran.failed) == (0, 0)
    assert [call.method for call in stripe.calls[calls:]] == ["GET"]
    assert settle(minutes=20).confirmed == 1
    assert stripe.cancels == {name: 1}
    assert state(organization)[0] == "confirmed"


def test_a_confirmation_under_a_lost_lease_is_not_written(stripe: FakeStripe) -> None:
    organization, _ = torn_down(stripe)
    order = claim_next(now=timezone.now())
    assert order is not None
    BillingOrder.objects.update(lease_token=uuid7())
    assert not confirm(order, Outcome("cancelled", "canceled"), now=timezone.now())
    assert state(organization)[0] == "open"


def test_what_nobody_foresaw_is_put_off_too(
    stripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    organization, _ = torn_down(stripe)
    other, _ = torn_down(stripe)
    real = wishes.bring_about

    def fail(order: BillingOrder, is_mine: Any) -> Outcome:
        if order.organization_id == organization.pk:
            raise ValueError("alice@example.com")
        return real(order, is_mine)

    monkeypatch.setattr(carrying, "bring_about", fail)
    ran = settle()
    assert (ran.confirmed, ran.failed) == (1, 1)
    # By its type only: a message may quote anything.
    assert state(organization)[2] == "ValueError"
    assert state(other)[0] == "confirmed"


def test_a_failed_run_asks_to_be_woken_when_the_next_try_is_due(stripe: FakeStripe) -> None:
    torn_down(stripe)
    DBTaskResult.objects.all().delete()
    stripe.faults.append(Fault("GET", 500))
    assert settle_orders.call() == {"confirmed": 0, "failed": 1}
    row = DBTaskResult.objects.get(task_path=settle_orders.module_path)
    assert timezone.now() < row.run_after <= timezone.now() + timedelta(seconds=30)


def test_a_sweep_wakes_whatever_is_due(stripe: FakeStripe) -> None:
    from erasure.clocks import sweep

    torn_down(stripe)
    DBTaskResult.objects.all().delete()
    now = timezone.now()
    assert sweep(now=now, execute=False).done["errands"]["billing orders"] == 1
    assert not DBTaskResult.objects.filter(task_path=settle_orders.module_path).exists()
    assert sweep(now=now, execute=True).done["errands"]["billing orders"] == 1
    assert DBTaskResult.objects.filter(task_path=settle_orders.module_path).count() == 1
