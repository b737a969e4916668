"""How far a deletion is: what its requester, its subject, staff and the platform may see of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit.actors import Actor
from audit.events import Reference
from erasure.deleting import restore
from erasure.exceptions import (
    DeletionNotFound,
    NotRestorable,
    ReceiptNotReady,
    RightMissing,
    SubjectNotFound,
)
from erasure.links import opens_status
from erasure.models import DeletionRequest
from erasure.receipts import ReceiptMissing, receipt_of
from erasure.requests import new_status_link
from erasure.rights import require_staff
from erasure.subjects import get_kind, managing_kind
from erasure.watching import Headway, headway_of


@dataclass(frozen=True, slots=True)
class Progress:
    """A deletion's facts at this moment. Nothing in it is personal: ids, times and counts."""

    id: UUID
    subject: Reference
    state: str
    generation: int
    requested_at: datetime
    due_at: datetime
    finished_at: datetime | None
    attempts: int
    last_error: str
    held: bool
    counts: dict[str, int]
    plan_id: str
    next_step: str
    next_at: datetime | None
    has_receipt: bool
    headway: Headway | None


@dataclass(frozen=True, slots=True)
class ScheduledDeletion:
    """A deletion that was just scheduled, with the token of its status link, of which a digest is
    kept and nothing else."""

    id: UUID
    subject: Reference
    requested_at: datetime
    due_at: datetime
    token: str


def hand_out(request: DeletionRequest) -> ScheduledDeletion:
    """Return a scheduled deletion's facts, with a new status link for whoever asked for it."""
    return ScheduledDeletion(
        id=request.pk,
        subject=request.subject,
        requested_at=request.requested_at,
        due_at=request.due_at,
        token=new_status_link(request),
    )


def read_progress(
    *,
    deletion_id: UUID,
    now: datetime,
    actor: Actor | None = None,
    as_staff: bool = False,
    token: str = "",
) -> Progress:
    """Return how far a deletion is, to whoever holds its status token or may see it by who they
    are: its requester, the organization that managed its subject, or staff if they act as such.

    Raises DeletionNotFound, which looks the same whether there is no such deletion or it is
    nobody's business.
    """
    return describe_progress(_open(deletion_id, actor, as_staff, token), now=now)


def read_receipt(
    *, deletion_id: UUID, actor: Actor | None = None, as_staff: bool = False, token: str = ""
) -> str:
    """Return the receipt of a finished erasure, a JWS, to whoever may read its progress.

    Raises DeletionNotFound, or ReceiptNotReady while nothing has been erased or when a restore
    ended the deletion.
    """
    request = _open(deletion_id, actor, as_staff, token)
    try:
        return receipt_of(request)
    except ReceiptMissing:
        raise ReceiptNotReady(request.state) from None


def restore_deletion(
    *, actor: Actor, deletion_id: UUID, now: datetime, reference: str = ""
) -> Progress:
    """Undo a deletion within its grace period, on behalf of staff, and return how it stands.

    Raises RightMissing, DeletionNotFound, or what ``deleting.restore`` raises.
    """
    request = DeletionRequest.objects.filter(pk=deletion_id).first()
    if request is None:
        raise DeletionNotFound(deletion_id)
    try:
        restore(
            actor=actor,
            subject=request.subject,
            now=now,
            reference=reference,
            deletion_id=deletion_id,
        )
    except SubjectNotFound:
        raise NotRestorable(request.subject_id) from None
    return describe_progress(DeletionRequest.objects.with_hold().get(pk=deletion_id), now=now)


def describe_progress(request: Any, *, now: datetime) -> Progress:
    """Return the facts of a request that was read ``with_hold``."""
    step, at = next_step(request, held=request.held, now=now)
    return Progress(
        id=request.pk,
        subject=request.subject,
        state=request.state,
        generation=request.generation,
        requested_at=request.requested_at,
        due_at=request.due_at,
        finished_at=request.finished_at,
        attempts=request.attempts,
        last_error=request.last_error,
        held=request.held,
        counts=dict(request.counts),
        plan_id=request.plan_id,
        next_step=step,
        next_at=at,
        has_receipt=_has_receipt(request),
        headway=headway_of(request, now=now),
    )


def next_step(
    request: DeletionRequest, *, held: bool, now: datetime
) -> tuple[str, datetime | None]:
    """Return what happens next to a deletion, in one word, and when if that is known.

    ``nothing``: it has ended. ``running``: a worker is at it. ``held``: it waits for the release
    of a legal hold. ``retry`` and ``erase``: at that time, or by the next purge when it has passed.
    """
    if request.state not in DeletionRequest.OPEN:
        return "nothing", None
    if request.is_leased(now):
        return "running", None
    if held:
        return "held", None
    if request.state == DeletionRequest.State.SCHEDULED:
        return "erase", request.due_at
    return "retry", request.retry_at or request.lease_until


def _open(deletion_id: UUID, actor: Actor | None, as_staff: bool, token: str) -> Any:
    request: Any = DeletionRequest.objects.with_hold().filter(pk=deletion_id).first()
    if request is not None:
        if token and opens_status(request, token):
            return request
        if actor is not None and (
            _is_involved(actor, request) or (as_staff and _may_look(actor, request))
        ):
            return request
    raise DeletionNotFound(deletion_id)


def _is_involved(actor: Actor, request: DeletionRequest) -> bool:
    principal = (actor.kind, actor.id)
    return actor.id is not None and (
        principal == (request.requested_by_kind, request.requested_by_id)
        or principal == (request.subject_kind, request.subject_id)
        or (actor.kind == managing_kind() and actor.id == request.organization_id)
    )


def _may_look(actor: Actor, request: DeletionRequest) -> bool:
    try:
        require_staff(actor, get_kind(request.subject_kind).view_permission)
    except RightMissing:
        return False
    return True


def _has_receipt(request: DeletionRequest) -> bool:
    return request.state == DeletionRequest.State.COMPLETED and request.signature is not None
