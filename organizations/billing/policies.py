"""What happens to the tables of billing when an organization is erased."""

from dataclasses import replace
from datetime import timedelta

from django.conf import settings

from erasure.policies import DELETE, Keep, Loose, policy

ORDERED = Keep(
    "Shows that Stripe was told to end the subscription, and when it did: nobody may be billed "
    "after a deletion. It names no person, but leads to the invoices that tax law keeps at Stripe.",
    basis="Art. 5(2) and Art. 17(3)(b) GDPR",
    retention=timedelta(days=3 * 365),
)

policy(
    "billing.Subscription",
    links={"organization": DELETE},
    opaque=["id", "customer", "subscription", "status", "told_at", "created_at"],
)
policy(
    "billing.BillingOrder",
    loose=[
        Loose(
            "organization_id",
            kind="organization",
            fate=replace(
                ORDERED, retention=getattr(settings, "ERASURE_RECORDS_KEPT", ORDERED.retention)
            ),
        )
    ],
    opaque=[
        "id",
        "customer",
        "subscription",
        "number",
        "kind",
        "state",
        "idempotency_key",
        "attempts",
        "retry_at",
        "last_error",
        "lease_until",
        "lease_token",
        "outcome",
        "created_at",
        "finished_at",
    ],
)
