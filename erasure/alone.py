"""The erasure of one subject by itself, under a lease: what is too large for a set, what failed in
one, what takes others along.

A large subject is drained in pieces, each in a transaction of its own that also holds the counts,
the place it got to, and a longer lease; so a crash costs one piece, and the next worker goes on
where the last one stopped. The fence is the lease's token, read again in each piece.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import Any

from django.db import OperationalError, connection, transaction

from audit.actors import Actor
from audit.events import Reference
from erasure import requests
from erasure.brakes import read_brakes
from erasure.branches import is_tree
from erasure.closing import Erasure, intend_one, retract
from erasure.closure import closure_of
from erasure.deleting import forbid_blocked
from erasure.draining import Drain, Moved
from erasure.exceptions import Paused, SubjectNotFound
from erasure.files import note_files
from erasure.finishing import add_counts, finish_erasure
from erasure.holds import forbid_held
from erasure.locking import can_suspend, lock_free
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from erasure.sets import LARGE, Candidate
from erasure.stopping import is_stopping
from erasure.subjects import get_kind, kind_names, lock_subject
from erasure.verifying import identify
from erasure.watching import Watch, expect_rows

logger = logging.getLogger("sexton.erasure")

Clock = Callable[[], datetime]

PIECE = 0.05
"""Seconds in which one transaction of a drain removes rows, the taking of its locks included. Its
record comes on top, and the statement that is under way when the time is up."""


BEGUN = {"begun", "large"}
"""What the cursor of a subject holds that is drained, or is to be."""

KEPT = ("intent", "spare", "large", "ahead")
"""What a cursor holds beside the place of the drain."""


class BudgetSpent(Exception):
    """The run may remove no more rows; the rest of the subject waits for the next one."""


class GaveWay(Exception):
    """The process is asked to end, or to do something else. The rest of the subject waits."""


class StillAlive(Exception):
    """The subject is not soft deleted. Unattended work does not erase what is in use."""


@dataclass
class Budget:
    """The rows that a run may still remove; None: as many as there are. ``spent`` counts them.

    ``gives_way`` is asked between two transactions of a large subject whether to stop there, and
    ``on_piece`` is told of the request after each.
    """

    left: int | None = None
    spent: int = 0
    longest: float = 0.0
    gives_way: Callable[[], bool] = is_stopping
    on_piece: Callable[[DeletionRequest], None] | None = None

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
    request: DeletionRequest,
    *,
    actor: Actor,
    clock: Clock,
    budget: Budget,
    searches: bool = False,
) -> Erasure:
    """Erase the subject of a claimed request, in pieces if it is large. With ``searches`` what
    identifies it is taken before its row goes.

    Raises LeaseLost, UnderLegalHold, Paused, Blocked, BudgetSpent, LedgerUnavailable, or whatever
    the database says. What was committed until then stays done and counted.
    """
    if BEGUN & request.cursor.keys() or is_large(request.subject):
        _drain(request, actor=actor, clock=clock, budget=budget)
    rows = sum(request.counts.values())
    started = perf_counter()
    with piece(request, clock=clock) as (instance, mine):
        forbid_alive(mine, instance)
        forbid_blocked(mine.subject)
        spare = mine.cursor.get("spare", ())
        drain = _rest_of(mine, spare) if mine.cursor.get("done") else None
        names = _identify(mine, instance) if searches else ()
        done = finish_erasure(mine, instance, actor=actor, now=clock(), spare=spare, drain=drain)
        more = sum(done.counts.values()) - rows
        if budget.allow(more) < more:
            raise BudgetSpent
    budget.spend(more)
    budget.longest = max(budget.longest, perf_counter() - started)
    return replace(done, identifiers=names)


def _identify(request: DeletionRequest, instance: Any | None) -> tuple[str, ...]:
    if instance is None:
        return (str(request.subject_id),)
    return identify(get_kind(request.subject_kind), [instance])[request.subject_id]


def _rest_of(request: DeletionRequest, spare: Collection[str]) -> Drain | None:
    closure = closure_of(request.subject_kind)
    return Drain(closure, request.subject_id, spare) if is_tree(closure.graph) else None


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


def forbid_mistaken(subject: Reference) -> None:
    """Raise StillAlive when the id of a subject that is gone is that of a living one of another
    kind: whoever wrote such a request would have erased what names that one by its id alone."""
    for name in kind_names():
        kind = get_kind(name)
        theirs = kind.model._base_manager.filter(pk=kind.pk_of(subject.id))
        if name != subject.kind and theirs.exists():
            raise StillAlive(subject.id)


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
    request: DeletionRequest, *, clock: Clock
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
            instance = lock_subject(request.subject)
            mine = requests.lock_claimed(request)
            forbid_held(mine.subject)
            if instance is None:
                forbid_mistaken(mine.subject)
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
    drain = Drain(
        closure, request.subject_id, request.cursor.get("spare", ()), cursor=request.cursor
    )
    watch = Watch(expected=request.cursor.get("expected") or expect_rows(closure, request))
    while not request.cursor.get("done"):
        if budget.gives_way():
            raise GaveWay
        if budget.left is not None and budget.left <= 0:
            raise BudgetSpent
        started = perf_counter()
        try:
            rows = _remove_some(request, drain, watch, budget.left, actor, clock)
        except (OperationalError, Moved) as error:
            is_slow = isinstance(error, OperationalError)
            if is_slow and not was_cancelled(error):
                raise
            if not drain.lose(request.cursor, was_cancelled=is_slow):
                raise
            continue
        budget.spend(rows)
        budget.longest = max(budget.longest, perf_counter() - started)
        if budget.on_piece:
            budget.on_piece(request)
    drain.read_past()


def _remove_some(
    request: DeletionRequest,
    drain: Drain,
    watch: Watch,
    limit: int | None,
    actor: Actor,
    clock: Clock,
) -> int:
    """Remove one piece and write down how far that is; return the rows that went or changed."""
    now, started = clock(), perf_counter()
    with piece(request, clock=clock) as (instance, mine):
        if not mine.cursor.get("begun"):
            forbid_alive(mine, instance)
            forbid_blocked(mine.subject)
            intend_one(mine, instance, now=now, is_last=False)
            # The rows that the orders are written from go in this piece or a later one.
            get_kind(mine.subject_kind).order_effects([mine.subject_id], actor=actor, now=now)
            # A file stays for as long as some row names it, so all may be noted now.
            note_files(mine.subject_kind, [mine.subject_id], now=now)
        left = PIECE - (perf_counter() - started)
        tally, place = drain.work(seconds=left, limit=limit)
        add_counts(mine, tally.removed.get(mine.subject_id, {}))
        known = {name: mine.cursor[name] for name in KEPT if name in mine.cursor}
        known |= watch.note(mine.cursor)
        mine.cursor = {"begun": True, **known, **(place or {"done": True})}
        requests.advance(mine, now=now)
    # A crash from here on finds the piece done, counted and remembered.
    request.counts, request.cursor = mine.counts, mine.cursor
    parts = (tally.removed, tally.detached, tally.anonymised)
    return sum(sum(part.get(mine.subject_id, {}).values()) for part in parts)


def was_cancelled(error: Exception) -> bool:
    """Whether the database gave up a statement because it took too long."""
    cause = error.__cause__
    return connection.vendor == "postgresql" and getattr(cause, "sqlstate", "") == "57014"
