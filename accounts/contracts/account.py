"""``DELETE /account``: the user deletes their own account, for ever and at once.

    DELETE /account HTTP/1.1
    Authorization: Bearer sk-…                      (or x-api-key: sk-…)
    Content-Type: application/json

    {"confirm": true}

    HTTP/1.1 200 OK
    {"success":true,"data":{"deleted":true}}

Also served as ``/api-proxy/account``, the server address that the published document names.
"""

from typing import Any

from django.urls import path, re_path
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from accounts.services import erase_own_account
from apikeys import scopes
from contracts import errors as protocol
from contracts.base import Contract, ErrorTable
from contracts.errors import Problem, Refusal
from contracts.house import describe_organizations
from contracts.parsing import is_confirmed
from contracts.schema import json_object, operation
from erasure import exceptions as erasure
from organizations import exceptions as organizations

ERRORS: ErrorTable = {
    drf.NotAuthenticated: Refusal(401, "Missing or invalid API key.", "unauthorized"),
    erasure.ActorGone: Refusal(401, "Missing or invalid API key.", "unauthorized"),
    erasure.SubjectNotFound: Refusal(401, "Missing or invalid API key.", "unauthorized"),
    drf.PermissionDenied: Refusal(403, "This API key may not delete the account.", "forbidden"),
    erasure.RightMissing: Refusal(403, "This API key may not delete the account.", "forbidden"),
    accounts.SomebodyElse: Refusal(403, "This API key may not delete the account.", "forbidden"),
    accounts.Oneself: Refusal(403, "This API key may not delete the account.", "forbidden"),
    organizations.NotOrganizationOwner: Refusal(
        403, "This API key may not delete the account.", "forbidden"
    ),
    protocol.ConfirmationMissing: Refusal(
        400, 'Send {"confirm": true} to confirm the deletion.', "confirmation_required"
    ),
    drf.ParseError: Refusal(400, "The body must be one JSON object.", "invalid_request"),
    protocol.HostNotServed: Refusal(400, "This host is not served here.", "host_not_served"),
    protocol.InvalidRequest: Refusal(400, "The request is not valid.", "invalid_request"),
    protocol.InvalidIdempotencyKey: Refusal(
        400, "Idempotency-Key must be 1 to 255 printable characters.", "invalid_request"
    ),
    protocol.UnknownPath: Refusal(404, "There is nothing at this address.", "not_found"),
    drf.MethodNotAllowed: Refusal(405, "Only DELETE is allowed here.", "method_not_allowed"),
    organizations.SoleOwner: Refusal(
        409, "Delete or transfer the organizations that only you own first.", "sole_owner"
    ),
    erasure.UnderLegalHold: Refusal(
        409, "This account must be retained for now.", "retention_required"
    ),
    erasure.DeletionInProgress: Refusal(
        409, "A deletion of this account is running.", "deletion_in_progress"
    ),
    erasure.Blocked: Refusal(
        409, "Something must be settled before the account can go.", "deletion_blocked"
    ),
    erasure.PlanDrifted: Refusal(
        409, "The account has changed since it was looked at.", "plan_changed"
    ),
    erasure.Paused: Refusal(409, "Deletions are paused at the moment.", "deletions_paused"),
    organizations.SettlementRefused: Refusal(
        409, "An organization cannot be passed on like this.", "settlement_refused"
    ),
    protocol.IdempotentRequestRunning: Refusal(
        409, "The first request with this key is still running.", "request_in_progress"
    ),
    protocol.BodyTooLarge: Refusal(413, "The body is too large.", "payload_too_large"),
    drf.UnsupportedMediaType: Refusal(415, "The body must be JSON.", "unsupported_media_type"),
    protocol.IdempotencyKeyReused: Refusal(
        422, "This Idempotency-Key was used for another request.", "idempotency_key_reused"
    ),
    drf.Throttled: Refusal(429, "Too many requests.", "rate_limited"),
    erasure.LedgerUnavailable: Refusal(503, "Something went wrong on our side.", "internal_error"),
    Exception: Refusal(500, "Something went wrong on our side.", "internal_error"),
}

text, flag = {"type": "string"}, {"type": "boolean"}
SUCCESS = json_object({"success": {**flag, "const": True}, "data": json_object({"deleted": flag})})
FAILURE = json_object({"success": {**flag, "const": False}, "error": text, "message": text})


def envelope(problem: Problem) -> dict[str, Any]:
    body = {"success": False, "error": problem.refusal.code, "message": problem.refusal.text}
    if isinstance(problem.error, organizations.SoleOwner):
        return {**body, "organizations": describe_organizations(problem.error.organizations)}
    if problem.refusal.status >= 500:
        return {**body, "trace_id": problem.trace_id}
    return body


class Account(Contract):
    channel = "account"
    rights = {"destroy": scopes.ACCOUNT_DELETE}
    errors = ERRORS
    reads_body = True
    ends_credential = True
    envelope = staticmethod(envelope)

    def examine(self, request: Request) -> None:
        if not is_confirmed(request.data):
            raise protocol.ConfirmationMissing

    @operation(
        "deleteAccount",
        tag="Contracts",
        summary="Delete user account",
        description="Erases the caller's account and all personal data, at once and for ever.",
        body=json_object({"confirm": {**flag, "const": True}}),
        success={200: (SUCCESS, "Deleted", {"success": True, "data": {"deleted": True}})},
        errors=ERRORS,
        error_schema=FAILURE,
        envelope=envelope,
    )
    def destroy(self, request: Request) -> Response:
        erase_own_account(actor=self.actor, now=timezone.now())
        return Response({"success": True, "data": {"deleted": True}})


urlpatterns = [
    path("account", Account.as_view({"delete": "destroy"})),
    path("api-proxy/account", Account.as_view({"delete": "destroy"}, is_alias=True)),
    re_path(r"^(api-proxy|account)(/.*)?$", Account.unknown_path()),
]
