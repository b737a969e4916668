"""Writing down what Stripe is to do, in the transaction that wants it.

Whoever calls holds the organization's row lock, so that the orders of one subscription are written
one after the other. Nothing here talks to Stripe: a request waits for nobody, and an organization
goes whether Stripe answers or not.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Max
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Reference, record
from erasure.engines import wake
from organizations.billing.models import BillingOrder, Subscription

KIND, STATE = BillingOrder.Kind, BillingOrder.State

ORDERED = {
    KIND.CANCEL: "subscription.cancel_ordered",
    KIND.PAUSE: "subscription.pause_ordered",
    KIND.RESUME: "subscription.resume_ordered",
}


def order_cancel(ids: Collection[UUID], *, actor: Actor, now: datetime) -> int:
    """Order the subscriptions of organizations to be cancelled for ever; return how many.

    Those for which that is ordered already are left alone, so it may be called again. A crash
    before the commit leaves neither the order nor the deletion that it belongs to.
    """
    return _order(KIND.CANCEL, ids, actor=actor, now=now)


def order_pause(organization_id: UUID, *, actor: Actor, now: datetime) -> int:
    """Order that nothing is collected while an organization is on its way out."""
    return _order(KIND.PAUSE, [organization_id], actor=actor, now=now)


def order_resume(organization_id: UUID, *, actor: Actor, now: datetime) -> int:
    """Order that collection goes on, since the organization is back. Nothing to do for one that
    was never paused."""
    paused = BillingOrder.objects.filter(organization_id=organization_id, kind=KIND.PAUSE)
    if not paused.exists():
        return 0
    return _order(KIND.RESUME, [organization_id], actor=actor, now=now)


def _order(kind: str, ids: Collection[UUID], *, actor: Actor, now: datetime) -> int:
    known = {
        one.subscription: one
        for one in Subscription.objects.filter(organization_id__in=ids).order_by("pk")
    }
    if not known:
        return 0
    mine = BillingOrder.objects.filter(subscription__in=known)
    # A cancelled subscription never comes back, so no order follows that one.
    for ended in mine.filter(kind=KIND.CANCEL).values_list("subscription", flat=True):
        del known[ended]
    if not known:
        return 0
    numbers = dict(mine.order_by().values_list("subscription").annotate(Max("number")))
    # One that is on its way to Stripe keeps its lease: until that has lapsed, the new one waits.
    mine.filter(subscription__in=known).open().update(state=STATE.SUPERSEDED, finished_at=now)
    orders = BillingOrder.objects.bulk_create(
        [_new(kind, one, numbers.get(one.subscription, 0) + 1, now) for one in known.values()]
    )
    _record(orders, actor, now)
    _wake()
    return len(orders)


def _new(kind: str, of: Subscription, number: int, now: datetime) -> BillingOrder:
    pk = uuid7()
    return BillingOrder(
        pk=pk,
        organization_id=of.organization_id,
        customer=of.customer,
        subscription=of.subscription,
        number=number,
        kind=kind,
        idempotency_key=name_key(pk),
        created_at=now,
    )


def name_key(order_id: UUID, round_: int = 0) -> str:
    """Return the key under which Stripe recognizes an order that it has seen before."""
    return f"sexton-{order_id}" + (f"-{round_}" if round_ else "")


def _record(orders: Sequence[BillingOrder], actor: Actor, now: datetime) -> None:
    for order in orders:
        record(
            ORDERED[KIND(order.kind)],
            actor=actor,
            subject=Reference("organization", order.organization_id),
            now=now,
            organization_id=order.organization_id,
            facts=describe(order),
        )


def describe(order: BillingOrder) -> Mapping[str, Any]:
    """Return what an event says of an order."""
    return {"order": str(order.pk), "subscription": order.subscription}


def _wake() -> None:
    # The task carries orders out, which confirms them, which is beside this file.
    from organizations.billing.tasks import settle_orders

    wake(settle_orders, urgent=True)
