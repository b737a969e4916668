"""``DELETE /users/{userId}``: a platform deletes an end user whom its organization manages.

    DELETE /users/usr_… HTTP/1.1                    (or /users/{username})
    Authorization: bearer sk-…
    x-api-version: 2025-09

    HTTP/1.1 200 OK
    {"success":true}

The account is erased at once; what the activity log holds about the user stays until the platform
calls ``DELETE /users/{userId}/logs``, before or after, by id.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from accounts.services import erase_logs_of_managed_user, erase_managed_user
from apikeys import scopes
from contracts import errors as protocol
from contracts import ids
from contracts.authentication import BEARER
from contracts.base import Contract, ErrorTable
from contracts.errors import Problem, Refusal
from contracts.schema import header, json_object, operation
from contracts.schema import path as path_parameter
from erasure import exceptions as erasure
from organizations import exceptions as organizations

VERSION = "2025-09"

ERRORS: ErrorTable = {
    protocol.VersionMissing: Refusal(
        400, f"The x-api-version header must name a supported version: {VERSION}"
    ),
    protocol.HostNotServed: Refusal(400, "This host is not served here"),
    protocol.InvalidIdempotencyKey: Refusal(
        400, "Idempotency-Key must be 1 to 255 printable characters"
    ),
    drf.NotAuthenticated: Refusal(401, "Unauthorized"),
    erasure.ActorGone: Refusal(401, "Unauthorized"),
    drf.PermissionDenied: Refusal(403, "This API key may not delete users"),
    erasure.RightMissing: Refusal(403, "This API key may not delete users"),
    accounts.SomebodyElse: Refusal(403, "This API key may not delete this user"),
    organizations.NotOrganizationOwner: Refusal(403, "This API key may not delete this user"),
    accounts.Oneself: Refusal(403, "You cannot delete yourself"),
    erasure.SubjectNotFound: Refusal(404, "User not found"),
    protocol.UnknownPath: Refusal(404, "Not found"),
    drf.MethodNotAllowed: Refusal(405, "Only DELETE is allowed here"),
    organizations.SoleOwner: Refusal(409, "This user is the only owner of an organization"),
    erasure.UnderLegalHold: Refusal(409, "This user must be retained for now"),
    erasure.DeletionInProgress: Refusal(409, "A deletion of this user is running"),
    erasure.Blocked: Refusal(409, "Something must be settled before this user can be deleted"),
    erasure.PlanDrifted: Refusal(409, "This user has changed since the plan was made"),
    erasure.Paused: Refusal(409, "Deletions are paused"),
    organizations.SettlementRefused: Refusal(409, "An organization cannot be passed on like this"),
    protocol.IdempotentRequestRunning: Refusal(
        409, "The first request with this Idempotency-Key is still running"
    ),
    protocol.IdempotencyKeyReused: Refusal(
        422, "This Idempotency-Key was used for another request"
    ),
    drf.Throttled: Refusal(429, "Too many requests"),
    erasure.LedgerUnavailable: Refusal(503, "Something went wrong on our side"),
    Exception: Refusal(500, "Something went wrong on our side"),
}

FAILURE = json_object({"message": {"type": "string"}, "trace_id": {"type": "string"}}, "trace_id")
COMMON: dict[str, Any] = {
    "tag": "Contracts",
    "parameters": [
        path_parameter("userId", "The id or the username of a managed user.", minLength=1),
        header("x-api-version", "The version of the API.", required=True, enum=[VERSION]),
    ],
    "success": {
        200: (json_object({"success": {"type": "boolean"}}), "Done", {"success": True}),
    },
    "errors": ERRORS,
    "error_schema": FAILURE,
    "auth": [{"bearerAuth": []}],
}


def envelope(problem: Problem) -> dict[str, Any]:
    trace = {"trace_id": problem.trace_id} if problem.refusal.status >= 500 else {}
    return {"message": problem.refusal.text, **trace}


def read_reference(user_id: str) -> UUID | str:
    if not user_id.isprintable():
        raise erasure.SubjectNotFound("user")
    return ids.decode(ids.USER, user_id) or user_id


class Users(Contract):
    channel = "users"
    takes_tokens = True
    credentials = (BEARER,)
    rights = dict.fromkeys(("destroy", "destroy_logs"), scopes.USERS_DELETE)
    errors = ERRORS
    envelope = staticmethod(envelope)

    def examine(self, request: Request) -> None:
        if request.headers.get("x-api-version") != VERSION:
            raise protocol.VersionMissing

    @operation(
        "delete-a-user",
        summary="Delete a user",
        description="Erases the account of a managed user; its activity log stays.",
        envelope=envelope,
        **COMMON,
    )
    def destroy(self, request: Request, userId: str) -> Response:  # noqa: N803 - documented name
        reference = read_reference(userId)
        erase_managed_user(actor=self.actor, reference=reference, now=timezone.now())
        return Response({"success": True})

    @operation(
        "delete-user-logs",
        summary="Delete a user's logs",
        description="Erases what the activity log holds about a managed user. Repeats are fine.",
        envelope=envelope,
        **COMMON,
    )
    def destroy_logs(self, request: Request, userId: str) -> Response:  # noqa: N803
        reference = read_reference(userId)
        erase_logs_of_managed_user(actor=self.actor, reference=reference, now=timezone.now())
        return Response({"success": True})


urlpatterns = [
    re_path(r"^users/(?P<userId>[^/]*)$", Users.as_view({"delete": "destroy"})),
    re_path(r"^users/(?P<userId>[^/]*)/logs$", Users.as_view({"delete": "destroy_logs"})),
    re_path(r"^users(/.*)?$", Users.unknown_path()),
]
