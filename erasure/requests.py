"""A deletion request's life: scheduled, running, completed; cancelled; failed and tried again."""

import traceback
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Reference
from audit.statements import insert, select
from erasure.exceptions import DeletionInProgress, GraceExpired, NotRestorable
from erasure.models import DeletionRequest

LEASE = timedelta(minutes=5)
RETRY_AFTER = timedelta(minutes=15)


def schedule(
    *,
    actor: Actor,
    subject: Reference,
    due_at: datetime,
    now: datetime,
    before: Mapping[str, Any],
    organization_id: UUID | None = None,
) -> DeletionRequest:
    """Write the request of a soft delete, in the caller's transaction, the subject's row locked.

    Raises DeletionInProgress when another deletion of the subject is open.
    """
    past = _lock_latest(subject)
    if past is not None and past.state in DeletionRequest.OPEN:
        raise DeletionInProgress(subject.kind, subject.id)
    request = _new(past, actor, subject, due_at, now, organization_id)
    request.before = dict(before)
    insert(request)
    return request


def begin(
    *, actor: Actor, subject: Reference, now: datetime, organization_id: UUID | None = None
) -> DeletionRequest:
    """Return the request of an erasure that happens in this transaction, the row locked.

    A deletion that was scheduled or had failed is carried to its end rather than joined by a
    second one. Raises DeletionInProgress when a worker holds it.
    """
    past = _lock_latest(subject)
    if past is None or past.state not in DeletionRequest.OPEN:
        request = _new(past, actor, subject, now, now, organization_id)
        request.state = DeletionRequest.State.RUNNING
        request.attempts = 1
        return request
    if past.is_leased(now):
        raise DeletionInProgress(subject.kind, subject.id)
    past.attempts += 1
    return past


def complete(request: DeletionRequest, *, counts: Mapping[str, int], now: datetime) -> None:
    """Close a request in the transaction that removed the rows it counts."""
    request.state = DeletionRequest.State.COMPLETED
    request.counts = dict(counts)
    request.finished_at = now
    request.lease_until = request.lease_token = request.retry_at = None
    request.last_error = ""
    request.before = {}
    request.save()


def cancel(*, subject: Reference, now: datetime) -> DeletionRequest:
    """Take back a scheduled deletion within its grace period and return the request.

    Raises NotRestorable or GraceExpired. Call it with the subject's row locked: a purge that has
    claimed the request has left the state ``scheduled`` and wins.
    """
    request = _lock_latest(subject)
    if request is None or request.state != DeletionRequest.State.SCHEDULED:
        raise NotRestorable(subject.id)
    if request.due_at <= now:
        raise GraceExpired(subject.id, request.due_at)
    request.state = DeletionRequest.State.CANCELLED
    request.finished_at = now
    request.save(update_fields=["state", "finished_at"])
    return request


def claim_due(*, now: datetime, skip: set[UUID]) -> DeletionRequest | None:
    """Claim the request that has been due longest, under a lease; None when nothing is due.

    Selection and claim are two statements; the claim is one UPDATE that checks due time, hold and
    state again, so of two workers one gets the row and the other looks further.
    """
    while True:
        found = DeletionRequest.objects.due(now).exclude(pk__in=skip).values_list("pk").first()
        if found is None:
            return None
        token = uuid7()
        claimed = DeletionRequest.objects.filter(pk=found[0]).claim(
            now, lease_token=token, lease_until=now + LEASE
        )
        if claimed:
            return DeletionRequest.objects.get(pk=found[0], lease_token=token)
        skip.add(found[0])


def release(request: DeletionRequest) -> None:
    """Give a claimed request back: a legal hold came between its claim and its execution."""
    DeletionRequest.objects.filter(pk=request.pk, lease_token=request.lease_token).update(
        state=DeletionRequest.State.SCHEDULED, lease_until=None, lease_token=None
    )


def fail(request: DeletionRequest, error: Exception, *, now: datetime) -> str:
    """Record why an attempt ended and when the next one is due; return the recorded text.

    Only the error's type and place are kept: a database's message may quote a person's data.
    """
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f" in {frame.name}" if frame else ""
    text = f"{type(error).__name__}{where}"[:200]
    DeletionRequest.objects.filter(pk=request.pk, lease_token=request.lease_token).update(
        state=DeletionRequest.State.FAILED,
        last_error=text,
        retry_at=now + RETRY_AFTER,
        lease_until=None,
        lease_token=None,
    )
    return text


def _lock_latest(subject: Reference) -> DeletionRequest | None:
    past: DeletionRequest | None = _latest.first(kind=subject.kind, subject_id=subject.id)
    return past


@select
def _latest(kind: str, subject_id: UUID) -> Any:
    past = DeletionRequest.objects.filter(subject_kind=kind, subject_id=subject_id)
    return past.select_for_update()[:1]


def _new(
    past: DeletionRequest | None,
    actor: Actor,
    subject: Reference,
    due_at: datetime,
    now: datetime,
    organization_id: UUID | None,
) -> DeletionRequest:
    return DeletionRequest(
        subject_kind=subject.kind,
        subject_id=subject.id,
        generation=past.generation + 1 if past else 1,
        channel=actor.channel,
        requested_by_kind=actor.kind,
        requested_by_id=actor.id,
        request_id=actor.request_id,
        organization_id=organization_id,
        requested_at=now,
        due_at=due_at,
    )
