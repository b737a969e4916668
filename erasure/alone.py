"""The erasure of one subject by itself, under a lease: what is too large for a set, what failed in
one, what takes others along.

A large subject is drained in pieces, each in a transaction of its own that also holds the counts,
the place it got to, and a longer lease; so a crash costs one piece, and the next worker goes on
where the last one stopped. The fence is the lease's token, read again in each piece.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Any

from django.db import OperationalError, connection, transaction

from audit.actors import Actor
from erasure import requests
from erasure.brakes import read_brakes
from erasure.chunks import carry_out_some
from erasure.closing import Erasure, intend_one, retract
from erasure.closure import Closure, closure_of
from erasure.deleting import forbid_blocked
from erasure.exceptions import Paused, SubjectNotFound
from erasure.files import note_files
from erasure.finishing import add_counts, finish_erasure
from erasure.holds import forbid_held
from erasure.locking import bound_statements, can_suspend, lock_free
from erasure.models import DeletionRequest
from erasure.pacing import Pace
from erasure.planner import make_plan
from erasure.sets import LARGE, Candidate
from erasure.subjects import get_kind, lock_subject

logger = logging.getLogger("sexton.erasure")

Clock = Callable[[], datetime]

PIECE = 2_000
"""Rows of the first piece of a drain; the pace finds its own size from there."""


class BudgetSpent(Exception):
    """The run may remove no more rows; the rest of the subject waits for the next one."""


class StillAlive(Exception):
    """The subject is not soft deleted. Unattended work does not erase what is in use."""


@dataclass
class Budget:
    """The rows that a run may still remove; None: as many as there are. ``spent`` counts them."""

    left: int | None = None
    spent: int = 0
    longest: float = 0.0

    def spend(self, rows: int) -> None:
        self.spent += rows
        if self.left is not None:
            self.left -= rows

    def allow(self, wanted: int) -> int:
        return wanted if self.left is None else min(wanted, self.left)


def claim_alone(candidate: Candidate, *, now: datetime) -> DeletionRequest | None:
    """Take a due request under a lease; None when somebody works on its subject or has it already.

    The subject's row is locked for the claim: a set that holds it is not surprised.
    """
    kind = get_kind(candidate.kind)
    with transaction.atomic(durable=True):
        if not lock_free(kind, [candidate.subject_id]):
            there = kind.model._base_manager.filter(pk=kind.pk_of(candidate.subject_id))
            if there.exists():
                return None
        return requests.claim(candidate.id, now=now)


def erase_claimed(
    request: DeletionRequest, *, actor: Actor, clock: Clock, budget: Budget
) -> Erasure:
    """Erase the subject of a claimed request, in pieces if it is large.

    Raises LeaseLost, UnderLegalHold, Paused, Blocked, BudgetSpent, LedgerUnavailable, or whatever
    the database says. What was committed until then stays done and counted.
    """
    if request.cursor or is_large(request.subject):
        _drain(request, actor=actor, clock=clock, budget=budget)
    rows = sum(request.counts.values())
    started = perf_counter()
    with piece(request, clock=clock) as (instance, mine):
        forbid_alive(mine, instance)
        forbid_blocked(mine.subject)
        spare = mine.cursor.get("spare", ())
        done = finish_erasure(mine, instance, actor=actor, now=clock(), spare=spare)
        more = sum(done.counts.values()) - rows
        if budget.allow(more) < more:
            raise BudgetSpent
    budget.spend(more)
    budget.longest = max(budget.longest, perf_counter() - started)
    return done


def forbid_alive(request: DeletionRequest, instance: Any | None) -> None:
    """Raise StillAlive for a subject that is in use although its deletion is due: somebody brought
    it back by hand, past the restore that would have cancelled the deletion. Who goes along with
    a subject that is being erased goes, alive or not."""
    kind = get_kind(request.subject_kind)
    if instance is None or not can_suspend(kind) or kind.is_suspended(instance):
        return
    running = DeletionRequest.objects.filter(state=DeletionRequest.State.RUNNING)
    if request.cause_id is None or not running.filter(pk=request.cause_id).exists():
        raise StillAlive(request.subject_id)


def is_large(subject: Any) -> bool:
    """Whether a subject has more rows than a transaction should remove. Counts up to there only."""
    try:
        plan = make_plan(subject, cap=LARGE)
    except SubjectNotFound:
        # Its own row is gone; what names it without a foreign key may still be there.
        left = closure_of(subject.kind).count([subject.id]).removed
        return sum(sum(rows.values()) for rows in left.values()) > LARGE
    return plan.capped or plan.total > LARGE


@contextmanager
def piece(
    request: DeletionRequest, *, clock: Clock, is_bounded: bool = False
) -> Iterator[tuple[Any | None, DeletionRequest]]:
    """One transaction of a claimed erasure: subject and request locked, in this order, the fence
    passed, holds and pauses read again. Yields the subject's row and the request.

    What the ledger was told in a piece that comes to nothing is taken back. Not when the commit
    itself fails: then nobody knows, and the sweep finds out.
    """
    mine: DeletionRequest | None = None
    is_committing = False
    try:
        with transaction.atomic(durable=True):
            if is_bounded:
                bound_statements()
            instance = lock_subject(request.subject)
            mine = requests.lock_claimed(request)
            forbid_held(mine.subject)
            brakes = read_brakes([mine.subject_id])
            if brakes.stop(mine.subject_id, mine.organization_id):
                raise Paused(brakes.reason)
            yield instance, mine
            is_committing = True
    except BaseException:
        if mine is not None and not is_committing:
            retract([entry] if (entry := vars(mine).get("intent")) else [])
        raise


def _drain(request: DeletionRequest, *, actor: Actor, clock: Clock, budget: Budget) -> None:
    """Remove a large subject's rows piece by piece, all but its own row and what came meanwhile."""
    closure = closure_of(request.subject_kind)
    pace = Pace(size=PIECE, least=50, most=20_000)
    while not request.cursor.get("done"):
        if (size := budget.allow(pace.size)) <= 0:
            raise BudgetSpent
        started = perf_counter()
        try:
            rows = _remove_some(request, closure, size, actor, clock)
        except OperationalError as error:
            if not was_cancelled(error) or pace.size == pace.least:
                raise
            pace.shrink()
            continue
        seconds = perf_counter() - started
        budget.spend(rows)
        budget.longest = max(budget.longest, seconds)
        pace.observe(rows, seconds)
    # The rows that went are dead entries in the indexes until somebody reads past them. Reading
    # marks them, outside of any lock, so that the last cascade need not look at each.
    closure.count([request.subject_id])


