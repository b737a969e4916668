"""What happens to webhooks: they go with their organization, but for its last event."""

from datetime import timedelta

from erasure.policies import DELETE, Keep, Loose, policy
from erasure.records import ACCOUNTABILITY

policy(
    "webhooks.Endpoint",
    links={"organization": DELETE},
    personal=["name", "url"],
    secret=["secret", "former_secret"],
    opaque=["id", "events", "former_until", "is_active", "disabled_reason", "created_at"],
)
policy(
    "webhooks.Message",
    loose=[Loose("subject_id", kind="*", kind_field="subject_kind", fate=ACCOUNTABILITY)],
    opaque=["id", "type", "sequence", "deletion_id", "created_at"],
    harmless={"payload": "Opaque ids, a name of an event and a time."},
)
policy(
    "webhooks.Delivery",
    links={"endpoint": DELETE},
    loose=[
        Loose(
            "farewell_of",
            kind="organization",
            fate=Keep(
                "Whoever received the organization's events is still told that it is gone. The "
                "address is emptied when that is done.",
                basis="Art. 6(1)(f) GDPR",
                retention=timedelta(days=3),
            ),
        )
    ],
    secret=["farewell"],
    opaque=[
        "id",
        "message",
        "receiver_id",
        "subject_id",
        "sequence",
        "state",
        "attempts",
        "created_at",
        "first_tried_at",
        "next_try_at",
        "finished_at",
        "last_error",
        "lease_until",
        "lease_token",
    ],
)
policy(
    "webhooks.Attempt",
    links={"delivery": DELETE},
    personal=["response_body"],
    secret=["request_headers"],
    opaque=["id", "number", "at", "response_status", "error", "milliseconds"],
)
