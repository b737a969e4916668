"""Reads from the database what a deletion's story is told from."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q

from audit.models import AuditEvent
from audit.querying import read_genuine
from erasure.brakes import standing_pause
from erasure.desk.story import Sources
from erasure.models import DeletionRequest, LegalHold, Statement
from erasure.notified import recipients_of

EVENTS = 200
"""A story of more is one of attempts that all failed alike."""

MOMENT = timedelta(seconds=1)


def gather(request: DeletionRequest) -> Sources:
    """Return everything that is known of one deletion, in a number of queries that does not grow
    with it."""
    claims = _claims(request)
    until = None
    if request.finished_at and request.state == DeletionRequest.State.COMPLETED:
        days = claims.get("backup_retention_days", getattr(settings, "BACKUP_RETENTION_DAYS", 30))
        until = request.finished_at + timedelta(days=days)
    is_open = request.state in DeletionRequest.OPEN
    pause = standing_pause(request.subject) if is_open else None
    return Sources(
        request=request,
        events=_events(request),
        holds=_holds(request),
        statement=claims,
        backups_until=until,
        paused=pause.reason if pause else "",
        recipients=recipients_of(request),
    )


def _events(request: DeletionRequest) -> list[AuditEvent]:
    """The events about the subject while this deletion was open; of an earlier or a later one of
    the same subject there are others."""
    about = AuditEvent.objects.filter(
        subject_kind=request.subject_kind,
        subject_id=request.subject_id,
        at__gte=request.requested_at - MOMENT,
    )
    if request.finished_at:
        about = about.filter(at__lte=request.finished_at + MOMENT)
    return read_genuine(about.order_by("at", "id"), most=EVENTS)


def _holds(request: DeletionRequest) -> list[LegalHold]:
    touching = Q(released_at=None) | Q(released_at__gte=request.requested_at)
    holds = LegalHold.objects.on(request.subject).filter(touching)
    if request.finished_at:
        holds = holds.filter(placed_at__lte=request.finished_at)
    return list(holds.order_by("placed_at"))


def _claims(request: DeletionRequest) -> dict[str, Any]:
    if not request.statement:
        return {}
    found = Statement.objects.filter(pk=request.statement).values_list("content", flat=True)
    content: Any = found.first() or {}
    claims = content.get("claims")
    return claims if isinstance(claims, dict) else {}
