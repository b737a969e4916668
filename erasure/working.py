"""What one worker does with some candidates: as a set, in halves when the set fails, alone what no
set can take. Whatever happens to one subject, the others go on."""

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import OperationalError, transaction

from audit.actors import Actor
from audit.events import Reference
from audit.statements import Among
from erasure import requests
from erasure.alone import (
    Budget,
    BudgetSpent,
    Clock,
    claim_alone,
    erase_claimed,
    piece,
    was_cancelled,
)
from erasure.closing import Erasure
from erasure.exceptions import (
    DeletionInProgress,
    LedgerUnavailable,
    Paused,
    UnderLegalHold,
)
from erasure.holds import held_among
from erasure.models import DeletionRequest
from erasure.requests import LeaseLost
from erasure.sets import Candidate, Outcome, OverBudget, SetTooLarge, erase_set
from erasure.subjects import get_kind, lock_subject

logger = logging.getLogger("sexton.erasure")

COMPANIONS = 200
"""Companions that are sent ahead of their subject at a time."""

COLUMNS = ("subject_id", "pk", "state")

NO_LEDGER = "the ledger cannot be written"
NO_ROWS = "no more rows may be removed in this run"


class CompanionsLeft(Exception):
    """Somebody who goes along with a subject is still there, so the subject waits."""


def work_off(
    candidates: Sequence[Candidate], *, actor: Actor, clock: Clock, budget: Budget
) -> Outcome:
    """Erase candidates of one kind and return what became of each. Raises nothing but what keeps
    the database from being asked at all."""
    outcome = Outcome()
    # What failed before, or was left half done by a worker that died, is no matter for a set.
    fresh = [it for it in candidates if it.state == DeletionRequest.State.SCHEDULED]
    outcome.alone = [it for it in candidates if it.state != DeletionRequest.State.SCHEDULED]
    _work_off_set(fresh, outcome, actor=actor, clock=clock, budget=budget)
    for candidate in outcome.alone:
        if outcome.stopped:
            break
        work_off_one(candidate, outcome, actor=actor, clock=clock, budget=budget)
    outcome.alone = []
    return outcome


def _work_off_set(
    candidates: list[Candidate], outcome: Outcome, *, actor: Actor, clock: Clock, budget: Budget
) -> None:
    """Erase a set; when it fails, nothing of it was kept, and each half is a set of its own."""
    if not candidates or outcome.stopped:
        return
    parts: list[list[Candidate]] = []
    try:
        done = erase_set(candidates, actor=actor, now=clock(), budget=budget.left)
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
        _work_off_set(part, outcome, actor=actor, clock=clock, budget=budget)


def _halve(candidates: list[Candidate], outcome: Outcome) -> list[list[Candidate]]:
    """Return two halves; a single candidate is set aside to be done alone."""
    if len(candidates) <= 1:
        outcome.alone += candidates
        return []
    middle = len(candidates) // 2
    return [candidates[:middle], candidates[middle:]]


def work_off_one(
    candidate: Candidate, outcome: Outcome, *, actor: Actor, clock: Clock, budget: Budget
) -> None:
    """Erase one subject under a lease, whoever goes along with it first. A failure is written down
    in its request, and when it is tried again."""
    request = claim_alone(candidate, now=clock())
    if request is None:
        outcome.busy += 1
        return
    try:
        _send_ahead(request, outcome, actor=actor, clock=clock, budget=budget)
        done = erase_claimed(request, actor=actor, clock=clock, budget=budget)
        outcome.erased.append(done)
        outcome.longest = max(outcome.longest, budget.longest)
    except UnderLegalHold:
        outcome.held += 1
        requests.release(request)
    except Paused:
        outcome.paused += 1
        requests.release(request)
    except (BudgetSpent, LedgerUnavailable) as error:
        outcome.stopped = NO_ROWS if isinstance(error, BudgetSpent) else NO_LEDGER
        requests.release(request)
    except LeaseLost:
        outcome.busy += 1
    except Exception as error:
        logger.exception("erasure failed", extra={"deletion": str(request.pk)})
        outcome.failed[request.pk] = requests.fail(request, error, now=clock())


