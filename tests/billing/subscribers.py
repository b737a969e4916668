"""Organizations that pay, and what the tests of billing ask about their orders."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from organizations.billing.carrying import Settled, carry_out_due
from organizations.billing.models import BillingOrder, Subscription
from organizations.models import Organization
from tests.billing.fakestripe import FakeStripe
from tests.factories import MembershipFactory, OrganizationFactory, SubscriptionFactory, UserFactory

SYSTEM = Actor.system("test")


def subscribed(stripe: FakeStripe | None = None, **fields: Any) -> Organization:
    """Create an organization with an owner and a subscription, one that Stripe knows if given."""
    organization: Organization = OrganizationFactory(**fields)
    MembershipFactory(organization=organization, role="owner", user=UserFactory())
    if stripe is None:
        SubscriptionFactory(organization=organization)
    else:
        customer = stripe.add_customer()
        SubscriptionFactory(
            organization=organization,
            customer=customer,
            subscription=stripe.add_subscription(customer),
        )
    return organization


def owner_of(organization: Organization) -> User:
    owner: User = organization.memberships.get(role="owner").user
    return owner


def acting(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)


def about(organization: Organization) -> Reference:
    return Reference("organization", organization.pk)


def name_of(organization: Organization) -> str:
    """Return the id that Stripe has given the organization's subscription."""
    found: str = Subscription.objects.get(organization_id=organization.pk).subscription
    return found


def orders_of(organization: Organization) -> list[tuple[str, str]]:
    rows = BillingOrder.objects.filter(organization_id=organization.pk).order_by("number")
    return list(rows.values_list("kind", "state"))


def order_of(organization: Organization) -> BillingOrder:
    """Return the latest order about an organization's subscription."""
    found: BillingOrder = BillingOrder.objects.filter(organization_id=organization.pk).latest(
        "number"
    )
    return found


def settle(**later: Any) -> Settled:
    """Carry out what is due, now or so much later."""
    ahead = timedelta(**later)
    return carry_out_due(clock=lambda: timezone.now() + ahead)
