"""``DELETE /v1/user/{user_id}``: the user soft-deletes their own account.

    DELETE /v1/user/usr_… HTTP/1.1
    X-API-Key: sk-…                                 (or Authorization: Bearer sk-…)

    HTTP/1.1 200 OK
    {"success":true,"message":"User account deleted successfully","user_id":"usr_…"}

The flags are set, credentials and sessions end, the data stays until the grace period is over.
Somebody else's id answers 403 and an unknown one 404, as the published document demands. That
tells apart nothing that could be guessed: ids carry at least 62 random bits and the millisecond of
their birth. ``GET`` on the same address returns the caller's own profile.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from accounts.services import Profile, get_own_profile, soft_delete_own_account
from apikeys import scopes
from contracts import house, ids
from contracts.base import Contract, ErrorTable
from contracts.errors import Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from erasure import exceptions as erasure
from organizations import exceptions as organizations

ONLY_OWN = Refusal(403, "You can only delete your own account.", "INSUFFICIENT_PERMISSIONS")

ERRORS: ErrorTable = {
    **house.PROTOCOL_ERRORS,
    erasure.ActorGone: house.NOT_AUTHENTICATED,
    accounts.SomebodyElse: ONLY_OWN,
    accounts.Oneself: ONLY_OWN,
    erasure.RightMissing: ONLY_OWN,
    organizations.NotOrganizationOwner: ONLY_OWN,
    erasure.SubjectNotFound: Refusal(404, "User not found.", "USER_NOT_FOUND"),
    organizations.SoleOwner: Refusal(
        409, "Delete or transfer the organizations that only you own first.", "SOLE_OWNER"
    ),
    erasure.UnderLegalHold: Refusal(
        409, "This account must be retained for now.", "RETENTION_REQUIRED"
    ),
    erasure.DeletionInProgress: Refusal(
        409, "A deletion of this account is running.", "DELETION_IN_PROGRESS"
    ),
    erasure.Blocked: Refusal(
        409, "Something must be settled before this account can go.", "DELETION_BLOCKED"
    ),
    erasure.PlanDrifted: Refusal(
        409, "This account has changed since the plan was made.", "PLAN_CHANGED"
    ),
    erasure.Paused: Refusal(409, "Deletions are paused at the moment.", "DELETIONS_PAUSED"),
    organizations.SettlementRefused: Refusal(
        409, "An organization cannot be passed on like this.", "SETTLEMENT_REFUSED"
    ),
    erasure.LedgerUnavailable: Refusal(503, "Something went wrong on our side.", "INTERNAL_ERROR"),
}

text = {"type": "string"}
SUCCESS = json_object(
    {"success": {"type": "boolean", "const": True}, "message": text, "user_id": text}
)
PROFILE = json_object(
    {
        **dict.fromkeys(("id", "username", "email", "name"), text),
        "created_at": {**text, "format": "date-time"},
    }
)
USER_ID = path_parameter("user_id", "The caller's own id.", pattern=ids.USER_PATTERN)
SAMPLE = {"success": True, "message": "User account deleted successfully", "user_id": "usr_…"}
COMMON: dict[str, Any] = {
    "tag": "Contracts",
    "parameters": [USER_ID],
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "leave_out": house.NO_BODY,
}


def read_id(user_id: str) -> UUID:
    if (found := ids.decode(ids.USER, user_id)) is None:
        raise erasure.SubjectNotFound("user")
    return found


def describe(profile: Profile) -> dict[str, Any]:
    return {
        "id": ids.encode(ids.USER, profile.id),
        "username": profile.username,
        "email": profile.email,
        "name": profile.name,
        "created_at": profile.date_joined.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


class V1User(Contract):
    channel = "v1-user"
    takes_tokens = True
    rights = {"destroy": scopes.ACCOUNT_DELETE, "retrieve": scopes.ACCOUNT_READ}
    errors = ERRORS
    ends_credential = True
    envelope = staticmethod(house.envelope)

    @operation(
        "deleteUser",
        summary="Delete user",
        description="Soft-deletes the caller's own account.",
        success={200: (SUCCESS, "Deleted", SAMPLE)},
        errors=ERRORS,
        **COMMON,
    )
    def destroy(self, request: Request, user_id: str) -> Response:
        done = soft_delete_own_account(
            actor=self.actor, user_id=read_id(user_id), now=timezone.now()
        )
        message = "User account deleted successfully"
        shown = ids.encode(ids.USER, done.user_id)
        return Response({"success": True, "message": message, "user_id": shown})

    @operation(
        "getUser",
        summary="Get profile",
        description="Returns the caller's own profile.",
        success={200: (PROFILE, "The profile", None)},
        errors=ERRORS,
        idempotent=False,
        **COMMON,
    )
    def retrieve(self, request: Request, user_id: str) -> Response:
        profile = get_own_profile(actor=self.actor, user_id=read_id(user_id))
        return Response(describe(profile))


urlpatterns = [
    re_path(
        r"^v1/user/(?P<user_id>[^/]*)$",
        V1User.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    re_path(r"^v1/user(/.*)?$", V1User.unknown_path()),
]
