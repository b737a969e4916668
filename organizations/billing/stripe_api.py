"""Talking to Stripe: the one file that knows its library.

Each call is one attempt with a time-out. The library's own retries are off: an order is tried again
by its row, which says how often and why, and a worker does not sleep in between.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings

from organizations.billing.exceptions import NoStripeKey, StripeFailed

if TYPE_CHECKING:
    import stripe

CONNECT_TIMEOUT = 5.0
ENDED = frozenset({"canceled", "incomplete_expired"})
"""States of a subscription that it never leaves, and in which nothing is billed."""


@dataclass(frozen=True)
class Remote:
    """A subscription as Stripe holds it."""

    id: str
    customer: str
    status: str
    paused: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


def require_key() -> str:
    """Return the secret key. Raises NoStripeKey."""
    key = str(settings.STRIPE_API_KEY)
    if not key:
        raise NoStripeKey
    return key


def read(subscription: str) -> Remote | None:
    """Return a subscription; None when this key knows of none. Raises StripeFailed."""
    with _translated(missing=True) as found:
        found.value = _client().v1.subscriptions.retrieve(subscription)
    return _remote(found.value) if found.value is not None else None


def knows_customer(customer: str) -> bool:
    """Whether a customer exists or once did: Stripe remembers deleted ones. Raises StripeFailed."""
    with _translated(missing=True) as found:
        found.value = _client().v1.customers.retrieve(customer)
    return found.value is not None


def cancel(subscription: str, *, key: str) -> Remote:
    """Cancel at once and for good, without a last invoice. Customer and invoices stay; Stripe
    itself stops to collect what is unpaid. Raises StripeFailed.

    Stripe takes no account of the key here, since a DELETE repeats itself without harm.
    """
    with _translated() as found:
        found.value = _client().v1.subscriptions.cancel(
            subscription,
            {"invoice_now": False, "prorate": False},
            {"idempotency_key": key},
        )
    return _remote(found.value)


def update(subscription: str, changes: Any, *, key: str) -> Remote:
    """Change a subscription and return it. Raises StripeFailed."""
    with _translated() as found:
        found.value = _client().v1.subscriptions.update(
            subscription, changes, {"idempotency_key": key}
        )
    return _remote(found.value)


def drop_pending_items(customer: str, subscription: str) -> int:
    """Remove what waits to stand on a next invoice of a subscription that has ended, where it
    could still be charged; return how many items. Raises StripeFailed."""
    items = _client().v1.invoice_items
    dropped = 0
    with _translated(missing=True):
        waiting = items.list({"customer": customer, "pending": True, "limit": 100})
        for item in waiting.auto_paging_iter():
            if _subscription_of(item.to_dict()) == subscription:
                items.delete(item.id)
                dropped += 1
    return dropped


def read_event(payload: bytes, signature: str) -> dict[str, Any] | None:
    """Return an event that Stripe sent; None when it is not genuine, too old, or no event."""
    import stripe

    try:
        event = stripe.Webhook.construct_event(payload, signature, settings.STRIPE_WEBHOOK_SECRET)
    except (ValueError, stripe.SignatureVerificationError):
        return None
    found: dict[str, Any] = event.to_dict()
    return found


@lru_cache(maxsize=4)
def _make_client(key: str, base: str, timeout: float) -> "stripe.StripeClient":
    # Half a second to import, which only whoever talks to Stripe should pay.
    import stripe

    stripe.enable_telemetry = False
    return stripe.StripeClient(
        key,
        base_addresses={"api": base},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=(min(CONNECT_TIMEOUT, timeout), timeout)),
    )


def _client() -> "stripe.StripeClient":
    return _make_client(
        require_key(), settings.STRIPE_API_BASE.rstrip("/"), settings.STRIPE_TIMEOUT
    )


def _remote(found: Any) -> Remote:
    told = found.to_dict()
    customer = told.get("customer")
    return Remote(
        id=str(told.get("id", "")),
        customer=str(customer["id"] if isinstance(customer, dict) else customer or ""),
        status=str(told.get("status", "")),
        paused=dict(told.get("pause_collection") or {}),
        metadata=dict(told.get("metadata") or {}),
    )


def _subscription_of(item: dict[str, Any]) -> str:
    """Return whose invoice item this is; newer versions of the API say it one level deeper."""
    parent = (item.get("parent") or {}).get("subscription_details") or {}
    return str(item.get("subscription") or parent.get("subscription") or "")


@dataclass
class _Found:
    value: Any = None


@contextmanager
def _translated(*, missing: bool = False) -> Iterator[_Found]:
    """Turn the library's errors into ours. With ``missing`` a 404 leaves the value empty."""
    import stripe

    found = _Found()
    try:
        yield found
    except stripe.StripeError as error:
        if missing and error.http_status == 404:
            return
        raise _explain(error) from error


def _explain(error: "stripe.StripeError") -> StripeFailed:
    """Say what went wrong by type and code. Never Stripe's own message, which quotes ids and may
    quote more."""
    import stripe

    status, headers = error.http_status, error.headers or {}
    replayed = str(headers.get("Idempotent-Replayed", "")).lower() == "true"
    if isinstance(error, stripe.APIConnectionError):
        cause = type(error.__cause__ or error).__name__
        return StripeFailed(f"Stripe cannot be reached: {cause}", is_down=True)
    for wanted, text in _OF_ALL.items():
        if status == wanted:
            return StripeFailed(text, is_down=True)
    if isinstance(error, stripe.IdempotencyError):
        return StripeFailed("Stripe knows the order under other words", spoils_key=True)
    if status is None or status >= 500:
        return StripeFailed(f"Stripe fails ({status})", is_down=True, spoils_key=replayed)
    code = error.code or type(error).__name__
    return StripeFailed(f"Stripe refuses: {code} ({status})"[:200], spoils_key=replayed)


_OF_ALL = {
    401: "Stripe does not accept the key (401)",
    403: "Stripe grants the key too little (403)",
    429: "Stripe asks to wait (429)",
}
"""What is wrong with all orders alike."""
