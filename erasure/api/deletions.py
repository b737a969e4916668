"""``/v1/deletions/{id}``: how far a deletion is, its receipt, and the way back.

    GET /v1/deletions/del_…?token=… HTTP/1.1        (or X-Status-Token: …, or a key)

    HTTP/1.1 200 OK
    {"id": "del_…", "state": "scheduled", "due_at": "…", "next": {"step": "erase", "at": "…"}, …}

Whoever asked for the deletion may look, by their key or by the token in ``status_url``, which works
when the account and all its keys are gone; so may the organization that managed the user, and
staff. To everybody else the deletion does not exist. Only a digest of the token is stored, and it
is compared in constant time; a token, when one is sent, decides.
"""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import scopes
from contracts import house, ids
from contracts.authentication import key_of
from contracts.base import ErrorTable
from contracts.errors import InvalidRequest, Refusal
from contracts.schema import header, json_object, operation, query
from contracts.schema import path as path_parameter
from contracts.throttling import AddressThrottle
from contracts.validation import StrictCharField, matches, validate
from erasure import exceptions
from erasure.api.previews import (
    DELETION_ID,
    PROTOCOL,
    SUBJECT,
    describe_subject,
    moment,
    number,
    optional_moment,
    rows,
    text,
)
from erasure.progress import Progress, read_progress, read_receipt, restore_deletion
from erasure.watching import Headway

TOKEN_HEADER = "X-Status-Token"  # noqa: S105 - a header's name
ON_BEHALF = frozenset({scopes.USERS_ERASE, scopes.DELETIONS_RESTORE})
"""Scopes by which a member of staff acts as such."""
LOOKING = ON_BEHALF | {
    scopes.ACCOUNT_READ,
    scopes.ACCOUNT_DELETE,
    scopes.ORGANIZATIONS_DELETE,
    scopes.USERS_DELETE,
}
"""Whoever may read or delete an account may see how far a deletion is."""

ERRORS: ErrorTable = {
    **PROTOCOL,
    exceptions.ActorGone: house.NOT_AUTHENTICATED,
    exceptions.RightMissing: house.PROTOCOL_ERRORS[PermissionDenied],
    exceptions.DeletionNotFound: Refusal(404, "Deletion not found.", "DELETION_NOT_FOUND"),
    exceptions.ReceiptNotReady: Refusal(
        409, "A receipt is written when the erasure is finished.", "RECEIPT_NOT_READY"
    ),
    exceptions.NotRestorable: Refusal(
        409, "There is no scheduled deletion to undo.", "NOT_RESTORABLE"
    ),
    exceptions.GraceExpired: Refusal(409, "The time to restore is over.", "GRACE_EXPIRED"),
    exceptions.TakenAlong: Refusal(
        409, "It went along with another deletion, and comes back with that.", "TAKEN_ALONG"
    ),
    exceptions.DeletionInProgress: Refusal(
        409, "Another deletion of the same subject is running.", "DELETION_IN_PROGRESS"
    ),
    exceptions.OwnersGone: Refusal(
        409, "None of its owners is left. One of them must come back first.", "OWNERS_GONE"
    ),
    exceptions.RestoreError: Refusal(
        409, "Somebody else bears the name or the address by now.", "NAME_TAKEN"
    ),
}
RESTORING = (
    exceptions.NotRestorable,
    exceptions.GraceExpired,
    exceptions.TakenAlong,
    exceptions.DeletionInProgress,
    exceptions.OwnersGone,
    exceptions.RestoreError,
    exceptions.RightMissing,
    exceptions.ActorGone,
)
"""What only a restore is refused for."""

PROGRESS = json_object(
    {
        "id": DELETION_ID,
        "subject": SUBJECT,
        "state": {
            **text,
            "enum": ["scheduled", "running", "completed", "cancelled", "failed"],
        },
        "generation": number,
        "requested_at": moment,
        "due_at": moment,
        "finished_at": optional_moment,
        "attempts": number,
        "last_error": {"type": ["string", "null"]},
        "held": {"type": "boolean"},
        "counts": rows,
        "next": json_object(
            {
                "step": {**text, "enum": ["nothing", "running", "held", "erase", "retry"]},
                "at": optional_moment,
            }
        ),
        "has_receipt": {"type": "boolean"},
        "progress": {
            "oneOf": [
                {"type": "null"},
                json_object(
                    {
                        "rows_done": number,
                        "rows_expected": number,
                        "rows_per_second": number,
                        "subjects_done": number,
                        "ends_at": optional_moment,
                    }
                ),
            ]
        },
    }
)
REFERENCE = {**text, "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]+$"}
PATH = path_parameter("deletion_id", "The deletion's id.", pattern=ids.DELETION_PATTERN)
TOKENS = [
    query("token", "The token of the status link, in place of a key."),
    header(TOKEN_HEADER, "The same as a header, which no log writes down."),
]
COMMON: dict[str, Any] = {
    "tag": "Deletions",
    "errors": ERRORS,
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "idempotent": False,
}
BY_LINK: Any = ({"bearerAuth": []}, {"apiKeyHeader": []}, {})


