"""Why something about billing is refused, or did not come about."""

from dataclasses import dataclass
from uuid import UUID


class BillingError(Exception):
    """The base of the refusals of this room."""


class NoStripeKey(BillingError):
    """The setting STRIPE_API_KEY is empty, so Stripe cannot be asked."""


@dataclass
class StripeFailed(BillingError):
    """Stripe did not do what it was asked for, or nobody knows whether it did.

    ``text`` says why in words that hold nothing of a person, for the order and for staff. With
    ``is_down`` others would fare no better now: it cannot be reached, or asks for less.
    ``spoils_key`` says that the answer would be the same again under the same idempotency key.
    """

    text: str
    is_down: bool = False
    spoils_key: bool = False


@dataclass
class SubscriptionMissing(BillingError):
    """The organization has no subscription, or there is no such organization within reach."""

    organization_id: UUID


@dataclass
class AlreadySubscribed(BillingError):
    """The organization has a subscription already, or this one belongs to another organization."""

    subscription: str


@dataclass
class NotAttachable(BillingError):
    """Stripe knows no such subscription, or it has ended."""

    subscription: str
