"""``manage.py attach_subscription``: note which subscription at Stripe an organization pays by."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q
from django.utils import timezone

from audit.actors import Actor
from erasure.exceptions import SubjectNotFound
from erasure.typeids import read_uuid
from organizations.billing.exceptions import BillingError, StripeFailed
from organizations.billing.subscriptions import attach_subscription
from organizations.models import Organization

WHY = {
    "NoStripeKey": "STRIPE_API_KEY is not set, so Stripe cannot be asked",
    "NotAttachable": "Stripe knows no such subscription, or it has ended",
    "AlreadySubscribed": "the organization has a subscription, or another one has this",
}


class Command(BaseCommand):
    help = (
        "Notes which subscription at Stripe an organization pays by, after a look at it there. It "
        "is paused and cancelled with the organization from then on. Exit codes: 0 done, 1 refused "
        "or Stripe cannot be reached, 2 wrong usage or no such organization."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("organization", metavar="SLUG_OR_ID", help="a slug or a UUID")
        parser.add_argument("subscription", metavar="sub_…", help="its id at Stripe")

    def handle(self, *args: Any, organization: str, subscription: str, **options: Any) -> None:
        pk = read_uuid(organization)
        named = Q(pk=pk) if pk else Q(slug=organization)
        found = Organization.objects.filter(named, is_deleted=False).first()
        if found is None:
            raise CommandError(f"There is no live organization {organization}.", returncode=2)
        try:
            attach_subscription(
                actor=Actor.system("attach_subscription"),
                organization_id=found.pk,
                subscription=subscription,
                now=timezone.now(),
            )
        except SubjectNotFound as error:
            raise CommandError("It has been deleted meanwhile.", returncode=2) from error
        except BillingError as error:
            raise CommandError(f"Refused: {_explain(error)}.", returncode=1) from error
        self.stdout.write(f"{found.slug} pays by {subscription}.")


def _explain(error: BillingError) -> str:
    if isinstance(error, StripeFailed):
        return error.text
    return WHY[type(error).__name__]