class Restoring(serializers.Serializer[Any]):
    reference = StrictCharField(
        max_length=200,
        required=False,
        trim_whitespace=False,
        validators=[matches(REFERENCE["pattern"])],
    )


def read_id(deletion_id: str) -> UUID:
    if (found := ids.decode(ids.DELETION, deletion_id)) is None:
        raise exceptions.DeletionNotFound
    return found


def describe(progress: Progress) -> dict[str, Any]:
    return {
        "id": ids.encode(ids.DELETION, progress.id),
        "subject": describe_subject(progress.subject),
        "state": progress.state,
        "generation": progress.generation,
        "requested_at": progress.requested_at,
        "due_at": progress.due_at,
        "finished_at": progress.finished_at,
        "attempts": progress.attempts,
        "last_error": progress.last_error or None,
        "held": progress.held,
        "counts": progress.counts,
        "next": {"step": progress.next_step, "at": progress.next_at},
        "has_receipt": progress.has_receipt,
        "progress": describe_headway(progress.headway),
    }


def describe_headway(headway: Headway | None) -> dict[str, Any] | None:
    if headway is None:
        return None
    return {
        "rows_done": headway.done,
        "rows_expected": headway.expected,
        "rows_per_second": round(headway.rate),
        "subjects_done": headway.ahead,
        "ends_at": headway.ends_at,
    }


class Deletions(house.HouseApi):
    channel = "deletions"
    errors = ERRORS

    @property
    def token(self) -> str:
        given: str = self.request.headers.get(TOKEN_HEADER, "")
        return given or str(self.request.query_params.get("token", ""))

    @property
    def reach(self) -> dict[str, Any]:
        """How the caller may see a deletion: by a token, or by who the key stands for."""
        if self.token:
            return {"token": self.token}
        return {"actor": self.actor, "as_staff": bool(ON_BEHALF & key_of(self.request).scopes)}

    def admit(self, request: Request) -> None:
        if self.token:
            return
        self.authenticate(request)
        if not LOOKING & key_of(request).scopes:
            raise PermissionDenied

    def get_throttles(self) -> list[Any]:
        return [AddressThrottle()] if self.token else super().get_throttles()

    @operation(
        "getDeletion",
        summary="Follow a deletion",
        description="How far a deletion is. Works with the status link when the account is gone.",
        parameters=[PATH, *TOKENS],
        success={200: (PROGRESS, "The deletion", None)},
        auth=BY_LINK,
        leave_out=(*house.NO_BODY, InvalidRequest, exceptions.ReceiptNotReady, *RESTORING),
        **COMMON,
    )
    def retrieve(self, request: Request, deletion_id: str) -> Response:
        found = read_progress(deletion_id=read_id(deletion_id), now=timezone.now(), **self.reach)
        return Response(describe(found))

    @operation(
        "getDeletionReceipt",
        summary="Get the receipt of an erasure",
        description="The signed statement of what a finished erasure removed: a compact JWS "
        "(RFC 7515), to be verified with the keys at `/.well-known/jwks.json`.",
        parameters=[PATH, *TOKENS],
        success={(200, "application/jose"): (text, "The receipt", None)},
        auth=BY_LINK,
        leave_out=(*house.NO_BODY, InvalidRequest, *RESTORING),
        **COMMON,
    )
    def receipt(self, request: Request, deletion_id: str) -> HttpResponse:
        receipt = read_receipt(deletion_id=read_id(deletion_id), **self.reach)
        return HttpResponse(receipt, content_type="application/jose")


class Restores(house.HouseApi):
    channel = "deletions"
    rights = {"create": scopes.DELETIONS_RESTORE}
    errors = ERRORS

    @operation(
        "restoreDeletion",
        summary="Restore what a deletion took",
        description="Undoes a soft delete within its grace period, on behalf of staff. What this "
        "deletion took comes back; API keys and sign-ins stay ended. The subject itself restores "
        "by the link in its mail.",
        parameters=[PATH],
        body={**json_object({"reference": REFERENCE}, "reference"), "additionalProperties": False},
        body_required=False,
        success={200: (PROGRESS, "Restored", None)},
        leave_out=(exceptions.ReceiptNotReady,),
        **COMMON,
    )
    def create(self, request: Request, deletion_id: str) -> Response:
        wish = validate(Restoring, request.data)
        done = restore_deletion(
            actor=self.actor, deletion_id=read_id(deletion_id), now=timezone.now(), **wish
        )
        return Response(describe(done))


urlpatterns = [
    re_path(
        r"^v1/deletions/(?P<deletion_id>[^/]*)$",
        Deletions.as_view({"get": "retrieve"}),
        name="deletion",
    ),
    re_path(
        r"^v1/deletions/(?P<deletion_id>[^/]*)/receipt$", Deletions.as_view({"get": "receipt"})
    ),
    re_path(r"^v1/deletions/(?P<deletion_id>[^/]*)/restore$", Restores.as_view({"post": "create"})),
]
