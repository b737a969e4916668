"""A deletion request's life: scheduled, running, completed; cancelled; failed and tried again.

Whoever changes a request holds its subject's row lock, if the row still exists. A claim, a lease
and its token are for work of many transactions: whose token is gone has lost the work and commits
nothing more.
"""

import hashlib
import secrets
import traceback
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F, Max
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Reference
from audit.statements import Among, insert, select
from erasure.exceptions import DeletionInProgress, GraceExpired, NotRestorable
from erasure.models import DeletionRequest

LEASE = timedelta(minutes=5)
RETRY_AFTER = timedelta(minutes=15)
RETRY_AT_MOST = timedelta(days=1)


class LeaseLost(Exception):
    """Another worker took the request over. Nothing of the present transaction may be kept."""


def schedule(
    *,
    actor: Actor,
    subject: Reference,
    due_at: datetime,
    now: datetime,
    before: Mapping[str, Any],
    counts: Mapping[str, int] | None = None,
    organization_id: UUID | None = None,
    cause_id: UUID | None = None,
    planned: Mapping[str, Any] | None = None,
    plan_id: str = "",
    reference: str = "",
) -> DeletionRequest:
    """Write the request of a soft delete, in the caller's transaction, the subject's row locked.

    Raises DeletionInProgress when another deletion of the subject is open.
    """
    past = _lock_latest(subject)
    if past is not None and past.state in DeletionRequest.OPEN:
        raise DeletionInProgress(subject.kind, subject.id)
    request = _new(past, actor, subject, due_at, now, organization_id)
    request.before = dict(before)
    request.counts = dict(counts or {})
    request.cause_id = cause_id
    request.planned = dict(planned or {})
    request.plan_id = plan_id
    request.reference = reference
    insert(request)
    return request


def schedule_many(
    *,
    actor: Actor,
    kind: str,
    ids: Sequence[UUID],
    due_at: datetime,
    now: datetime,
    organization_id: UUID | None,
    cause_id: UUID | None,
) -> dict[UUID, UUID]:
    """Write the requests of many subjects, whose rows are locked and none of which has an open one;
    return their ids by subject. For those who go along with another subject."""
    past = DeletionRequest.objects.filter(Among("subject_id", list(ids)), subject_kind=kind)
    latest = dict(past.order_by("subject_id").values_list("subject_id").annotate(Max("generation")))
    new = []
    for pk in ids:
        request = _new(None, actor, Reference(kind, pk), due_at, now, organization_id)
        request.generation = latest.get(pk, 0) + 1
        request.cause_id = cause_id
        new.append(request)
    DeletionRequest.objects.bulk_create(new)
    return {request.subject_id: request.pk for request in new}


def begin(
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    organization_id: UUID | None = None,
    cause_id: UUID | None = None,
    reference: str = "",
) -> DeletionRequest:
    """Return the request of an erasure that happens in this transaction, the row locked.

    A deletion that was scheduled or had failed is carried to its end rather than joined by a
    second one. Raises DeletionInProgress when a worker holds it.
    """
    past = _lock_latest(subject)
    if past is None or past.state not in DeletionRequest.OPEN:
        request = _new(past, actor, subject, now, now, organization_id)
        request.state = DeletionRequest.State.RUNNING
        request.started_at = now
        request.cause_id = cause_id
        request.reference = reference
        request.attempts = 1
        return request
    if past.is_leased(now):
        raise DeletionInProgress(subject.kind, subject.id)
    past.attempts += 1
    past.started_at = past.started_at or now
    past.reference = past.reference or reference
    return past


def take(request: DeletionRequest, *, now: datetime) -> None:
    """Put a request that ``begin`` returned under a lease, for an erasure of many transactions.

    It is due from now on, so that another worker goes on with it when this one dies.
    """
    request.state = DeletionRequest.State.RUNNING
    request.lease_token, request.lease_until = uuid7(), now + LEASE
    request.due_at = min(request.due_at, now)
    request.retry_at = None
    request.save()


def leave(request: DeletionRequest, *, now: datetime) -> None:
    """Leave a request that was taken to whichever worker comes first, in the transaction that took
    it. It stays ``running``, so that nobody restores what somebody was told is gone."""
    request.lease_until, request.lease_token = now, None
    request.save(update_fields=["lease_until", "lease_token"])


def claim(deletion_id: UUID, *, now: datetime) -> DeletionRequest | None:
    """Take one due request under a lease; None when it is no longer due or somebody has it.

    One guarded UPDATE checks due time, hold, state and lease again: of two workers one gets it.
    """
    token = uuid7()
    rows = DeletionRequest.objects.filter(pk=deletion_id)
    if not rows.claim(now, lease_token=token, lease_until=now + LEASE):
        return None
    mine: DeletionRequest | None = rows.filter(lease_token=token).first()
    return mine


