"""Bringing about what an order wants: look first, then change only what is not so already.

Looking first makes a repetition harmless, however old it is and whatever became of the first try:
Stripe forgets idempotency keys after a day, and an answer that got lost may have had its effect.
"""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from organizations.billing import stripe_api
from organizations.billing.exceptions import StripeFailed
from organizations.billing.models import BillingOrder
from organizations.billing.stripe_api import Remote

MARK = "sexton_paused_by"
BEFORE = "sexton_paused_before"
"""Beside the subscription at Stripe: that the pause is ours, and what stood there before it."""

VOID = {"behavior": "void"}


class LeaseGone(Exception):
    """Another worker may be at this order, so nothing more is changed for it here."""


class Outcome(NamedTuple):
    """What came about, in words, and how the subscription stands; no status when it is gone."""

    text: str
    status: str = ""


def bring_about(order: BillingOrder, is_mine: Callable[[], bool]) -> Outcome:
    """See to it that a subscription is as an order wants it; return what was done.

    ``is_mine`` is asked before each change, the fence for a worker that slept. Raises
    StripeFailed, NoStripeKey or LeaseGone.
    """
    found = stripe_api.read(order.subscription)
    if found is None:
        return _judge_missing(order)
    outcome = WISHES[order.kind](order, found, is_mine)
    if order.kind == BillingOrder.Kind.CANCEL:
        _forbid_lost(is_mine)
        stripe_api.drop_pending_items(order.customer, order.subscription)
    return outcome


def _judge_missing(order: BillingOrder) -> Outcome:
    """A subscription that Stripe knows nothing of bills nobody, if this is the Stripe account that
    had it. A key of another account, or of the other mode, would find nothing either."""
    if not stripe_api.knows_customer(order.customer):
        raise StripeFailed("Neither subscription nor customer is known: is it the right account?")
    return Outcome("missing at Stripe")


def _cancel(order: BillingOrder, found: Remote, is_mine: Callable[[], bool]) -> Outcome:
    if found.is_ended:
        return Outcome("had ended already", found.status)
    _forbid_lost(is_mine)
    done = stripe_api.cancel(order.subscription, key=order.idempotency_key)
    if not done.is_ended:
        raise StripeFailed(f"Stripe says that the subscription is {done.status}"[:100])
    return Outcome("cancelled", done.status)


def _pause(order: BillingOrder, found: Remote, is_mine: Callable[[], bool]) -> Outcome:
    if found.is_ended:
        return Outcome("had ended already", found.status)
    is_ours = bool(found.metadata.get(MARK))
    if is_ours and found.paused.get("behavior") == "void" and not found.paused.get("resumes_at"):
        return Outcome("was paused already", found.status)
    marks = {MARK: str(order.pk)}
    if not is_ours:
        marks[BEFORE] = json.dumps(found.paused) if found.paused else ""
    done = _update(order, {"pause_collection": VOID, "metadata": marks}, is_mine)
    return Outcome("paused", done.status)


def _resume(order: BillingOrder, found: Remote, is_mine: Callable[[], bool]) -> Outcome:
    if found.is_ended:
        return Outcome("had ended already", found.status)
    if not found.metadata.get(MARK):
        # Somebody else's pause, or none.
        return Outcome("was not paused by us", found.status)
    # Somebody who ended our pause by hand at Stripe wanted collection to go on.
    before = _read_before(found) if found.paused else {}
    changes = {"pause_collection": before or "", "metadata": {MARK: "", BEFORE: ""}}
    done = _update(order, changes, is_mine)
    return Outcome("paused as before" if before else "resumed", done.status)


def _read_before(found: Remote) -> dict[str, Any]:
    """Return the pause that ours replaced, unless its time is over."""
    text = found.metadata.get(BEFORE)
    before: dict[str, Any] = json.loads(text) if text else {}
    resumes_at = before.get("resumes_at")
    if resumes_at and resumes_at <= time.time():
        return {}
    return {name: value for name, value in before.items() if value}


def _update(order: BillingOrder, changes: Any, is_mine: Callable[[], bool]) -> Remote:
    _forbid_lost(is_mine)
    return stripe_api.update(order.subscription, changes, key=order.idempotency_key)


def _forbid_lost(is_mine: Callable[[], bool]) -> None:
    if not is_mine():
        raise LeaseGone


WISHES: dict[str, Callable[[BillingOrder, Remote, Callable[[], bool]], Outcome]] = {
    BillingOrder.Kind.CANCEL: _cancel,
    BillingOrder.Kind.PAUSE: _pause,
    BillingOrder.Kind.RESUME: _resume,
}
