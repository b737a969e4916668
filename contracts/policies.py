"""What happens to the answers that are kept for a day, to be given again."""

from erasure.policies import policy

policy(
    "contracts.IdempotentAnswer",
    secret=["scope", "fingerprint"],
    opaque=["id", "created_at", "running_until", "status"],
    harmless={
        "headers": "The content type and the id of a request.",
        "body": "Says that a deletion was done, or which organizations stand in its way. It is "
        "removed after a day.",
    },
    nobody="Only who shows the credential and the key again can find it; a digest leads to nobody.",
)
