"""The dialect of our own API under /v1, which is that of the v1 user contract: its envelope, and
the protocol's refusals in its words."""

from typing import Any

from rest_framework.exceptions import (
    MethodNotAllowed,
    NotAuthenticated,
    ParseError,
    PermissionDenied,
    Throttled,
    UnsupportedMediaType,
)

from contracts.base import Contract, ErrorTable
from contracts.errors import (
    BodyTooLarge,
    HostNotServed,
    IdempotencyKeyReused,
    IdempotentRequestRunning,
    InvalidIdempotencyKey,
    InvalidRequest,
    Problem,
    Refusal,
    UnknownPath,
)
from contracts.schema import json_object

NOT_AUTHENTICATED = Refusal(401, "Authentication is required.", "AUTHENTICATION_REQUIRED")

PROTOCOL_ERRORS: ErrorTable = {
    NotAuthenticated: NOT_AUTHENTICATED,
    PermissionDenied: Refusal(
        403, "This API key does not have the required scope.", "INSUFFICIENT_PERMISSIONS"
    ),
    UnknownPath: Refusal(404, "There is nothing at this address.", "NOT_FOUND"),
    MethodNotAllowed: Refusal(405, "This method is not allowed here.", "METHOD_NOT_ALLOWED"),
    ParseError: Refusal(400, "The body must be one JSON object.", "INVALID_BODY"),
    HostNotServed: Refusal(400, "This host is not served here.", "HOST_NOT_SERVED"),
    BodyTooLarge: Refusal(413, "The body is too large.", "BODY_TOO_LARGE"),
    UnsupportedMediaType: Refusal(415, "The body must be JSON.", "UNSUPPORTED_MEDIA_TYPE"),
    InvalidRequest: Refusal(422, "Some fields are not valid.", "VALIDATION_ERROR"),
    InvalidIdempotencyKey: Refusal(
        400, "Idempotency-Key must be 1 to 255 printable characters.", "INVALID_IDEMPOTENCY_KEY"
    ),
    IdempotentRequestRunning: Refusal(
        409, "The first request with this Idempotency-Key is still running.", "REQUEST_IN_PROGRESS"
    ),
    IdempotencyKeyReused: Refusal(
        422, "This Idempotency-Key was used for another request.", "IDEMPOTENCY_KEY_REUSED"
    ),
    Throttled: Refusal(429, "Too many requests. Try again later.", "RATE_LIMITED"),
    Exception: Refusal(500, "Something went wrong on our side.", "INTERNAL_ERROR"),
}

NO_BODY = (ParseError, BodyTooLarge, UnsupportedMediaType)
"""What an action that reads no body never refuses."""

_TYPES = {401: "authentication_error", 403: "authorization_error"}
_text = {"type": "string"}

ERROR_SCHEMA = json_object(
    {
        "success": {"type": "boolean", "const": False},
        "error": json_object(
            {
                "code": _text,
                "message": _text,
                "system_message": _text,
                "type": {
                    "enum": [*_TYPES.values(), "client_error", "server_error"],
                    "type": "string",
                },
                "status": {"type": "integer"},
                "details": {"type": "object"},
                "trace_id": _text,
                "timestamp": {"type": "string", "format": "date-time"},
            }
        ),
    }
)


def envelope(problem: Problem) -> dict[str, Any]:
    """Return the error body of the /v1 dialect; an exception's own facts go into ``details``."""
    status, text, code = problem.refusal
    kind = "server_error" if status >= 500 else _TYPES.get(status, "client_error")
    return {
        "success": False,
        "error": {
            "code": code,
            "message": text,
            "system_message": text,
            "type": kind,
            "status": status,
            "details": _details(problem.error),
            "trace_id": problem.trace_id,
            "timestamp": problem.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
    }


def _details(error: Exception) -> dict[str, Any]:
    if isinstance(error, InvalidRequest):
        return {"faults": [{"loc": fault.loc, "message": fault.msg} for fault in error.faults]}
    details: dict[str, Any] = {}
    if organizations := getattr(error, "organizations", None):
        details["organizations"] = describe_organizations(organizations)
    if drift := getattr(error, "drift", None):
        details["drift"] = list(drift)
    if blockers := getattr(error, "blockers", None):
        details["blockers"] = describe_blockers(blockers)
    return details


def describe_blockers(blockers: Any) -> list[dict[str, Any]]:
    """Return what a client is told of what must be settled before a deletion."""
    return [{"code": it.code, "text": it.text, "facts": dict(it.facts)} for it in blockers]


def describe_organizations(organizations: Any) -> list[dict[str, Any]]:
    """Return what a client is told of the organizations that a deletion would leave ownerless."""
    return [
        {"id": str(owned.id), "name": owned.name, "members": owned.members}
        for owned in organizations
    ]


class HouseApi(Contract):
    """The frame of our own endpoints: same envelope, no documented dialect to keep."""

    takes_tokens = True
    errors = PROTOCOL_ERRORS
    keeps_answers = False
    envelope = staticmethod(envelope)
