"""``/v1/audit-events``: what happened, for those who answer for an organization, and for staff.

    GET /v1/audit-events?action=member.&since=2026-11-01T00:00:00Z&limit=100 HTTP/1.1

    HTTP/1.1 200 OK
    {"data": [{"id": "evt_…", "at": "…", "action": "member.added", …}], "next_cursor": "evt_…"}

A key of an organization sees that organization's events; a user's key those of the organizations
that the user owns or administers; staff with the permission to view events see all of them.
Personal values are never shown here. ``/v1/audit-events/export`` streams the same events as a file
that proves itself.
"""

from collections.abc import Generator
from contextlib import closing, suppress
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.urls import path
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import scopes
from audit.api.fields import (
    ACTION_PATTERN,
    EVENT,
    EVENT_ID,
    MOST,
    PARTY_PATTERN,
    Query,
    describe,
    read_query,
)
from audit.exporting import NothingSealed, export
from audit.querying import Wanted, read_page
from audit.tiles import DamagedTree
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.schema import json_object, operation, query
from erasure.exceptions import RightMissing
from erasure.rights import require_staff
from organizations.services import administered_by

ERRORS: ErrorTable = {
    **house.PROTOCOL_ERRORS,
    NothingSealed: Refusal(409, "Nothing is sealed yet. Try again in a moment.", "NOTHING_SEALED"),
}
VIEW = "audit.view_auditevent"

FILTERS = [
    query(
        "action",
        "An action such as `user.erased`; `user.` means all of users.",
        pattern=ACTION_PATTERN,
    ),
    query(
        "subject",
        "The id of whom it happened to: `usr_…` or an organization's.",
        pattern=PARTY_PATTERN,
    ),
    query("actor", "The id of who did it.", pattern=PARTY_PATTERN),
    query("organization", "An organization's id.", format="uuid"),
    query("since", "From then on.", format="date-time"),
    query("until", "Before then.", format="date-time"),
]
PAGING = [
    query("cursor", "`next_cursor` of the page before.", pattern=ids.EVENT_PATTERN),
    query("limit", "So many at most, by default 50.", type="integer", minimum=1, maximum=MOST),
]
PAGE = json_object(
    {
        "data": {"type": "array", "items": EVENT},
        "next_cursor": {**EVENT_ID, "type": ["string", "null"]},
    }
)
COMMON: dict[str, Any] = {
    "tag": "Audit log",
    "errors": ERRORS,
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "idempotent": False,
}


class AuditEvents(house.HouseApi):
    channel = "audit-events"
    rights = dict.fromkeys(("index", "export"), scopes.AUDIT_READ)
    errors = ERRORS

    @operation(
        "listAuditEvents",
        summary="List audit events",
        description="What happened, newest first. Pages are followed by `next_cursor`.",
        parameters=[*FILTERS, *PAGING],
        success={200: (PAGE, "A page of events", None)},
        leave_out=(*house.NO_BODY, NothingSealed),
        **COMMON,
    )
    def index(self, request: Request) -> Response:
        limit = self.asked.limit
        found = read_page(self.wanted, before=self.asked.cursor, limit=limit + 1)
        last = found[limit - 1] if len(found) > limit else None
        return Response(
            {
                "data": [describe(event) for event in found[:limit]],
                "next_cursor": ids.encode(ids.EVENT, last.pk) if last else None,
            }
        )

    @operation(
        "exportAuditEvents",
        summary="Export audit events",
        description="Streams what is sealed as lines of JSON, oldest first, with what it takes to "
        "check them against a signed checkpoint: `python -m audit.offline FILE --key KEY`, with "
        "the keys at `/.well-known/jwks.json`. Personal values are not in it.",
        parameters=FILTERS,
        success={(200, "application/jsonl"): ({"type": "string"}, "The export", None)},
        leave_out=house.NO_BODY,
        **COMMON,
    )
    def export(self, request: Request) -> StreamingHttpResponse:
        lines = _stream(export(self.wanted))
        return StreamingHttpResponse(lines, content_type="application/jsonl")

    @property
    def asked(self) -> Query:
        """The query; raises InvalidRequest when it has not the right form."""
        return read_query(self.request.query_params, is_paged=self.action == "index")

    @property
    def wanted(self) -> Wanted:
        """Which events are asked for, within what the caller may see."""
        asked = self.asked
        return Wanted(
            action=asked.action,
            subject_id=asked.subject,
            actor_id=asked.actor,
            organizations=self.reach(asked.organization),
            since=asked.since,
            until=asked.until,
        )

    def reach(self, organization: UUID | None) -> tuple[UUID, ...] | None:
        """Return whose events the caller may see, None for everybody's: one organization, when it
        is asked for. Raises PermissionDenied when that is beyond the caller's reach."""
        actor = self.actor
        own = [actor.organization_id] if actor.organization_id else administered_by(actor)
        if organization in own:
            return (organization,)
        try:
            require_staff(actor, VIEW)
        except RightMissing:
            if organization is not None:
                raise PermissionDenied from None
            return tuple(own)
        return (organization,) if organization else None


def _stream(lines: Generator[str]) -> Generator[str]:
    """Yield an export's lines. One that is broken says so in the file: the status has gone out."""
    with closing(lines), suppress(DamagedTree):
        yield from lines


urlpatterns = [
    path("v1/audit-events", AuditEvents.as_view({"get": "index"})),
    path("v1/audit-events/export", AuditEvents.as_view({"get": "export"})),
]