def erase_stepwise(
    request: DeletionRequest, *, actor: Actor, clock: Clock
) -> tuple[Erasure, list[Erasure]]:
    """Carry an erasure that somebody waits for to its end, in many transactions under its lease;
    return it and those of whoever went along.

    Raises UnderLegalHold, Paused, LedgerUnavailable, DeletionInProgress when another worker took it
    over, or whatever the database says. The purge goes on with what is left.
    """
    outcome, budget = Outcome(), Budget()
    try:
        _send_ahead(request, outcome, actor=actor, clock=clock, budget=budget)
        done = erase_claimed(request, actor=actor, clock=clock, budget=budget)
    except (UnderLegalHold, Paused, LedgerUnavailable):
        requests.release(request)
        raise
    except LeaseLost as error:
        raise DeletionInProgress(request.subject_kind, request.subject_id) from error
    except Exception as error:
        requests.fail(request, error, now=clock())
        raise
    return done, outcome.erased


def _send_ahead(
    request: DeletionRequest, outcome: Outcome, *, actor: Actor, clock: Clock, budget: Budget
) -> None:
    """Erase those who go along with a claimed subject, each under a request of its own.

    Raises UnderLegalHold when a hold keeps one of them, and CompanionsLeft when one fails.
    """
    kind = get_kind(request.subject_kind)
    subject_id = request.subject_id
    ahead = list(kind.companions([subject_id]).get(subject_id, ()))
    for start in range(0, len(ahead), COMPANIONS):
        for name in sorted({it.kind for it in ahead}):
            some = [it for it in ahead[start : start + COMPANIONS] if it.kind == name]
            if candidates := _hurry(name, some, request, actor=actor, now=clock()):
                part = work_off(candidates, actor=actor, clock=clock, budget=budget)
                outcome.add(part)
        _raise_stop(outcome)
        with piece(request, clock=clock) as (_, mine):
            requests.advance(mine, now=clock())
    left = kind.companions([subject_id]).get(subject_id, ()) if ahead else ()
    for name in {it.kind for it in left}:
        if held_among(name, [it.id for it in left if it.kind == name]):
            raise UnderLegalHold(request.subject_kind, subject_id)
    if left:
        raise CompanionsLeft(len(left))


def _raise_stop(outcome: Outcome) -> None:
    """Raise what stopped the companions, for the subject waits for the same."""
    if outcome.stopped == NO_LEDGER:
        raise LedgerUnavailable(NO_LEDGER)
    if outcome.stopped == NO_ROWS:
        raise BudgetSpent
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
    rows.filter(state=DeletionRequest.State.SCHEDULED, due_at__gt=now).update(due_at=now)
    rows.filter(state=DeletionRequest.State.FAILED).update(retry_at=None)
    known = {pk: (deletion, state) for pk, deletion, state in rows.values_list(*COLUMNS)}
    for companion in companions:
        if companion.id not in known and (asked := _ask(companion, cause, actor, now)):
            known[companion.id] = asked, DeletionRequest.State.SCHEDULED
    return [Candidate(now, known[pk][0], name, pk, known[pk][1]) for pk in ids if pk in known]


def _ask(companion: Reference, cause: DeletionRequest, actor: Actor, now: datetime) -> UUID | None:
    """Write the request of a companion that has none; None when it is gone."""
    with transaction.atomic(durable=True):
        if lock_subject(companion) is None:
            return None
        # No soft delete before: it would take sessions that no receipt counts.
        request = requests.schedule(
            actor=actor,
            subject=companion,
            due_at=now,
            now=now,
            before={},
            organization_id=cause.subject_id,
            cause_id=cause.pk,
        )
        return request.pk
