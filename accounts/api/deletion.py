"""``/v1/user/{user_id}/deletion``: look before one leaves, and leave with everything settled.

    POST /v1/user/usr_…/deletion HTTP/1.1
    Authorization: Bearer sk-…
    {"plan_id": "plan_…", "organizations": {"550e8400-…": {"transfer_to": "usr_…"}}}

    HTTP/1.1 202 Accepted
    {"id": "del_…", "subject": {"kind": "user", "id": "usr_…"}, "state": "scheduled",
     "requested_at": "…", "due_at": "…", "status_url": "https://…/v1/deletions/del_…?token=…"}

One's own account only. The keys that asked are dead when the answer comes; ``status_url`` works on.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from accounts.asking import preview_own_account, schedule_own_deletion
from apikeys import scopes
from contracts import house, ids
from contracts.authentication import key_of
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import StrictCharField, matches, validate
from erasure import exceptions as erasure
from erasure.api.previews import (
    CAP,
    PLAN,
    PLAN_ID,
    REFUSALS,
    SCHEDULED,
    describe_plan,
    describe_scheduled,
    read_cap,
    text,
)
from organizations import exceptions as organizations
from organizations.leaving import DELETE, LEAVE, Settlement

ONLY_OWN = Refusal(403, "You can only delete your own account.", "INSUFFICIENT_PERMISSIONS")

ERRORS: ErrorTable = {
    **REFUSALS,
    accounts.SomebodyElse: ONLY_OWN,
    accounts.Oneself: ONLY_OWN,
    erasure.RightMissing: ONLY_OWN,
    organizations.NotOrganizationOwner: ONLY_OWN,
    erasure.SubjectNotFound: Refusal(404, "User not found.", "USER_NOT_FOUND"),
    organizations.SoleOwner: Refusal(
        409, "Delete or transfer the organizations that only you own first.", "SOLE_OWNER"
    ),
    organizations.SettlementRefused: Refusal(
        409, "What you want for one of the organizations cannot be done.", "SETTLEMENT_REFUSED"
    ),
}
NEVER_PREVIEWED = (
    *house.NO_BODY,
    organizations.SoleOwner,
    organizations.SettlementRefused,
    erasure.Blocked,
    erasure.PlanDrifted,
    erasure.UnderLegalHold,
    erasure.DeletionInProgress,
    erasure.Paused,
    erasure.LedgerUnavailable,
)

USER_ID = path_parameter("user_id", "The caller's own id.", pattern=ids.USER_PATTERN)
TRANSFER = {
    **json_object({"transfer_to": {**text, "pattern": ids.USER_PATTERN}}),
    "additionalProperties": False,
}
SETTLEMENTS = {
    "type": "object",
    "description": "What becomes of each organization of yours: `delete` deletes it along with "
    "you, `leave` leaves it to its other owners, `transfer_to` makes a member its owner. All or "
    "nothing; organizations that you leave out must have another owner.",
    "propertyNames": {"format": "uuid"},
    "additionalProperties": {"oneOf": [{**text, "enum": ["delete", "leave"]}, TRANSFER]},
}
BODY = {
    **json_object({"plan_id": PLAN_ID, "organizations": SETTLEMENTS}, "plan_id", "organizations"),
    "additionalProperties": False,
}
COMMON: dict[str, Any] = {
    "tag": "Deletions",
    "errors": ERRORS,
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "idempotent": False,
}


class SettlementsField(serializers.Field[Any, Any, Any, Any]):
    """Reads ``{"<id>": {"transfer_to": "usr_…"} | "delete" | "leave"}``."""

    def to_internal_value(self, data: Any) -> dict[UUID, Settlement]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Must be an object.")
        found: dict[UUID, Settlement] = {}
        faults: dict[str, list[str]] = {}
        for key, wish in data.items():
            pk = ids.decode_uuid(key)
            settlement = _read_settlement(wish)
            if pk is None:
                faults[key] = ["This is no organization's id."]
            elif pk in found:
                faults[key] = ["This organization is named twice."]
            elif settlement is None:
                faults[key] = ['Must be "delete", "leave" or {"transfer_to": "usr_…"}.']
            else:
                found[pk] = settlement
        if faults:
            raise serializers.ValidationError(faults)
        return found


def _read_settlement(wish: Any) -> Settlement | None:
    if isinstance(wish, str):
        return {"delete": DELETE, "leave": LEAVE}.get(wish)
    if not isinstance(wish, Mapping) or wish.keys() != {"transfer_to"}:
        return None
    heir = wish["transfer_to"]
    pk = ids.decode(ids.USER, heir) if isinstance(heir, str) else None
    return Settlement.transfer_to(pk) if pk else None


class Leaving(serializers.Serializer[Any]):
    plan_id = StrictCharField(
        required=False, trim_whitespace=False, validators=[matches(PLAN_ID["pattern"])]
    )
    organizations = SettlementsField(required=False)


def read_id(user_id: str) -> UUID:
    if (found := ids.decode(ids.USER, user_id)) is None:
        raise erasure.SubjectNotFound("user")
    return found


class DeletionPreview(house.HouseApi):
    channel = "v1-deletion"
    rights = {"retrieve": scopes.ACCOUNT_READ}
    errors = ERRORS

    @operation(
        "previewUserDeletion",
        summary="Preview the deletion of one's account",
        description="What the erasure would remove, detach, anonymise and keep, counted and not "
        "touched; what stands against it; whom it affects. Scope: `account:read`.",
        parameters=[USER_ID, CAP],
        success={200: (PLAN, "The plan", None)},
        leave_out=NEVER_PREVIEWED,
        **COMMON,
    )
    def retrieve(self, request: Request, user_id: str) -> Response:
        plan = preview_own_account(
            actor=self.actor, user_id=read_id(user_id), cap=read_cap(request)
        )
        return Response(describe_plan(plan))


class Deletion(house.HouseApi):
    channel = "v1-deletion"
    rights = {"create": scopes.ACCOUNT_DELETE}
    errors = ERRORS
    ends_credential = True

    @operation(
        "scheduleUserDeletion",
        summary="Delete one's account",
        description="Soft-deletes the caller's own account: keys and sign-ins end at once, and "
        "the data is erased when the grace period is over. Scope: `account:delete`, and "
        "`organizations:delete` where organizations are deleted or transferred.",
        parameters=[USER_ID],
        body=BODY,
        body_required=False,
        success={202: (SCHEDULED, "Scheduled", None)},
        leave_out=(erasure.UnderLegalHold,),
        **COMMON,
    )
    def create(self, request: Request, user_id: str) -> Response:
        wish = validate(Leaving, request.data)
        self.require_scope_for(wish.get("organizations", {}))
        done = schedule_own_deletion(
            actor=self.actor, user_id=read_id(user_id), now=timezone.now(), **wish
        )
        return Response(describe_scheduled(request, done), status=202)

    def require_scope_for(self, settlements: Mapping[UUID, Settlement]) -> None:
        """A key that may only delete its account may not give an organization away on the way."""
        disposes = any(one != LEAVE for one in settlements.values())
        if disposes and scopes.ORGANIZATIONS_DELETE not in key_of(self.request).scopes:
            raise PermissionDenied


urlpatterns = [
    re_path(
        r"^v1/user/(?P<user_id>[^/]*)/deletion-preview$",
        DeletionPreview.as_view({"get": "retrieve"}),
    ),
    re_path(r"^v1/user/(?P<user_id>[^/]*)/deletion$", Deletion.as_view({"post": "create"})),
]
