"""``DELETE /organizations/{id}``: an owner deletes an organization with everything it owns.

    DELETE /organizations/550e8400-e29b-41d4-a716-446655440000 HTTP/1.1
    Authorization: Bearer sk-…

    HTTP/1.1 204 No Content

At once and for ever: members, invitations, keys and managed users go with it. Of a large one all
access ends before the answer, a worker removes the rows, and ``Location`` names the address that
tells how far it is. Also served as
``/api/organizations/{id}``, the address in the published document's example.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from apikeys import scopes
from contracts import errors as protocol
from contracts import ids
from contracts.authentication import BEARER
from contracts.base import Contract, ErrorTable
from contracts.errors import Problem, Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from erasure import exceptions as erasure
from organizations import exceptions as organizations
from organizations.services import delete_organization

OWNER_ONLY = Refusal(403, "Access denied. Only the organization owner can delete the organization")

ERRORS: ErrorTable = {
    protocol.HostNotServed: Refusal(400, "This host is not served here"),
    protocol.InvalidIdempotencyKey: Refusal(
        400, "Idempotency-Key must be 1 to 255 printable characters"
    ),
    drf.NotAuthenticated: Refusal(401, "Unauthorized"),
    erasure.ActorGone: Refusal(401, "Unauthorized"),
    drf.PermissionDenied: OWNER_ONLY,
    organizations.NotOrganizationOwner: OWNER_ONLY,
    erasure.RightMissing: OWNER_ONLY,
    accounts.SomebodyElse: OWNER_ONLY,
    accounts.Oneself: OWNER_ONLY,
    erasure.SubjectNotFound: Refusal(404, "Organization not found"),
    protocol.UnknownPath: Refusal(404, "Not found"),
    drf.MethodNotAllowed: Refusal(405, "Only DELETE is allowed here"),
    organizations.SoleOwner: Refusal(
        409, "A user managed by this organization is the only owner of another organization"
    ),
    erasure.UnderLegalHold: Refusal(
        409, "This organization or a user that it manages must be retained for now"
    ),
    erasure.DeletionInProgress: Refusal(409, "A deletion of this organization is running"),
    erasure.Blocked: Refusal(
        409, "Something must be settled before this organization can be deleted"
    ),
    erasure.PlanDrifted: Refusal(409, "This organization has changed since the plan was made"),
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

text = {"type": "string"}
FAILURE = json_object(
    {"statusCode": {"type": "integer"}, "message": text, "trace_id": text}, "trace_id"
)
ID = path_parameter("id", "The organization's UUID.", format="uuid")


def envelope(problem: Problem) -> dict[str, Any]:
    trace = {"trace_id": problem.trace_id} if problem.refusal.status >= 500 else {}
    return {"statusCode": problem.refusal.status, "message": problem.refusal.text, **trace}


def read_id(text: str) -> UUID:
    if (found := ids.decode_uuid(text)) is None:
        raise erasure.SubjectNotFound("organization")
    return found


class Organizations(Contract):
    channel = "organizations"
    takes_tokens = True
    credentials = (BEARER,)
    rights = {"destroy": scopes.ORGANIZATIONS_DELETE}
    errors = ERRORS
    envelope = staticmethod(envelope)

    @operation(
        "deleteOrganization",
        tag="Contracts",
        summary="Delete organization (owner only)",
        description="Deletes an organization with everything it owns, at once and for ever.",
        parameters=[ID],
        success={204: (None, "Deleted", None)},
        errors=ERRORS,
        error_schema=FAILURE,
        envelope=envelope,
        auth=[{"bearerAuth": []}],
    )
    def destroy(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        organization_id = read_id(id)
        done = delete_organization(
            actor=self.actor, organization_id=organization_id, now=timezone.now()
        )
        where = f"/v1/deletions/{ids.encode(ids.DELETION, done.deletion_id)}"
        return Response(status=204, headers={} if done.is_finished else {"Location": where})


urlpatterns = [
    re_path(r"^organizations/(?P<id>[^/]*)$", Organizations.as_view({"delete": "destroy"})),
    re_path(
        r"^api/organizations/(?P<id>[^/]*)$",
        Organizations.as_view({"delete": "destroy"}, is_alias=True),
    ),
    re_path(r"^(api/)?organizations(/.*)?$", Organizations.unknown_path()),
]
