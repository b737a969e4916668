"""Carrying orders out: claimed under a lease, tried once, confirmed or put off.

The row is the truth. A worker that dies leaves a lease that lapses, and the next one looks at
Stripe before it changes anything.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Reference, record
from erasure.engines import is_behind, wake
from erasure.rights import require_staff
from erasure.subjects import lock_subject
from organizations.billing import stripe_api
from organizations.billing.exceptions import NoStripeKey, StripeFailed
from organizations.billing.models import BillingOrder, Subscription
from organizations.billing.orders import describe, name_key
from organizations.billing.papers import amend_receipt
from organizations.billing.wishes import LeaseGone, Outcome, bring_about

logger = logging.getLogger("sexton.billing")

LEASE = timedelta(minutes=5)
"""Longer than all calls of one order together can take."""

CHANGE = "billing.change_billingorder"
"""The right of staff who see to orders."""

RETRY_AFTER = timedelta(seconds=30)
RETRY_AT_MOST = timedelta(hours=1)
DOWN_AFTER = 3
"""So many orders in one run find Stripe down before the others are left for the next run: a worker
has other things to do than to wait for time-outs."""

STATE = BillingOrder.State
DONE = {
    BillingOrder.Kind.CANCEL: "subscription.cancelled",
    BillingOrder.Kind.PAUSE: "subscription.paused",
    BillingOrder.Kind.RESUME: "subscription.resumed",
}
SYSTEM = Actor.system("billing")

Clock = Callable[[], datetime]


@dataclass
class Settled:
    """What a run did. ``next_at`` is when the first of those that failed is tried again."""

    confirmed: int = 0
    failed: int = 0
    next_at: datetime | None = None
    is_cut_short: bool = False


def carry_out_due(*, clock: Clock, goes_on: Callable[[], bool] = lambda: True) -> Settled:
    """Try every order that is due, one after the other, until none is, ``goes_on`` says no, or
    Stripe is found to be down.

    Does nothing without a key, and nothing with a database that is older than its ledger, whose
    orders may have been overtaken. Raises nothing of Stripe's.
    """
    done, down = Settled(), 0
    if is_behind() or not _has_key():
        return done
    while down < DOWN_AFTER and (order := claim_next(now=clock())) is not None:
        try:
            outcome = bring_about(order, partial(_is_mine, order, clock))
        except LeaseGone:
            _give_back(order)
        except Exception as error:  # noqa: BLE001 - whatever one order meets, the others go on
            down += bool(getattr(error, "is_down", False))
            retry_at = postpone(order, error, now=clock())
            done.failed += 1
            done.next_at = min(done.next_at or retry_at, retry_at)
        else:
            done.confirmed += confirm(order, outcome, now=clock())
        if not goes_on():
            done.is_cut_short = True
            break
    return done


def claim_next(*, now: datetime) -> BillingOrder | None:
    """Take one due order under a lease; None when there is none. One guarded UPDATE decides: of
    two workers one gets it."""
    while (pk := BillingOrder.objects.due(now).values_list("pk", flat=True).first()) is not None:
        token = uuid7()
        rows = BillingOrder.objects.filter(pk=pk)
        if rows.claim(now, lease_token=token, lease_until=now + LEASE):
            mine: BillingOrder | None = rows.filter(lease_token=token).first()
            return mine
    return None


def confirm(order: BillingOrder, outcome: Outcome, *, now: datetime) -> bool:
    """Write down that Stripe is as an order wants it, with its event; whether the order still
    stood. One that was replaced meanwhile only lets the next one pass."""
    with transaction.atomic(durable=True):
        lock_subject(Reference("organization", order.organization_id))
        rows = BillingOrder.objects.select_for_update()
        mine = rows.filter(pk=order.pk, lease_token=order.lease_token).first()
        if mine is None:
            return False
        mine.lease_token = mine.lease_until = mine.retry_at = None
        mine.last_error, mine.outcome = "", outcome.text
        stood = bool(mine.state == STATE.OPEN)
        if stood:
            mine.state, mine.finished_at = STATE.CONFIRMED, now
        mine.save()
        if outcome.status:
            known = Subscription.objects.filter(subscription=mine.subscription)
            known.update(status=outcome.status, told_at=now)
        if stood:
            _end(mine, SYSTEM, now)
    return stood


def postpone(order: BillingOrder, error: Exception, *, now: datetime) -> datetime:
    """Write down why a try failed and when the next one is due; return that moment."""
    wait: timedelta = min(RETRY_AFTER * 2 ** min(max(order.attempts - 1, 0), 12), RETRY_AT_MOST)
    text = error.text if isinstance(error, StripeFailed) else type(error).__name__
    changes: dict[str, object] = {
        "last_error": text[: BillingOrder.LONGEST_ERROR],
        "retry_at": now + wait,
        "lease_until": None,
        "lease_token": None,
    }
    if isinstance(error, StripeFailed):
        logger.warning("an order to Stripe failed", extra={"order": str(order.pk), "why": text})
        if error.spoils_key:
            # The same key would be given the same failure for a day.
            changes["idempotency_key"] = name_key(order.pk, order.attempts)
    else:
        logger.error("an order to Stripe failed", exc_info=error, extra={"order": str(order.pk)})
    BillingOrder.objects.filter(pk=order.pk, lease_token=order.lease_token).update(**changes)
    return now + wait


def retry_now(*, actor: Actor, order_id: UUID, now: datetime) -> bool:
    """Let an open order be tried at once; whether there was one. Raises RightMissing."""
    # The task is what calls this file.
    from organizations.billing.tasks import settle_orders

    require_staff(actor, CHANGE)
    with transaction.atomic(durable=True):
        order = BillingOrder.objects.select_for_update().open().filter(pk=order_id).first()
        if order is None:
            return False
        order.retry_at = None
        order.save(update_fields=["retry_at"])
        _record(order, "subscription.order_retried", actor, now)
        wake(settle_orders, urgent=True)
    return True


def settle_by_hand(*, actor: Actor, order_id: UUID, reference: str, now: datetime) -> bool:
    """Close an open order because somebody saw to it at Stripe; whether there was one.

    The way out when no key will ever reach the account again. Raises RightMissing.
    """
    require_staff(actor, CHANGE)
    with transaction.atomic(durable=True):
        known = BillingOrder.objects.filter(pk=order_id).first()
        if known is not None:
            lock_subject(Reference("organization", known.organization_id))
        order = BillingOrder.objects.select_for_update().open().filter(pk=order_id).first()
        if order is None:
            return False
        order.state, order.finished_at = STATE.CONFIRMED, now
        order.outcome, order.retry_at, order.last_error = "settled by hand", None, ""
        order.save(update_fields=["state", "finished_at", "outcome", "retry_at", "last_error"])
        _end(order, actor, now, reference)
    return True


def _end(order: BillingOrder, actor: Actor, now: datetime, reference: str = "") -> None:
    kind = BillingOrder.Kind(order.kind)
    _record(order, DONE[kind], actor, now, outcome=order.outcome, reference=reference)
    if kind == BillingOrder.Kind.CANCEL:
        amend_receipt(order)


def _record(
    order: BillingOrder,
    action: str,
    actor: Actor,
    now: datetime,
    **more: str,
) -> None:
    record(
        action,
        actor=actor,
        subject=Reference("organization", order.organization_id),
        now=now,
        organization_id=order.organization_id,
        facts={**describe(order), **{name: text for name, text in more.items() if text}},
    )


def _is_mine(order: BillingOrder, clock: Clock) -> bool:
    mine = BillingOrder.objects.filter(pk=order.pk, lease_token=order.lease_token, state=STATE.OPEN)
    return mine.filter(lease_until__gt=clock()).exists()


def _give_back(order: BillingOrder) -> None:
    mine = BillingOrder.objects.filter(pk=order.pk, lease_token=order.lease_token)
    mine.update(lease_until=None, lease_token=None)


def _has_key() -> bool:
    try:
        stripe_api.require_key()
    except NoStripeKey:
        return False
    return True
