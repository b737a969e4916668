"""The erasure of a set of subjects of one kind in one transaction.

The subjects' row locks are the claim: rows that somebody else holds are skipped, and nothing is
written that says "running". So a crash leaves the set as it was, and another worker takes it. What
does not fit into a set is handed back, to be done alone: subjects that are large, that go along
with others or take others along, that are gone already, and those that something blocks.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.statements import Among, select
from erasure import notices
from erasure.brakes import read_brakes
from erasure.closing import Due, Erasure, close_set, intend_set, prepare_closing, retract
from erasure.closure import closure_of
from erasure.files import note_files
from erasure.holds import held_among
from erasure.ledger import Entry
from erasure.locking import Locked, can_suspend, lock_free
from erasure.models import DeletionRequest
from erasure.subjects import SubjectKind, get_kind
from erasure.verifying import identify

LARGE = 5_000
"""Rows of one subject from which on it is drained in pieces, alone."""

SET_ROWS = 50_000
"""Rows that one set may remove in all."""


class Candidate(NamedTuple):
    """A request that looked due when it was last seen."""

    due_at: datetime
    id: UUID
    kind: str
    subject_id: UUID
    state: str = "scheduled"


class SetTooLarge(Exception):
    """The set removes more rows than a transaction may. Nothing was kept; ``large`` names the
    subjects that must be done alone."""

    def __init__(self, large: Sequence[UUID]) -> None:
        super().__init__(len(large))
        self.large = set(large)


class OverBudget(Exception):
    """The set removes more rows than the run may still remove. Nothing was kept."""


@dataclass
class Outcome:
    """What became of some candidates. ``failed`` names requests with the reasons of the failure;
    ``alone`` those that do not fit into a set. With ``only_counts`` it keeps the number of those
    who were erased and not each: an organization may take a hundred thousand users along."""

    erased: list[Erasure] = field(default_factory=list)
    number: int = 0
    only_counts: bool = False
    failed: dict[UUID, str] = field(default_factory=dict)
    alone: list[Candidate] = field(default_factory=list)
    held: int = 0
    paused: int = 0
    busy: int = 0
    stopped: str = ""
    was_slow: bool = False
    longest: float = 0.0
    measured: tuple[int, float] = (0, 0.0)
    """Size and seconds of the largest set that was erased at once."""

    def take(self, erased: Sequence[Erasure], number: int | None = None) -> None:
        """Take in further erasures, or so many."""
        self.number += len(erased) if number is None else number
        if not self.only_counts:
            self.erased += erased

    def add(self, other: "Outcome") -> None:
        """Take in what became of further candidates."""
        self.take(other.erased, other.number)
        self.failed |= other.failed
        self.held += other.held
        self.paused += other.paused
        self.busy += other.busy
        self.stopped = self.stopped or other.stopped
        self.was_slow |= other.was_slow
        self.longest = max(self.longest, other.longest)
        self.measured = max(self.measured, other.measured)


def erase_set(
    candidates: Sequence[Candidate],
    *,
    actor: Actor,
    now: datetime,
    budget: int | None = None,
    goes_along: bool = False,
    searches: bool = False,
) -> Outcome:
    """Erase those of the candidates, all of one kind, that are still due under their locks.

    ``budget`` is the most rows that may go. With ``goes_along`` those are taken, too, who are not
    soft deleted: they go with a subject that is. With ``searches`` what identifies each of them is
    taken before it goes. Raises SetTooLarge, OverBudget, LedgerUnavailable, or whatever the
    database says; then nothing of the set was changed.
    """
    started = time.perf_counter()
    kind = get_kind(candidates[0].kind)
    outcome = Outcome()
    intents: list[Entry] = []
    is_committing = False
    try:
        with transaction.atomic(durable=True):
            by_id = {it.subject_id: it for it in candidates}
            locked = lock_free(kind, list(by_id), is_bounded=True)
            outcome.busy = _set_aside_missing(kind, by_id, locked, outcome)
            if ready := _choose(kind, by_id, locked, outcome, now, goes_along):
                born = {it.subject_id: locked[it.subject_id].born for it in ready}
                intents = intend_set(kind.name, ready, born, now=now)
                erased = _erase(
                    kind, ready, intents, actor=actor, now=now, budget=budget, searches=searches
                )
                outcome.take(erased)
            is_committing = True
    except BaseException:
        # If the commit itself failed nobody knows what came of it, and the sweep finds out.
        if not is_committing:
            retract(intents)
        raise
    outcome.longest = time.perf_counter() - started
    outcome.measured = len(outcome.erased), outcome.longest
    return outcome


def _erase(
    kind: SubjectKind,
    ready: Sequence[Due],
    intents: Sequence[Entry],
    *,
    actor: Actor,
    now: datetime,
    budget: int | None,
    searches: bool,
) -> list[Erasure]:
    ids = [it.subject_id for it in ready]
    tells = notices.sends_mail()
    rows = _read_rows(kind, ids) if tells or searches else []
    whom = notices.gather(kind.name, rows) if tells else {}
    names = identify(kind, rows) if searches else {}
    ordered = kind.order_effects(ids, actor=actor, now=now)
    told: dict[UUID, Sequence[str]] = dict(ordered)
    told |= {pk: [*it.channels, *ordered.get(pk, ())] for pk, it in whom.items()}
    note_files(kind.name, ids, now=now)
    closure = closure_of(kind.name)
    tally = closure.carry_out(ids)
    counts = {it.subject_id: _count(it, tally.removed.get(it.subject_id, {})) for it in ready}
    _check_size(counts, budget)
    closing = prepare_closing(kind.name, ready, counts, told, intents, now=now)
    done = close_set(closing, actor=actor, now=now)
    if whom:
        requests = DeletionRequest.objects.filter(pk__in=[it.id for it in ready])
        notices.tell_erased(list(requests), whom)
    if names:
        done = [replace(it, identifiers=names[it.subject.id]) for it in done]
    return done


def _count(due: Due, removed: dict[str, int]) -> dict[str, int]:
    if not due.counts:
        return removed
    return {it: due.counts.get(it, 0) + removed.get(it, 0) for it in due.counts | removed}


def _set_aside_missing(
    kind: SubjectKind,
    by_id: Mapping[UUID, Candidate],
    locked: Mapping[UUID, Locked],
    outcome: Outcome,
) -> int:
    """Hand back the requests whose subjects are gone, and return how many rows others hold."""
    missing = [pk for pk in by_id if pk not in locked]
    if not missing:
        return 0
    keys = [kind.pk_of(pk) for pk in missing]
    there = kind.model._base_manager.filter(pk__in=keys).values_list("pk", flat=True)
    existing = {kind.id_of(pk) for pk in there}
    outcome.alone += [by_id[pk] for pk in missing if pk not in existing]
    return len(existing)


def _choose(
    kind: SubjectKind,
    by_id: Mapping[UUID, Candidate],
    locked: Mapping[UUID, Locked],
    outcome: Outcome,
    now: datetime,
    goes_along: bool,
) -> list[Due]:
    """Read again, under the locks, what decides: pauses, companions, the requests, holds.

    Who is soft deleted stands in nobody's way any more, so blockers are asked for only where there
    is no soft delete, and of those who go along with another subject alive. Anybody else who is
    not deleted although a deletion is due goes alone, where it is told.
    """
    if not locked:
        return []
    ids = list(locked)
    held = held_among(ids)
    brakes = read_brakes(ids)
    if brakes.is_global:
        outcome.stopped = f"paused: {brakes.reason}"
        return []
    involved = kind.takers(ids)
    alive = [pk for pk in ids if not locked[pk].is_suspended]
    if alive and not goes_along and can_suspend(kind):
        involved |= set(alive)
    elif alive:
        kind.lock_family(alive)
        involved |= kind.blockers(alive).keys()
    ready = []
    deletions = [by_id[pk].id for pk in ids]
    for due in _read_due(deletions, now):
        if due.subject_id in held:
            outcome.held += 1
        elif brakes.stop(due.subject_id, due.organization_id):
            outcome.paused += 1
        elif due.subject_id in involved:
            outcome.alone.append(by_id[due.subject_id])
        else:
            ready.append(due)
    return ready


def _read_due(ids: Sequence[UUID], now: datetime) -> list[Due]:
    """Return those of the requests that are due still and that no erasure was tried for yet."""
    return [Due(*row) for row in _due.all(ids=ids, now=now)]


@select
def _due(ids: list[UUID], now: datetime) -> Any:
    scheduled = DeletionRequest.State.SCHEDULED
    rows = DeletionRequest.objects.filter(Among("id", ids), state=scheduled, due_at__lte=now)
    return rows.order_by().values_list(*Due._fields)


def _check_size(counts: Mapping[UUID, Mapping[str, int]], budget: int | None) -> None:
    sizes = {pk: sum(rows.values()) for pk, rows in counts.items()}
    total = sum(sizes.values())
    if large := [pk for pk, rows in sizes.items() if rows > LARGE]:
        raise SetTooLarge(large)
    if budget is not None and total > budget:
        raise OverBudget
    if total > SET_ROWS:
        raise SetTooLarge([])


def _read_rows(kind: SubjectKind, ids: Sequence[UUID]) -> list[Any]:
    return list(kind.model._base_manager.filter(pk__in=[kind.pk_of(pk) for pk in ids]))
