"""What is told, under which name, and in which words: opaque ids and nothing about a person."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from audit.events import Reference
from erasure.references import spell
from erasure.typeids import spell_id

USER_DELETION_SCHEDULED = "user.deletion_scheduled"
USER_RESTORED = "user.restored"
USER_ERASED = "user.erased"
ORGANIZATION_DELETION_SCHEDULED = "organization.deletion_scheduled"
ORGANIZATION_RESTORED = "organization.restored"
ORGANIZATION_DELETED = "organization.deleted"
MEMBER_REMOVED = "member.removed"
API_KEY_REVOKED = "api_key.revoked"

DESCRIPTIONS = {
    USER_DELETION_SCHEDULED: "an account was closed; its data is erased when the grace period ends",
    USER_RESTORED: "a closed account was opened again within its grace period",
    USER_ERASED: "an account and its personal data are erased for ever",
    ORGANIZATION_DELETION_SCHEDULED: "the organization was closed, and goes when the grace "
    "period ends",
    ORGANIZATION_RESTORED: "the organization was opened again within its grace period",
    ORGANIZATION_DELETED: "the organization is gone with everything it owned; its last event",
    MEMBER_REMOVED: "somebody is no longer a member of the organization",
    API_KEY_REVOKED: "an API key was revoked",
}
"""Every event that an endpoint can choose."""

TEST = "webhook.test"
"""Sent when somebody asks for it, to any endpoint, chosen or not."""

EVENT_OF = {
    "user.deleted": USER_DELETION_SCHEDULED,
    "user.restored": USER_RESTORED,
    "user.erased": USER_ERASED,
    "organization.deleted": ORGANIZATION_DELETION_SCHEDULED,
    "organization.restored": ORGANIZATION_RESTORED,
    "organization.erased": ORGANIZATION_DELETED,
    "member.removed": MEMBER_REMOVED,
    "api_key.revoked": API_KEY_REVOKED,
}
"""Which event an action of the audit log becomes."""

LAST_OF = {"user": USER_ERASED, "organization": ORGANIZATION_DELETED}
"""The last event of a kind of subject, which is told when the rows that say whom to tell are gone.
So it is prepared before they go."""


def spell_subject(kind: str, subject_id: UUID) -> str:
    """Return a subject's id as clients know it: ``usr_…``, or the plain id of an organization."""
    return spell(Reference(kind, subject_id))


def write_payload(
    event: str,
    *,
    subject: Reference,
    sequence: int,
    now: datetime,
    facts: Mapping[str, Any],
) -> str:
    """Return the body of a message: the JSON text that is signed and sent, the same at each try.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    data: dict[str, Any] = {
        "subject": {"kind": subject.kind, "id": spell_subject(subject.kind, subject.id)},
        "sequence": sequence,
    }
    if subject.kind == "organization":
        data["organization_id"] = str(subject.id)
    if known := facts.get("deletion"):
        data["deletion_id"] = spell_id("del", UUID(str(known)))
    if known := facts.get("key"):
        data["api_key_id"] = spell_id("key", UUID(str(known)))
    if known := facts.get("member"):
        data["user_id"] = spell_subject("user", UUID(str(known)))
    at = now.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": event, "timestamp": at, "data": data}, separators=(",", ":"))
