"""Bulk erasures: one member of staff proposes, another one approves, and the purge does the rest.

Approved is a list of subjects, written down when it was proposed: no query is run again, so nobody
is taken who was not on the page that both of them saw.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.deleting import schedule_deletion
from erasure.engines import wake_purge
from erasure.exceptions import DeletionError, DeletionInProgress, SubjectNotFound
from erasure.models import BulkErasure, DeletionRequest
from erasure.people import name_of_users
from erasure.rights import require_staff, right_to_erase
from erasure.subjects import get_kind, lock_subject

BULK_LIMIT = 1000
APPROVE = "erasure.approve_bulkerasure"
CHANNEL = "bulk"
UNFINISHED = timedelta(days=1)


class BulkError(Exception):
    """A decision on a bulk erasure that cannot be taken. Nothing was changed."""


@dataclass
class OwnProposal(BulkError):
    """Whoever proposed a bulk erasure cannot be the one who approves it."""

    bulk_id: UUID


@dataclass
class AlreadyDecided(BulkError):
    """Somebody has approved or rejected it before."""

    state: str


@dataclass
class TooMany(BulkError):
    """More subjects than one proposal may name."""

    limit: int


@dataclass
class Carried:
    """How far a bulk erasure has been handed to the purge."""

    handed_over: int = 0
    refused: dict[Reference, Exception] = field(default_factory=dict)


def subjects_of(bulk: BulkErasure) -> list[Reference]:
    return [Reference(kind, UUID(text)) for kind, text in bulk.subjects]


def propose_bulk(
    *, actor: Actor, subjects: Sequence[Reference], reference: str, now: datetime
) -> UUID:
    """Write down whom somebody wants erased; return the proposal's id. Nothing else happens.

    The proposer needs the right to erase each kind of subject named. Raises RightMissing or
    TooMany.
    """
    named = list(dict.fromkeys(subjects))
    if len(named) > BULK_LIMIT:
        raise TooMany(BULK_LIMIT)
    for kind in sorted({subject.kind for subject in named}):
        require_staff(actor, right_to_erase(get_kind(kind)))
    if actor.person_id is None:
        raise TypeError("A bulk erasure is proposed by a person.")
    with transaction.atomic(durable=True):
        bulk = BulkErasure.objects.create(
            reference=reference,
            subjects=[[subject.kind, str(subject.id)] for subject in named],
            size=len(named),
            proposed_by_id=actor.person_id,
            proposed_at=now,
        )
        _record("bulk.proposed", actor, bulk, now)
    return bulk.pk


def approve_bulk(*, actor: Actor, bulk_id: UUID, now: datetime) -> None:
    """Approve what somebody else has proposed. ``carry_out`` then hands it to the purge.

    Raises RightMissing, OwnProposal or AlreadyDecided.
    """
    require_staff(actor, APPROVE)
    with transaction.atomic(durable=True):
        bulk = _lock(bulk_id)
        if actor.person_id is None or actor.person_id == bulk.proposed_by_id:
            raise OwnProposal(bulk_id)
        _decide(bulk, BulkErasure.State.APPROVED, actor, now)
        _record("bulk.approved", actor, bulk, now)


def reject_bulk(*, actor: Actor, bulk_id: UUID, now: datetime) -> None:
    """Reject a proposal; whoever made it may withdraw it. Raises RightMissing or AlreadyDecided."""
    with transaction.atomic(durable=True):
        bulk = _lock(bulk_id)
        if actor.person_id != bulk.proposed_by_id:
            require_staff(actor, APPROVE)
        _decide(bulk, BulkErasure.State.REJECTED, actor, now)
        _record("bulk.rejected", actor, bulk, now)


def carry_on(now: datetime, execute: bool) -> dict[str, int]:
    """Hand over what a killed process left of approved bulk erasures, or count it: for the sweep.

    Only for a day after the approval; what is still refused then needs somebody's eyes.
    """
    fresh = BulkErasure.objects.filter(
        state=BulkErasure.State.APPROVED, decided_at__gte=now - UNFINISHED
    )
    waiting = {bulk.pk: len(list(waiting_subjects(bulk))) for bulk in fresh}
    if not execute:
        return {"handed_over": sum(waiting.values())}
    done = [carry_out(bulk_id=pk, clock=lambda: now) for pk, left in waiting.items() if left]
    return {"handed_over": sum(it.handed_over for it in done)}


def carry_out(*, bulk_id: UUID, clock: Callable[[], datetime], limit: int | None = None) -> Carried:
    """Give each subject of an approved bulk erasure a deletion request that is due now.

    Each subject has transactions of its own, in the name of whoever proposed it, whose right is
    checked again. Repeating it after a crash goes on with those that have no request yet; one
    that is refused stays as it is, and is named in what this returns.
    """
    bulk = BulkErasure.objects.get(pk=bulk_id)
    done = Carried()
    if bulk.state != BulkErasure.State.APPROVED:
        return done
    actor = Actor(
        kind=name_of_users(), id=bulk.proposed_by_id, channel=CHANNEL, person_id=bulk.proposed_by_id
    )
    for subject in list(waiting_subjects(bulk))[:limit]:
        try:
            _hand_over(actor, bulk, subject, clock())
            done.handed_over += 1
        except DeletionError as error:
            done.refused[subject] = error
    if done.handed_over:
        wake_purge()
    return done


def waiting_subjects(bulk: BulkErasure) -> Iterator[Reference]:
    """Yield the subjects, in order, that the purge has not been given yet."""
    given = set(
        DeletionRequest.objects.filter(cause_id=bulk.pk).values_list("subject_kind", "subject_id")
    )
    return (one for one in subjects_of(bulk) if (one.kind, one.id) not in given)


def count_progress(bulk: BulkErasure) -> Counter[str]:
    """Return how many of a bulk's subjects are in which state; ``waiting`` have no request yet."""
    states = DeletionRequest.objects.filter(cause_id=bulk.pk).values_list("state", flat=True)
    counts = Counter(states)
    if waiting := bulk.size - counts.total():
        counts["waiting"] = waiting
    return counts


