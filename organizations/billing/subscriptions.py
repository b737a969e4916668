"""An organization's subscription: attached by staff or a platform's own backend, read by members.

No owner attaches one: whoever could name any subscription could have a stranger's cancelled, by
deleting an organization of their own.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.exceptions import SubjectNotFound
from erasure.rights import require_staff
from erasure.subjects import lock_subject
from organizations.billing import stripe_api
from organizations.billing.exceptions import AlreadySubscribed, NotAttachable, SubscriptionMissing
from organizations.billing.models import BillingOrder, Subscription
from organizations.models import Membership

ATTACH = "billing.add_subscription"


@dataclass(frozen=True)
class SubscriptionFacts:
    """A subscription as a member may see it; ``ordered`` is what Stripe is still to do with it."""

    id: str
    status: str
    told_at: datetime
    ordered: str


def attach_subscription(
    *, actor: Actor, organization_id: UUID, subscription: str, now: datetime
) -> UUID:
    """Note which subscription an organization pays by, after a look at it at Stripe.

    Raises RightMissing, NoStripeKey or StripeFailed, NotAttachable, SubjectNotFound for an
    organization that does not live, or AlreadySubscribed.
    """
    require_staff(actor, ATTACH)
    found = stripe_api.read(subscription)
    if found is None or found.is_ended or not found.customer:
        raise NotAttachable(subscription)
    try:
        with transaction.atomic(durable=True):
            return _attach(actor, organization_id, found, now)
    except IntegrityError as error:
        # It belongs to another organization: no lock of this one could tell.
        raise AlreadySubscribed(subscription) from error


def _attach(actor: Actor, organization_id: UUID, found: stripe_api.Remote, now: datetime) -> UUID:
    about = Reference("organization", organization_id)
    row = lock_subject(about)
    # Under the lock: one that is being deleted has ordered already what it had to order.
    if row is None or row.is_deleted:
        raise SubjectNotFound("organization")
    if Subscription.objects.filter(organization_id=organization_id).exists():
        raise AlreadySubscribed(found.id)
    if BillingOrder.objects.filter(subscription=found.id, kind="cancel").exists():
        raise NotAttachable(found.id)
    made = Subscription.objects.create(
        organization_id=organization_id,
        customer=found.customer,
        subscription=found.id,
        status=found.status,
        told_at=now,
        created_at=now,
    )
    facts = {"subscription": found.id}
    record("subscription.attached", actor=actor, subject=about, now=now, facts=facts)
    return made.pk


def read_subscription(*, actor: Actor, organization_id: UUID) -> SubscriptionFacts:
    """Return the subscription of an organization to one of its members. Raises SubjectNotFound for
    an organization that is not theirs or does not live, or SubscriptionMissing."""
    members = Membership.objects.filter(
        organization_id=organization_id, organization__is_deleted=False
    )
    if actor.user_id is None or not members.filter(user_id=actor.user_id).exists():
        raise SubjectNotFound("organization")
    found = Subscription.objects.filter(organization_id=organization_id).first()
    if found is None:
        raise SubscriptionMissing(organization_id)
    orders = BillingOrder.objects.open().filter(subscription=found.subscription)
    ordered = orders.values_list("kind", flat=True).first() or ""
    return SubscriptionFacts(found.subscription, found.status, found.told_at, ordered)


def hear(event: dict[str, Any]) -> bool:
    """Take in what Stripe tells of a subscription; whether that was news about one of ours.

    Events may come twice and in any order: an older one than the last changes nothing.
    """
    told: Any = event.get("data", {}).get("object", {})
    if not str(event.get("type", "")).startswith("customer.subscription."):
        return False
    at = datetime.fromtimestamp(int(event["created"]), UTC)
    known = Subscription.objects.filter(subscription=str(told.get("id")), told_at__lte=at)
    return bool(known.update(status=str(told.get("status", ""))[:32], told_at=at))
