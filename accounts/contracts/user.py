"""``DELETE /user/{userId}``: an operator erases a user, never themselves.

    DELETE /user/usr_… HTTP/1.1
    Authorization: Bearer sk-…

    HTTP/1.1 200 OK
    {"success":true,"message":"User deleted successfully"}

The account goes for ever and at once, activity log included.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from accounts.services import erase_user_as_operator
from apikeys import scopes
from contracts import errors as protocol
from contracts import ids
from contracts.authentication import BEARER
from contracts.base import Contract, ErrorTable
from contracts.errors import Fault, InvalidRequest, Problem, Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from erasure import exceptions as erasure
from organizations import exceptions as organizations

ERRORS: ErrorTable = {
    protocol.HostNotServed: Refusal(400, "This host is not served here"),
    protocol.InvalidIdempotencyKey: Refusal(
        400, "Idempotency-Key must be 1 to 255 printable characters"
    ),
    drf.NotAuthenticated: Refusal(401, "Not authenticated"),
    erasure.ActorGone: Refusal(401, "Not authenticated"),
    drf.PermissionDenied: Refusal(403, "Not enough permissions"),
    erasure.RightMissing: Refusal(403, "Not enough permissions"),
    accounts.SomebodyElse: Refusal(403, "Not enough permissions"),
    organizations.NotOrganizationOwner: Refusal(403, "Not enough permissions"),
    accounts.Oneself: Refusal(403, "Users cannot delete their own accounts"),
    erasure.SubjectNotFound: Refusal(404, "User not found"),
    protocol.UnknownPath: Refusal(404, "Not Found"),
    drf.MethodNotAllowed: Refusal(405, "Method Not Allowed"),
    organizations.SoleOwner: Refusal(409, "User is the sole owner of an organization"),
    erasure.UnderLegalHold: Refusal(409, "User must be retained for now"),
    erasure.DeletionInProgress: Refusal(409, "A deletion of this user is running"),
    erasure.Blocked: Refusal(409, "Something must be settled before the user can be deleted"),
    erasure.PlanDrifted: Refusal(409, "The user has changed since the plan was made"),
    erasure.Paused: Refusal(409, "Deletions are paused"),
    organizations.SettlementRefused: Refusal(409, "An organization cannot be passed on like this"),
    protocol.IdempotentRequestRunning: Refusal(
        409, "The first request with this Idempotency-Key is still running"
    ),
    InvalidRequest: Refusal(422, "Validation Error"),
    protocol.IdempotencyKeyReused: Refusal(
        422, "This Idempotency-Key was used for another request"
    ),
    drf.Throttled: Refusal(429, "Too Many Requests"),
    erasure.LedgerUnavailable: Refusal(503, "Internal Server Error"),
    Exception: Refusal(500, "Internal Server Error"),
}

text = {"type": "string"}
SUCCESS = json_object({"success": {"type": "boolean"}, "message": text})
DONE = {"success": True, "message": "User deleted successfully"}
FAULT = json_object(
    {
        "loc": {"type": "array", "items": {"anyOf": [text, {"type": "integer"}]}},
        "msg": text,
        "type": text,
        "input": {},
        "ctx": {"type": "object"},
    },
    "input",
    "ctx",
)
FAILURE = json_object(
    {"detail": {"anyOf": [text, {"type": "array", "items": FAULT}]}, "trace_id": text}, "trace_id"
)


EMPTY = ("string_too_short", "String should have at least 1 character", {"min_length": 1})
MALFORMED = (
    "string_pattern_mismatch",
    f"String should match pattern '{ids.USER_PATTERN}'",
    {"pattern": ids.USER_PATTERN},
)


def envelope(problem: Problem) -> dict[str, Any]:
    if isinstance(problem.error, InvalidRequest):
        return {"detail": [fault.as_dict() for fault in problem.error.faults]}
    trace = {"trace_id": problem.trace_id} if problem.refusal.status >= 500 else {}
    return {"detail": problem.refusal.text, **trace}


def read_id(user_id: str) -> UUID:
    if (found := ids.decode(ids.USER, user_id)) is not None:
        return found
    kind, message, context = MALFORMED if user_id else EMPTY
    raise InvalidRequest(Fault(["path", "userId"], message, kind, user_id, context))


class User(Contract):
    channel = "user"
    credentials = (BEARER,)
    rights = {"destroy": scopes.USERS_ERASE}
    errors = ERRORS
    envelope = staticmethod(envelope)

    @operation(
        "deleteUserByUserId",
        tag="Contracts",
        summary="Delete User",
        description="Erases a user and all associated data. Operators cannot erase themselves.",
        parameters=[
            path_parameter("userId", "The user's id.", minLength=1, pattern=ids.USER_PATTERN)
        ],
        success={200: (SUCCESS, "Deleted", DONE)},
        errors=ERRORS,
        error_schema=FAILURE,
        envelope=envelope,
        auth=[{"bearerAuth": []}],
    )
    def destroy(self, request: Request, userId: str) -> Response:  # noqa: N803 - documented name
        erase_user_as_operator(actor=self.actor, user_id=read_id(userId), now=timezone.now())
        return Response(DONE)


urlpatterns = [
    re_path(r"^user/(?P<userId>[^/]*)$", User.as_view({"delete": "destroy"})),
    re_path(r"^user(/.*)?$", User.unknown_path()),
]
