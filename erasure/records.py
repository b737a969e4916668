"""What happens to the tables of this room and of the audit log, which outlive what they are about.

They name subjects, staff and whoever asked by opaque ids. Such an id leads nowhere once its row is
gone.
"""

from dataclasses import replace
from datetime import timedelta

from django.conf import settings

from erasure.policies import DELETE, Anonymise, Keep, Loose, policy

ACCOUNTABILITY = Keep(
    "Shows that, when and at whose wish the data was erased. Of a person an opaque id is left.",
    basis="Art. 5(2) and Art. 17(3)(b) GDPR",
    retention=None,
)
RECORD = replace(
    ACCOUNTABILITY, retention=getattr(settings, "ERASURE_RECORDS_KEPT", timedelta(days=3 * 365))
)
"""Of rows that are about the subject itself, as against those that only name who acted."""
DECIDED = "Shows who decided, when and why."
"""Of decisions of staff, which are forgotten some time after they have ended."""
ERASED = "Erased with its subject."
TREE = "It holds hashes and signatures, and how far they have been published."
FREE_TEXT = "Staff wrote it in their own words, and may have named somebody."


def _until(end: str) -> Keep:
    """Return the fate of what is forgotten some time after its end, which a field tells."""
    return replace(RECORD, because=DECIDED, since=end)


policy(
    "audit.AuditEvent",
    loose=[
        Loose("subject_id", kind="*", kind_field="subject_kind", fate=RECORD),
        Loose("actor_id", kind="*", kind_field="actor_kind", fate=ACCOUNTABILITY),
        Loose("person_id", kind="*", fate=ACCOUNTABILITY),
        Loose("organization_id", kind="*", fate=ACCOUNTABILITY),
    ],
    opaque=[
        "id",
        "at",
        "action",
        "outcome",
        "credential_id",
        "channel",
        "request_id",
        "sealed_seq",
    ],
    harmless={
        "facts": "Written by services alone: ids, counts and codes, nothing that was typed.",
        "commitments": "Salted hashes. Without the salt, which is erased, nothing leads back.",
        "mac": "A code over the rest of the event, under a key.",
    },
)
policy(
    "audit.EventDetail",
    loose=[
        Loose("person_id", kind="*", fate=DELETE),
        Loose("subject_id", kind="*", fate=DELETE),
    ],
    personal=["value"],
    secret=["salt"],
    opaque=["id", "event_id", "field"],
)
policy("audit.TreeHead", opaque=["id", "size"], nobody=TREE)
policy("audit.Tile", opaque=["id"], harmless={"hashes": "Hashes of hashes."}, nobody=TREE)
policy(
    "audit.Checkpoint",
    opaque=["size", "at"],
    harmless={"note": "A number, a hash, a time and a signature."},
    nobody=TREE,
)
policy("audit.Publication", opaque=["name", "size", "at", "error"], nobody=TREE)
policy(
    "erasure.DeletionRequest",
    loose=[
        Loose("subject_id", kind="*", kind_field="subject_kind", fate=RECORD),
        Loose("requested_by_id", kind="*", kind_field="requested_by_kind", fate=ACCOUNTABILITY),
        Loose("ordered_by_id", kind="*", fate=ACCOUNTABILITY),
        Loose("organization_id", kind="*", fate=ACCOUNTABILITY),
    ],
    opaque=[
        "id",
        "state",
        "generation",
        "channel",
        "request_id",
        "requested_at",
        "due_at",
        "started_at",
        "finished_at",
        "lease_until",
        "lease_token",
        "attempts",
        "retry_at",
        "last_error",
        "cause_id",
        "reference",
        "plan_id",
        "warned_at",
        "ledger_entry",
        "statement",
        "status_digest",
    ],
    harmless={
        "before": "Flags of the account, and ids; emptied by the erasure.",
        "planned": "Counts, codes and ids.",
        "cursor": "Keys of rows that are gone.",
        "counts": "Numbers of rows, by model.",
        "along": "Numbers of subjects by kind, and a digest.",
        "told": "Channels and times, no addresses; recipients by the name that staff gave them.",
        "searched": "When, and how many hits.",
        "signature": "Of a receipt that names nobody.",
    },
)
policy(
    "erasure.LegalHold",
    loose=[
        Loose(
            "subject_id",
            kind="*",
            kind_field="subject_kind",
            fate=Anonymise({"reason": ERASED}, FREE_TEXT),
        ),
        Loose("placed_by_id", kind="*", fate=_until("released_at")),
        Loose("released_by_id", kind="*", fate=_until("released_at")),
    ],
    personal=["reason"],
    opaque=["id", "placed_at", "review_at", "released_at"],
)
policy(
    "erasure.Pause",
    loose=[
        Loose("organization_id", kind="*", fate=Anonymise({"reason": ERASED}, FREE_TEXT)),
        Loose("placed_by_id", kind="*", fate=_until("released_at")),
        Loose("released_by_id", kind="*", fate=_until("released_at")),
    ],
    personal=["reason"],
    opaque=["id", "placed_at", "released_at"],
)
policy(
    "erasure.BulkErasure",
    loose=[
        Loose("subjects", kind="*", fate=_until("decided_at"), quoted=True),
        Loose("proposed_by_id", kind="*", fate=_until("decided_at")),
        Loose("decided_by_id", kind="*", fate=_until("decided_at")),
    ],
    opaque=["id", "state", "reference", "size", "proposed_at", "decided_at"],
)
policy(
    "erasure.Statement",
    opaque=["digest", "first_used_at"],
    harmless={"content": "The wording of rules, the same for everybody."},
    nobody="It quotes the rules in force and no person.",
)
policy(
    "erasure.Heartbeat",
    opaque=["name", "at"],
    harmless={"facts": "Numbers of what a job did."},
    nobody="It is about a recurring job.",
)
policy(
    "erasure.LedgerMark",
    opaque=["ledger", "position", "seal", "at"],
    nobody="It says how far this database has read the ledger.",
)
policy(
    "erasure.DoomedFile",
    opaque=["id", "field", "noted_at"],
    harmless={"name": "A path that is forgotten as soon as nothing lies there."},
    nobody="It names a stored file until that file is removed, and goes with it.",
)