def lock_claimed(request: DeletionRequest) -> DeletionRequest:
    """Lock a claimed request for one more transaction of its work and return it as it is now.

    Raises LeaseLost when another worker took it over, the fence that keeps a worker that slept
    from committing beside its successor.
    """
    mine: DeletionRequest | None = _claimed.first(pk=request.pk, token=request.lease_token)
    if mine is None:
        raise LeaseLost(request.pk)
    return mine


@select
def _claimed(pk: UUID, token: UUID) -> Any:
    rows = DeletionRequest.objects.select_for_update().order_by()
    return rows.filter(pk=pk, state=DeletionRequest.State.RUNNING, lease_token=token)


def advance(request: DeletionRequest, *, now: datetime) -> None:
    """Write down how far a locked request has come, in the transaction of the work itself, and
    keep the lease for as long again."""
    request.lease_until = now + LEASE
    request.save(update_fields=["counts", "cursor", "lease_until"])


def complete(request: DeletionRequest, *, now: datetime) -> None:
    """Close a request, its counts filled in, in the transaction that removed the last rows."""
    request.state = DeletionRequest.State.COMPLETED
    request.finished_at = now
    request.lease_until = request.lease_token = request.retry_at = None
    request.last_error = ""
    request.before, request.cursor = {}, {}


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


def release(request: DeletionRequest) -> None:
    """Give a claimed request back: a hold, a pause or a limit came between claim and work.

    One that has removed rows already stays ``running`` without a lease, so that nobody restores
    half of a subject; it is due again at once.
    """
    mine = DeletionRequest.objects.filter(pk=request.pk, lease_token=request.lease_token)
    if "begun" in request.cursor or "large" in request.cursor:
        mine.update(lease_until=request.requested_at, lease_token=None)
    else:
        mine.update(
            state=DeletionRequest.State.SCHEDULED,
            started_at=None,
            lease_until=None,
            lease_token=None,
        )


def fail(request: DeletionRequest, error: Exception, *, now: datetime) -> str:
    """Record why an attempt ended and when the next one is due; return the recorded text.

    Each further try waits twice as long, a day at most.
    """
    text = describe_error(error)
    wait = min(RETRY_AFTER * 2 ** min(request.attempts - 1, 10), RETRY_AT_MOST)
    DeletionRequest.objects.filter(pk=request.pk, lease_token=request.lease_token).update(
        state=DeletionRequest.State.FAILED,
        # An attempt that has removed nothing has begun nothing.
        started_at=F("started_at") if request.cursor else None,
        last_error=text,
        retry_at=now + wait,
        lease_until=None,
        lease_token=None,
    )
    return text


def describe_error(error: Exception) -> str:
    """Return an error as it may be kept: its type and its place, or the codes of what blocks.

    Never its message: a database's may quote a person's data.
    """
    blockers = getattr(error, "blockers", None)
    if blockers:
        return f"Blocked: {', '.join(sorted({it.code for it in blockers}))}"[:200]
    frame = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f" in {frame.name}" if frame else ""
    return f"{type(error).__name__}{where}"[:200]


def requeue(subject: Reference, *, now: datetime) -> DeletionRequest | None:
    """Let a deletion that a hold kept waiting be tried at the next chance; return it if it is due.
    Call it with the subject's row locked."""
    request = _lock_latest(subject)
    if request is None or request.state not in DeletionRequest.OPEN or request.is_leased(now):
        return None
    if request.retry_at is not None:
        request.retry_at = None
        request.save(update_fields=["retry_at"])
    return request if request.due_at <= now else None


def find_taker(request: DeletionRequest) -> DeletionRequest | None:
    """Return the open deletion that took this one along, if there is one: whoever came back alone
    would go with it all the same when it is due, or be left without an owner."""
    if request.cause_id is None:
        return None
    found: DeletionRequest | None = (
        DeletionRequest.objects.open().filter(pk=request.cause_id).first()
    )
    return found


def new_status_link(request: DeletionRequest) -> str:
    """Return a token by which anybody who holds it may follow a deletion; its digest alone is
    kept. An earlier token ends."""
    token = secrets.token_urlsafe(24)
    request.status_digest = hashlib.sha256(token.encode()).hexdigest()
    request.save(update_fields=["status_digest"])
    return token


def find_by_status(token: str) -> DeletionRequest | None:
    """Return the deletion that a status link's token belongs to."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    found: DeletionRequest | None = DeletionRequest.objects.filter(status_digest=digest).first()
    return found


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
