"""How a plan and a scheduled deletion read on the wire, for users and organizations alike."""

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from rest_framework.request import Request

from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import (
    Fault,
    IdempotencyKeyReused,
    IdempotentRequestRunning,
    InvalidIdempotencyKey,
    InvalidRequest,
    Refusal,
)
from contracts.house import describe_blockers
from contracts.schema import json_object, query
from erasure import exceptions
from erasure.planner import Plan
from erasure.progress import ScheduledDeletion
from erasure.references import spell

MOST_ROWS = 1_000_000

NO_KEYS = (InvalidIdempotencyKey, IdempotentRequestRunning, IdempotencyKeyReused)
"""What is never refused where no answer is kept: one that holds a secret is not."""

PROTOCOL: ErrorTable = {
    kind: line for kind, line in house.PROTOCOL_ERRORS.items() if kind not in NO_KEYS
}
REFUSALS: ErrorTable = {
    **PROTOCOL,
    exceptions.ActorGone: house.NOT_AUTHENTICATED,
    exceptions.UnderLegalHold: Refusal(
        409, "The data must be retained for now.", "RETENTION_REQUIRED"
    ),
    exceptions.DeletionInProgress: Refusal(
        409, "Another deletion of this is running.", "DELETION_IN_PROGRESS"
    ),
    exceptions.Blocked: Refusal(
        409, "Something must be settled before this can go.", "DELETION_BLOCKED"
    ),
    exceptions.PlanDrifted: Refusal(
        409, "What would happen is no longer what the plan says.", "PLAN_DRIFTED"
    ),
    exceptions.Paused: Refusal(409, "Deletions are paused at the moment.", "DELETIONS_PAUSED"),
    exceptions.LedgerUnavailable: Refusal(
        503, "Something went wrong on our side.", "INTERNAL_ERROR"
    ),
}
"""What deletions of users and of organizations are refused for, in the same words."""

text: dict[str, Any] = {"type": "string"}
number: dict[str, Any] = {"type": "integer", "minimum": 0}
moment: dict[str, Any] = {**text, "format": "date-time"}
optional_moment: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
rows: dict[str, Any] = {"type": "object", "additionalProperties": number}
SUBJECT = json_object({"kind": text, "id": text})
DELETION_ID = {**text, "pattern": ids.DELETION_PATTERN}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema}


PLAN = json_object(
    {
        "id": text,
        "subject": SUBJECT,
        "total": number,
        "capped": {"type": "boolean"},
        "removed": rows,
        "detached": rows,
        "anonymised": rows,
        "kept": _list(
            json_object(
                {
                    "model": text,
                    "rows": {"type": ["integer", "null"]},
                    "because": text,
                    "basis": text,
                    "retention_days": {"type": ["integer", "null"]},
                }
            )
        ),
        "blockers": _list(json_object({"code": text, "text": text, "facts": {"type": "object"}})),
        "holds": _list(
            json_object(
                {
                    "id": {**text, "format": "uuid"},
                    "placed_at": moment,
                    "review_at": {"type": ["string", "null"], "format": "date"},
                }
            )
        ),
        "affected": _list(json_object({"subject": SUBJECT, "name": text, "effect": text})),
        "effects": _list(json_object({"system": text, "text": text})),
        "companions": _list(SUBJECT),
    }
)
SCHEDULED = json_object(
    {
        "id": DELETION_ID,
        "subject": SUBJECT,
        "state": {"const": "scheduled", **text},
        "requested_at": moment,
        "due_at": moment,
        "status_url": {**text, "format": "uri"},
    }
)
CAP = query(
    "cap",
    "Count at most so many rows of each model, so that a huge subject is previewed at once. The "
    "numbers that hit it are lower bounds, and `capped` is true.",
    type="integer",
    minimum=1,
    maximum=MOST_ROWS,
)
PLAN_ID = {**text, "minLength": 1, "maxLength": 80, "pattern": "^plan_[0-9a-f]{64}$"}


def describe_scheduled(request: Request, done: ScheduledDeletion) -> dict[str, Any]:
    """Return a deletion that was just scheduled, with the link to follow it."""
    name = ids.encode(ids.DELETION, done.id)
    query_string = urlencode({"token": done.token})
    return {
        "id": name,
        "subject": describe_subject(done.subject),
        "state": "scheduled",
        "requested_at": done.requested_at,
        "due_at": done.due_at,
        "status_url": request.build_absolute_uri(
            f"{reverse('deletion', args=[name])}?{query_string}"
        ),
    }


def read_cap(request: Request) -> int | None:
    """Return the cap that a request asks for, or None; raises InvalidRequest."""
    given = request.query_params.getlist("cap")
    if not given:
        return None
    told = given[0]
    if len(given) > 1 or not (told.isascii() and told.isdecimal() and len(told) <= 7):
        raise InvalidRequest(_bad_cap(told))
    if not 1 <= int(told) <= MOST_ROWS:
        raise InvalidRequest(_bad_cap(told))
    return int(told)


def _bad_cap(told: str) -> Fault:
    return Fault(["query", "cap"], f"A whole number from 1 to {MOST_ROWS}.", "invalid", told)


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return a plan as the subject may see it. Why a hold was placed is between the house and
    whoever asked for it, and is left out."""
    return {
        "id": plan.id,
        "subject": describe_subject(plan.subject),
        "total": plan.total,
        "capped": plan.capped,
        "removed": plan.removed,
        "detached": plan.detached,
        "anonymised": plan.anonymised,
        "kept": [
            {
                "model": it.label,
                "rows": it.rows,
                "because": it.because,
                "basis": it.basis,
                "retention_days": it.retention_days,
            }
            for it in plan.stays
        ],
        "blockers": describe_blockers(plan.blockers),
        "holds": [
            {"id": str(it.id), "placed_at": it.placed_at, "review_at": it.review_at}
            for it in plan.holds
        ],
        "affected": [
            {"subject": describe_subject(it.subject), "name": it.name, "effect": it.effect}
            for it in plan.affected
        ],
        "effects": [{"system": it.system, "text": it.text} for it in plan.effects],
        "companions": [describe_subject(it) for it in plan.companions],
    }


def describe_subject(subject: Any) -> dict[str, str]:
    return {"kind": subject.kind, "id": spell(subject)}