def _hand_over(actor: Actor, bulk: BulkErasure, subject: Reference, now: datetime) -> None:
    """Make one subject's erasure due. A crash between the two transactions leaves a deletion in
    its ordinary grace period, which the next ``carry_out`` brings forward."""
    require_staff(actor, right_to_erase(get_kind(subject.kind)))
    if not DeletionRequest.objects.about(subject).open().exists():
        schedule_deletion(actor=actor, subject=subject, now=now, reference=bulk.reference)
    with transaction.atomic(durable=True):
        if lock_subject(subject) is None:
            raise SubjectNotFound(subject.kind)
        request = DeletionRequest.objects.about(subject).open().select_for_update().first()
        if request is None or request.state == DeletionRequest.State.RUNNING:
            raise DeletionInProgress(subject.kind, subject.id)
        request.due_at = min(request.due_at, now)
        request.cause_id = bulk.pk
        request.reference = request.reference or bulk.reference
        request.save(update_fields=["due_at", "cause_id", "reference"])
        facts = {"deletion": str(request.pk), "bulk": str(bulk.pk)}
        record("deletion.brought_forward", actor=actor, subject=subject, now=now, facts=facts)


def _lock(bulk_id: UUID) -> BulkErasure:
    return BulkErasure.objects.select_for_update().get(pk=bulk_id)


def _decide(bulk: BulkErasure, state: str, actor: Actor, now: datetime) -> None:
    if bulk.state != BulkErasure.State.PROPOSED:
        raise AlreadyDecided(bulk.state)
    bulk.state, bulk.decided_by_id, bulk.decided_at = state, actor.person_id, now
    bulk.save(update_fields=["state", "decided_by_id", "decided_at"])


def _record(action: str, actor: Actor, bulk: BulkErasure, now: datetime) -> None:
    facts: dict[str, Any] = {"subjects": bulk.size, "reference": bulk.reference}
    record(action, actor=actor, subject=Reference("bulk", bulk.pk), now=now, facts=facts)
