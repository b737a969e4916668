"""What happens in a process that is killed: an owner tears an organization down, and a worker
carries out what was ordered. Run by ``tests.proofs.victim``."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from audit.actors import Actor
from erasure import gate
from organizations.billing.carrying import carry_out_due
from organizations.billing.models import BillingOrder
from organizations.models import Membership, Organization
from organizations.services import delete_organization
from tests.factories import (
    InvitationFactory,
    MembershipFactory,
    OrganizationFactory,
    SubscriptionFactory,
    UserFactory,
)
from tests.proofs.victim import Boundaries


def warm_up() -> None:
    call_command("migrate", verbosity=0, interactive=False)
    import stripe  # noqa: F401 - so that no fork pays for it

    connection.close()


def build(customer: str, subscription: str, number: int) -> str:
    """Create an organization that pays; return its id."""
    one: Organization = OrganizationFactory(slug=f"acme-{number}")
    owner = UserFactory(username=f"owner-{number}")
    MembershipFactory(organization=one, role="owner", user=owner)
    InvitationFactory(organization=one, email=f"{number}@example.com", token_digest=f"{number:064}")
    SubscriptionFactory(organization=one, customer=customer, subscription=subscription)
    return str(one.pk)


def run(organization: str, boundary: int = 0, side: str = "", minutes: int = 0) -> int:
    """Tear an organization down, if it is still there, and carry out what is due so many minutes
    later; return how many commits there were."""
    watch = Boundaries(boundary, side)
    watch.watch()
    pk, later = UUID(organization), timedelta(minutes=minutes)
    if Organization.objects.filter(pk=pk).exists():
        owner = Membership.objects.get(organization_id=pk, role="owner").user_id
        actor = Actor(kind="user", id=owner, channel="test", person_id=owner)
        delete_organization(actor=actor, organization_id=pk, now=timezone.now())
    carry_out_due(clock=lambda: timezone.now() + later)
    connection.close()
    gate.forget()
    return watch.passed


def look(organization: str) -> dict[str, Any]:
    """Return whether an organization is there, and its orders."""
    rows = BillingOrder.objects.filter(organization_id=UUID(organization))
    orders = [list(one) for one in rows.values_list("kind", "state")]
    is_there = Organization.objects.filter(pk=organization).exists()
    connection.close()
    return {"is_there": is_there, "orders": orders}
