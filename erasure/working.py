"""What one worker does with some candidates: as a set, in halves when the set fails, alone what no
set can take. Whatever happens to one subject, the others go on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import OperationalError, transaction

from audit.actors import Actor
from audit.events import Reference
from audit.statements import Among
from erasure import receipts, requests
from erasure.alone import (
    Budget,
    BudgetSpent,
    Clock,
    GaveWay,
    claim_alone,
    erase_claimed,
    piece,
    was_cancelled,
)
from erasure.along import read_along
from erasure.closing import Erasure
from erasure.exceptions import (
    DeletionInProgress,
    LedgerUnavailable,
    Paused,
    UnderLegalHold,
)
from erasure.holds import held_companions, is_held
from erasure.models import DeletionRequest
from erasure.requests import LeaseLost
from erasure.sets import Candidate, Outcome, OverBudget, SetTooLarge, erase_set
from erasure.subjects import get_kind, kind_names, lock_subjects
from erasure.watching import note_ahead

logger = logging.getLogger("sexton.erasure")

OnPiece = Callable[[DeletionRequest], None]

COMPANIONS = 200
"""Companions that are sent ahead of their subject at a time."""

COLUMNS = ("subject_id", "pk", "state")

NO_LEDGER = "the ledger cannot be written"
GAVE_WAY = "asked to give way"
NO_ROWS = "no more rows may be removed in this run"


STOPS: Mapping[type[Exception], str] = {
    BudgetSpent: NO_ROWS,
    GaveWay: GAVE_WAY,
    LedgerUnavailable: NO_LEDGER,
}


class CompanionsLeft(Exception):
    """Somebody who goes along with a subject is still there, so the subject waits."""


def work_off(
    candidates: Sequence[Candidate],
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    goes_along: bool = False,
    searches: bool = False,
) -> Outcome:
    """Erase candidates of one kind and return what became of each. With ``goes_along`` they go with
    a subject that is being erased, alive or not; with ``searches`` what identified them is returned
    as well. Raises nothing but what keeps the database from being asked at all."""
    outcome = Outcome()
    # What failed before, or was left half done by a worker that died, is no matter for a set.
    fresh = [it for it in candidates if it.state == DeletionRequest.State.SCHEDULED]
    outcome.alone = [it for it in candidates if it.state != DeletionRequest.State.SCHEDULED]
    given: dict[str, Any] = {"actor": actor, "clock": clock, "budget": budget, "searches": searches}
    _work_off_set(fresh, outcome, goes_along=goes_along, **given)
    for candidate in outcome.alone:
        if outcome.stopped:
            break
        work_off_one(candidate, outcome, **given)
    outcome.alone = []
    return outcome


def _work_off_set(
    candidates: list[Candidate],
    outcome: Outcome,
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    goes_along: bool,
    searches: bool,
) -> None:
    """Erase a set; when it fails, nothing of it was kept, and each half is a set of its own."""
    if not candidates or outcome.stopped:
        return
    parts: list[list[Candidate]] = []
    try:
        done = erase_set(
            candidates,
            actor=actor,
            now=clock(),
            budget=budget.left,
            goes_along=goes_along,
            searches=searches,
        )
    except LedgerUnavailable:
        outcome.stopped = NO_LEDGER
    except SetTooLarge as error:
        outcome.alone += [it for it in candidates if it.subject_id in error.large]
        rest = [it for it in candidates if it.subject_id not in error.large]
        parts = [rest] if error.large else _halve(rest, outcome)
    except OverBudget:
        if len(candidates) == 1:
            outcome.stopped = NO_ROWS
        else:
            parts = _halve(candidates, outcome)
    except Exception as error:  # noqa: BLE001 - a poisoned subject may raise anything
        slow = isinstance(error, OperationalError) and was_cancelled(error)
        outcome.was_slow |= slow
        logger.info("a set is taken apart", extra={"size": len(candidates), "slow": slow})
        parts = _halve(candidates, outcome)
    else:
        outcome.alone += done.alone
        outcome.add(done)
        budget.spend(sum(sum(it.counts.values()) for it in done.erased))
    for part in parts:
        _work_off_set(
            part,
            outcome,
            actor=actor,
            clock=clock,
            budget=budget,
            goes_along=goes_along,
            searches=searches,
        )


def _halve(candidates: list[Candidate], outcome: Outcome) -> list[list[Candidate]]:
    """Return two halves; a single candidate is set aside to be done alone."""
    if len(candidates) <= 1:
        outcome.alone += candidates
        return []
    middle = len(candidates) // 2
    return [candidates[:middle], candidates[middle:]]


def work_off_one(
    candidate: Candidate,
    outcome: Outcome,
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    searches: bool = False,
) -> None:
    """Erase one subject under a lease, whoever goes along with it first. A failure is written down
    in its request, and when it is tried again."""
    request = claim_alone(candidate, now=clock())
    if request is None:
        outcome.busy += 1
        return
    try:
        given: dict[str, Any] = {"actor": actor, "clock": clock, "budget": budget}
        _send_ahead(request, outcome, searches=searches, **given)
        done = erase_claimed(request, searches=searches, **given)
        outcome.take([done])
        outcome.longest = max(outcome.longest, budget.longest)
    except UnderLegalHold:
        outcome.held += 1
        requests.release(request)
    except Paused:
        outcome.paused += 1
        requests.release(request)
    except (BudgetSpent, GaveWay, LedgerUnavailable) as error:
        outcome.stopped = STOPS[type(error)]
        requests.release(request)
    except LeaseLost:
        outcome.busy += 1
    except Exception as error:
        logger.exception("erasure failed", extra={"deletion": str(request.pk)})
        outcome.failed[request.pk] = requests.fail(request, error, now=clock())


def carry_on(
    deletion_id: UUID,
    *,
    actor: Actor,
    clock: Clock,
    gives_way: Callable[[], bool],
    searches: bool = False,
) -> Outcome:
    """Go on with one erasure that is due, if nobody else has it, until it is done or gives way.
    With ``searches`` whoever was erased is returned with what identified them; without, only how
    many that were."""
    outcome = Outcome(only_counts=not searches)
    columns = ("due_at", "pk", "subject_kind", "subject_id", "state")
    due = DeletionRequest.objects.due(clock()).filter(pk=deletion_id)
    for row in due.values_list(*columns):
        budget = Budget(gives_way=gives_way)
        work_off_one(
            Candidate(*row), outcome, actor=actor, clock=clock, budget=budget, searches=searches
        )
    return outcome


def erase_stepwise(
    request: DeletionRequest, *, actor: Actor, clock: Clock, on_piece: OnPiece | None = None
) -> Erasure:
    """Carry an erasure that somebody waits for to its end, in many transactions under its lease,
    and return it.

    Raises UnderLegalHold, Paused, LedgerUnavailable, DeletionInProgress when another worker took it
    over, or whatever the database says. The purge goes on with what is left.
    """
    outcome, budget = Outcome(only_counts=True), Budget(on_piece=on_piece)
    try:
        _send_ahead(request, outcome, actor=actor, clock=clock, budget=budget)
        return erase_claimed(request, actor=actor, clock=clock, budget=budget)
    except (UnderLegalHold, Paused, LedgerUnavailable, GaveWay):
        requests.release(request)
        raise
    except LeaseLost as error:
        raise DeletionInProgress(request.subject_kind, request.subject_id) from error
    except Exception as error:
        requests.fail(request, error, now=clock())
        raise


def _send_ahead(
    request: DeletionRequest,
    outcome: Outcome,
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    searches: bool = False,
) -> None:
    """Erase those who go along with a claimed subject, each under a request of its own.

    Raises UnderLegalHold when a hold keeps one of them, and CompanionsLeft when one fails.
    """
    kind = get_kind(request.subject_kind)
    subject = request.subject
    given: dict[str, Any] = {"actor": actor, "clock": clock, "budget": budget}
    begun = _finish_begun(request, outcome, searches=searches, **given)
    last: Reference | None = None
    worded: set[str] = set()
    while some := kind.next_companions(subject.id, after=last, limit=COMPANIONS):
        last = some[-1]
        if budget.gives_way():
            raise GaveWay
        if new := {it.kind for it in some} - worded:
            # Sets sign receipts whose wording is written down before.
            receipts.keep_wordings(sorted(new))
            worded |= new
        _send(some, request, outcome, searches=searches, **given)
        _raise_stop(outcome)
        with piece(request, clock=clock) as (_, locked):
            gone = len(some) - len(kind.among_companions(subject.id, some))
            note_ahead(locked, gone)
            requests.advance(locked, now=clock())
        request.cursor = locked.cursor
        if budget.on_piece:
            budget.on_piece(request)
    if begun or last is not None:
        rest = [Reference(it.kind, it.subject_id) for it in _begun(request)]
        if held_companions(subject) or any(map(is_held, rest)):
            raise UnderLegalHold(subject.kind, subject.id)
        if left := kind.count_companions(subject.id, cap=COMPANIONS) or len(rest):
            raise CompanionsLeft(left)
    # Asked of the requests and not remembered: a worker that died may have sent the last of them.
    if along := read_along(request.pk):
        with piece(request, clock=clock) as (_, locked):
            locked.along = along
            locked.save(update_fields=["along"])


def _finish_begun(
    request: DeletionRequest,
    outcome: Outcome,
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    searches: bool,
) -> bool:
    """Go on with those whose erasure somebody has begun who died since; return whether there were
    any. What says that they go along may have been among the first of their rows."""
    begun = _begun(request)
    DeletionRequest.objects.filter(pk__in=[it.id for it in begun]).update(retry_at=None)
    for candidate in begun:
        work_off_one(candidate, outcome, actor=actor, clock=clock, budget=budget, searches=searches)
        _raise_stop(outcome)
    return bool(begun)


def _begun(request: DeletionRequest) -> list[Candidate]:
    """Return those whose erasure has begun, and who are no companions any more by what is left of
    them. Whom a leaver takes along, an organization that they owned, comes after them."""
    kind = get_kind(request.subject_kind)
    kinds = [name for name in kind_names() if get_kind(name).rank <= kind.rank]
    states = (DeletionRequest.State.RUNNING, DeletionRequest.State.FAILED)
    rows = DeletionRequest.objects.filter(
        cause_id=request.pk, subject_kind__in=kinds, state__in=states
    )
    columns = ("due_at", "pk", "subject_kind", "subject_id", "state")
    found = [Candidate(*row) for row in rows.order_by("pk").values_list(*columns)]
    subjects = [Reference(it.kind, it.subject_id) for it in found]
    known = set(kind.among_companions(request.subject_id, subjects))
    return [it for it, subject in zip(found, subjects, strict=True) if subject not in known]


def _send(
    some: Sequence[Reference],
    request: DeletionRequest,
    outcome: Outcome,
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    searches: bool,
) -> None:
    for name in sorted({it.kind for it in some}):
        mine = [it for it in some if it.kind == name]
        if candidates := _hurry(name, mine, request, actor=actor, now=clock()):
            part = work_off(
                candidates,
                actor=actor,
                clock=clock,
                budget=budget,
                goes_along=True,
                searches=searches,
            )
            outcome.add(part)


def _raise_stop(outcome: Outcome) -> None:
    """Raise what stopped the companions, for the subject waits for the same."""
    if outcome.stopped == NO_LEDGER:
        raise LedgerUnavailable(NO_LEDGER)
    if outcome.stopped == NO_ROWS:
        raise BudgetSpent
    if outcome.stopped == GAVE_WAY:
        raise GaveWay
    if outcome.stopped:
        raise Paused(outcome.stopped)


def _hurry(
    name: str,
    companions: Sequence[Reference],
    cause: DeletionRequest,
    *,
    actor: Actor,
    now: datetime,
) -> list[Candidate]:
    """Make the deletions of companions due now, those that have none included; return them."""
    ids = [it.id for it in companions]
    rows = DeletionRequest.objects.filter(Among("subject_id", ids), subject_kind=name).open()
    rows.filter(cause_id=None).update(cause_id=cause.pk)
    rows.filter(state=DeletionRequest.State.SCHEDULED, due_at__gt=now).update(due_at=now)
    rows.filter(state=DeletionRequest.State.FAILED).update(retry_at=None)
    known = {pk: (deletion, state) for pk, deletion, state in rows.values_list(*COLUMNS)}
    new = [pk for pk in ids if pk not in known]
    for pk, deletion in _ask(name, new, cause, actor, now).items():
        known[pk] = deletion, DeletionRequest.State.SCHEDULED
    return [Candidate(now, known[pk][0], name, pk, known[pk][1]) for pk in ids if pk in known]


def _ask(
    name: str, ids: Sequence[UUID], cause: DeletionRequest, actor: Actor, now: datetime
) -> dict[UUID, UUID]:
    """Write the requests of companions that have none; return them by subject, those left out that
    are gone."""
    if not ids:
        return {}
    # No soft delete before: it would take sessions that no receipt counts.
    with transaction.atomic(durable=True):
        there = lock_subjects(name, ids)
        return requests.schedule_many(
            actor=actor,
            kind=name,
            ids=list(there),
            due_at=now,
            now=now,
            organization_id=cause.subject_id,
            cause_id=cause.pk,
        )