def _remove_some(
    request: DeletionRequest, closure: Closure, size: int, actor: Actor, clock: Clock
) -> int:
    """Remove one piece and write down how far that is; return the rows that went or changed."""
    now = clock()
    with piece(request, clock=clock, is_bounded=True) as (instance, mine):
        if not mine.cursor.get("begun"):
            forbid_alive(mine, instance)
            forbid_blocked(mine.subject)
            intend_one(mine, instance, now=now, is_last=False)
            # The rows that the orders are written from go in this piece or a later one.
            get_kind(mine.subject_kind).order_effects([mine.subject_id], actor=actor, now=now)
            # A file stays for as long as some row names it, so all may be noted now.
            note_files(mine.subject_kind, [mine.subject_id], now=now)
        spare = mine.cursor.get("spare", [])
        tally, after = carry_out_some(
            closure, mine.subject_id, cursor=mine.cursor, limit=size, spare=spare
        )
        removed = tally.removed.get(mine.subject_id, {})
        add_counts(mine, removed)
        known = {name: mine.cursor[name] for name in ("intent",) if name in mine.cursor}
        mine.cursor = {"begun": True, "spare": spare, **known, **(after or {"done": True})}
        requests.advance(mine, now=now)
    # A crash from here on finds the piece done, counted and remembered.
    request.counts, request.cursor = mine.counts, mine.cursor
    parts = (tally.removed, tally.detached, tally.anonymised)
    return sum(sum(part.get(mine.subject_id, {}).values()) for part in parts)


def was_cancelled(error: Exception) -> bool:
    """Whether the database gave up a statement because it took too long."""
    cause = error.__cause__
    return connection.vendor == "postgresql" and getattr(cause, "sqlstate", "") == "57014"
