"""``/v1/organizations/{id}/deletion``: an owner deletes an organization, with a grace period.

    POST /v1/organizations/550e8400-e29b-41d4-a716-446655440000/deletion HTTP/1.1
    Authorization: Bearer sk-…
    {"slug": "acme"}

    HTTP/1.1 202 Accepted
    {"id": "del_…", "subject": {"kind": "organization", "id": "550e8400-…"}, "state": "scheduled",
     "requested_at": "…", "due_at": "…", "status_url": "https://…/v1/deletions/del_…?token=…"}

The slug is typed to confirm it. The organization closes at once with the users that it manages, and
can be restored as a whole: by the link that its owners are sent, or by any of them with ``POST
…/deletion/cancel``. ``DELETE /organizations/{id}`` is the other way: at once, for ever.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import exceptions as accounts
from apikeys import scopes
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import InvalidRequest, Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import StrictCharField, matches, validate
from erasure import exceptions as erasure
from erasure.api import deletions
from erasure.api.deletions import PROGRESS, describe
from erasure.api.previews import (
    CAP,
    PLAN,
    PLAN_ID,
    REFUSALS,
    SCHEDULED,
    describe_plan,
    describe_scheduled,
    read_cap,
)
from organizations import exceptions as organizations
from organizations.asking import (
    cancel_own_deletion,
    preview_organization,
    schedule_own_organization,
)

OWNER_ONLY = Refusal(403, "Only an owner can delete the organization.", "INSUFFICIENT_PERMISSIONS")

COMING_BACK = (
    erasure.NotRestorable,
    erasure.GraceExpired,
    erasure.TakenAlong,
    erasure.OwnersGone,
    erasure.RestoreError,
)
"""What only taking a deletion back is refused for."""

ERRORS: ErrorTable = {
    **REFUSALS,
    accounts.SomebodyElse: OWNER_ONLY,
    accounts.Oneself: OWNER_ONLY,
    erasure.RightMissing: OWNER_ONLY,
    organizations.NotOrganizationOwner: OWNER_ONLY,
    erasure.SubjectNotFound: Refusal(404, "Organization not found.", "ORGANIZATION_NOT_FOUND"),
    organizations.SoleOwner: Refusal(
        409,
        "A user managed by this organization is the only owner of another organization.",
        "SOLE_OWNER",
    ),
    organizations.SettlementRefused: Refusal(
        409, "This cannot be done with the organization.", "SETTLEMENT_REFUSED"
    ),
    organizations.WrongConfirmation: Refusal(
        409, "This is not the organization's slug. Nothing was done.", "WRONG_CONFIRMATION"
    ),
    **{kind: deletions.ERRORS[kind] for kind in COMING_BACK},
}
NEVER_PREVIEWED = (
    *house.NO_BODY,
    *COMING_BACK,
    organizations.WrongConfirmation,
    organizations.SoleOwner,
    organizations.SettlementRefused,
    erasure.Blocked,
    erasure.PlanDrifted,
    erasure.UnderLegalHold,
    erasure.DeletionInProgress,
    erasure.Paused,
    erasure.LedgerUnavailable,
)

SLUG: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 60,
    "pattern": r"^[^\x00-\x1f\x7f]+$",
}
ID = path_parameter("id", "The organization's UUID.", format="uuid")
COMMON: dict[str, Any] = {
    "tag": "Deletions",
    "errors": ERRORS,
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "idempotent": False,
}


class Closing(serializers.Serializer[Any]):
    slug = StrictCharField(
        trim_whitespace=False, max_length=60, validators=[matches(SLUG["pattern"])]
    )
    plan_id = StrictCharField(
        required=False, trim_whitespace=False, validators=[matches(PLAN_ID["pattern"])]
    )


def read_id(text: str) -> UUID:
    if (found := ids.decode_uuid(text)) is None:
        raise erasure.SubjectNotFound("organization")
    return found


class OrganizationDeletion(house.HouseApi):
    channel = "v1-deletion"
    rights = dict.fromkeys(("retrieve", "create", "cancel"), scopes.ORGANIZATIONS_DELETE)
    errors = ERRORS

    @operation(
        "previewOrganizationDeletion",
        summary="Preview the deletion of an organization",
        description="What the erasure would remove, detach, anonymise and keep, counted and not "
        "touched; what stands against it; whom it affects. Owners only. Scope: "
        "`organizations:delete`.",
        parameters=[ID, CAP],
        success={200: (PLAN, "The plan", None)},
        leave_out=NEVER_PREVIEWED,
        **COMMON,
    )
    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        cap = read_cap(request)
        plan = preview_organization(actor=self.actor, organization_id=read_id(id), cap=cap)
        return Response(describe_plan(plan))

    @operation(
        "scheduleOrganizationDeletion",
        summary="Delete an organization, with a grace period",
        description="Closes an organization and the users that it manages; the data is erased when "
        "the grace period is over. `slug` confirms it: the organization's own, as it is now. All "
        "its owners are told by mail. An archived organization may go, too. Owners only. Scope: "
        "`organizations:delete`.",
        parameters=[ID],
        body={
            **json_object({"slug": SLUG, "plan_id": PLAN_ID}, "plan_id"),
            "additionalProperties": False,
        },
        success={202: (SCHEDULED, "Scheduled", None)},
        leave_out=(erasure.UnderLegalHold, organizations.SettlementRefused, *COMING_BACK),
        **COMMON,
    )
    def create(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        wish = validate(Closing, request.data)
        done = schedule_own_organization(
            actor=self.actor, organization_id=read_id(id), now=timezone.now(), **wish
        )
        return Response(describe_scheduled(request, done), status=202)

    @operation(
        "cancelOrganizationDeletion",
        summary="Take the deletion of an organization back",
        description="Reopens a closed organization in its grace period, with everything that its "
        "deletion took; API keys stay ended. Any owner may do it, whoever asked for the deletion. "
        "Scope: `organizations:delete`.",
        parameters=[ID],
        success={200: (PROGRESS, "Taken back", None)},
        leave_out=(
            *house.NO_BODY,
            InvalidRequest,
            organizations.SoleOwner,
            organizations.SettlementRefused,
            organizations.WrongConfirmation,
            erasure.Blocked,
            erasure.PlanDrifted,
            erasure.UnderLegalHold,
            erasure.Paused,
            erasure.LedgerUnavailable,
        ),
        **COMMON,
    )
    def cancel(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        done = cancel_own_deletion(
            actor=self.actor, organization_id=read_id(id), now=timezone.now()
        )
        return Response(describe(done))


urlpatterns = [
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/deletion-preview$",
        OrganizationDeletion.as_view({"get": "retrieve"}),
    ),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/deletion$",
        OrganizationDeletion.as_view({"post": "create"}),
    ),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/deletion/cancel$",
        OrganizationDeletion.as_view({"post": "cancel"}),
    ),
]
