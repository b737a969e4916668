"""The purge: erases whatever is due, unattended.

Sets of subjects first, in the order in which they became due; what a set hands back goes alone,
right after it; what failed before comes last, so that no heap of failures at the head of the queue
keeps the others waiting. Pauses, limits and the number of failures are looked at between any two
transactions.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from audit.actors import Actor
from erasure import gate, receipts
from erasure.alone import Budget, Clock
from erasure.closing import Erasure
from erasure.exceptions import LedgerUnavailable
from erasure.jobs import Crew, gather_crew
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest
from erasure.pacing import Pace
from erasure.sets import Candidate, Outcome
from erasure.stopping import is_stopping
from erasure.subjects import lock_order
from erasure.verifying import Residue, search_batch
from erasure.working import GAVE_WAY, NO_LEDGER, NO_ROWS

logger = logging.getLogger("sexton.erasure")

CANARY = 10
"""Subjects of the first set. If most of them fail, the run ends before it does more damage."""

PAGE = 1_000
"""Due requests that are read at a time."""

FEW_TO_READ = 1_000
"""So many entries of the ledger are read again at the end of a run; more are left to the sweep."""

FEW = 3
"""So many failures are no reason to stop, whatever their share."""

BATCH = 1_000
"""Subjects whose identifiers are held in memory, and that one search looks for."""

Progress = Callable[[Sequence[Erasure], "PurgeReport"], None]


@dataclass
class PurgeReport:
    """What a purge did. ``failed`` names the requests that failed, with their reasons; ``stopped``
    says why the run ended before everything that is due was looked at, or is empty; ``residue`` is
    what the residual searches found, None when none was asked for."""

    erased: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    failed: dict[UUID, str] = field(default_factory=dict)
    held: int = 0
    paused: int = 0
    busy: int = 0
    stopped: str = ""
    longest: float = 0.0
    residue: Residue | None = None

    @property
    def total(self) -> int:
        """Rows removed in all."""
        return sum(self.rows.values())

    def take(self, rows: Mapping[str, int]) -> None:
        """Count one more subject that was erased, with its rows."""
        self.erased += 1
        for label, number in rows.items():
            self.rows[label] = self.rows.get(label, 0) + number


def purge_due(
    *,
    actor: Actor,
    clock: Clock,
    limit: int | None = None,
    max_rows: int | None = None,
    before: datetime | None = None,
    only: str | None = None,
    canary: bool = True,
    jobs: int | None = None,
    searches: bool | None = None,
    on_progress: Progress | None = None,
    gives_way: Callable[[], bool] | None = None,
) -> PurgeReport:
    """Erase every subject that is due and return what happened.

    One that fails is named in the report and left for a later run while the others go on. ``limit``
    bounds the subjects and ``max_rows`` the rows; ``before`` takes only what was due by then, and
    ``only`` one kind of subject. ``jobs`` is the number of processes, by default the setting
    ERASURE_PURGE_JOBS, and one on SQLite or under ``max_rows``. ``clock`` is read for each
    transaction. ``on_progress`` hears of each finished set, since the report itself keeps no list
    of what was erased; ``gives_way`` is asked between sets whether the run should end.

    With ``searches``, by default the setting ERASURE_PURGE_SEARCH, everything that is stored is
    searched for what identified the erased, about a thousand of them in one pass, and their
    receipts state the result. On a database that is older than its ledger nothing is done.
    """
    searches = searches_by_default() if searches is None else searches
    if reason := gate.look():
        return PurgeReport(stopped=reason)
    budget = Budget(max_rows)
    try:
        # Receipts name the ledger and their wording, so both are there before the first set.
        open_ledger().create()
        since = gate.stand()
    except LedgerUnavailable:
        return PurgeReport(stopped=NO_LEDGER)
    many = _count_jobs(jobs) if max_rows is None else 1
    run = Run(actor, clock, limit, budget, on_progress or _say_nothing, before, only)
    run.gives_way = gives_way or _never
    run.report.residue = Residue() if searches else None
    with gather_crew(many, actor=actor, clock=clock, budget=budget, searches=searches) as crew:
        run.work_through(crew, canary=canary)
    _settle(since, run.report, clock())
    run.search()
    return run.report


def searches_by_default() -> bool:
    """Return whether those who were erased are searched for: the setting ERASURE_PURGE_SEARCH."""
    return bool(getattr(settings, "ERASURE_PURGE_SEARCH", False))


def search_for(
    sought: Mapping[UUID, Sequence[str]], residue: Residue, *, actor: Actor, now: datetime
) -> None:
    """Search for the subjects of finished deletions and add it to ``residue``. What goes wrong with
    a search undoes no erasure: the receipts go on saying that nobody has searched."""
    before = residue.subjects
    try:
        search_batch(sought, residue, actor=actor, now=now, on_progress=_forbid_stopping)
    except Exception as error:  # noqa: BLE001 - whatever it is, the purge goes on
        # An error's text may quote what was searched for.
        logger.error("a residual search failed", extra={"error": type(error).__name__})
        residue.missed += len(sought) - (residue.subjects - before)


def _settle(since: gate.Stand | None, report: PurgeReport, now: datetime) -> None:
    """Outside of the run: whoever looks next need not read again what is settled now. If it cannot
    be said now, the sweep says it."""
    with suppress(LedgerUnavailable):
        if not gate.advance_past_own(since, now=now) and report.erased <= FEW_TO_READ:
            gate.advance(now=now)


def find_due(now: datetime, before: datetime | None, only: str | None) -> Any:
    """Return the requests that are due, longest first: what a run works through and a dry run
    shows."""
    rows = DeletionRequest.objects.due(now)
    if before is not None:
        rows = rows.filter(due_at__lte=before)
    return rows.filter(subject_kind=only) if only else rows


@dataclass
class Run:
    """One purge under way. What is due is read by the thousand and worked off by the set; whatever
    has changed meanwhile is seen under the locks of the set."""

    actor: Actor
    clock: Clock
    limit: int | None
    budget: Budget
    on_progress: Progress
    before: datetime | None
    only: str | None
    report: PurgeReport = field(default_factory=PurgeReport)
    pace: Pace = field(default_factory=Pace)
    tried: int = 0
    worded: set[str] = field(default_factory=set)
    sought: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    gives_way: Callable[[], bool] = field(default=lambda: False)

    def work_through(self, crew: Crew, *, canary: bool) -> None:
        """Take set after set until nothing is due or something ends the run."""
        for is_retry in (False, True):
            waiting = deque[Candidate]()
            place: Candidate | None = None
            while not self._must_stop():
                if not waiting:
                    waiting.extend(self._read(place, is_retry))
                    if not waiting:
                        break
                    place = waiting[-1]
                size = min(CANARY if canary else self.pace.size, self._left(), len(waiting))
                page = [waiting.popleft() for _ in range(size)]
                self.tried += size
                self._keep_wordings({it.kind for it in page})
                for outcome in crew.work(_by_kind(page)):
                    self._take_in(outcome)
                if canary:
                    # The first set is looked at before there is a second one.
                    self._wait(crew)
                    canary = False
                if len(self.sought) >= BATCH:
                    self.search()
            self._wait(crew)

    def _keep_wordings(self, kinds: set[str]) -> None:
        """Write down what receipts of these kinds say, once for all sets of the run."""
        if new := kinds - self.worded:
            receipts.keep_wordings(sorted(new))
            self.worded |= new

    def search(self) -> None:
        """Search for those whose identifiers are in memory, and forget them."""
        sought, self.sought = self.sought, {}
        if sought and self.report.residue is not None:
            search_for(sought, self.report.residue, actor=self.actor, now=self.clock())

    def _wait(self, crew: Crew) -> None:
        for outcome in crew.wait():
            self._take_in(outcome)

    def _read(self, place: Candidate | None, is_retry: bool) -> list[Candidate]:
        rows = find_due(self.clock(), self.before, self.only)
        failed = DeletionRequest.State.FAILED
        rows = rows.filter(state=failed) if is_retry else rows.exclude(state=failed)
        if place is not None:
            rows = rows.after(place.due_at, place.id)
        columns = ("due_at", "pk", "subject_kind", "subject_id", "state")
        size = PAGE if self.limit is None else min(PAGE, self.limit - self.tried)
        return [Candidate(*row) for row in rows.values_list(*columns)[:size]]

    def _left(self) -> int:
        """Return how many subjects may still be tried, as far as limits go."""
        left = self.pace.most if self.limit is None else self.limit - self.tried
        if self.budget.left is not None and self.report.erased:
            each = max(1, self.report.total // self.report.erased)
            left = min(left, max(1, self.budget.left // each))
        return left

    def _must_stop(self) -> bool:
        report = self.report
        if report.stopped or self._left() <= 0:
            return True
        if self.budget.left is not None and self.budget.left <= 0:
            report.stopped = NO_ROWS
        elif len(report.failed) > FEW and len(report.failed) * 2 > self.tried:
            report.stopped = "too many failures"
        elif self.tried and self.gives_way():
            report.stopped = GAVE_WAY
        return bool(report.stopped)

    def _take_in(self, outcome: Outcome) -> None:
        report = self.report
        for done in outcome.erased:
            report.take(done.counts)
            if done.identifiers:
                self.sought[done.request_id] = done.identifiers
        report.failed |= outcome.failed
        report.held += outcome.held
        report.paused += outcome.paused
        report.busy += outcome.busy
        report.longest = max(report.longest, outcome.longest)
        report.stopped = report.stopped or outcome.stopped
        if outcome.was_slow:
            self.pace.shrink()
        else:
            self.pace.observe(*outcome.measured)
        self.on_progress(outcome.erased, report)


def _by_kind(page: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return a page as sets of one kind each, in the order of locks."""
    kinds = lock_order(it.kind for it in page)
    return [[it for it in page if it.kind == kind] for kind in kinds]


def _count_jobs(jobs: int | None) -> int:
    if connection.vendor != "postgresql":
        return 1
    return jobs or int(getattr(settings, "ERASURE_PURGE_JOBS", 1))


def _say_nothing(done: Sequence[Erasure], report: PurgeReport) -> None:
    pass


def _never() -> bool:
    return False


class Interrupted(Exception):
    """The process was asked to end while it searched."""


def _forbid_stopping(what: str, done: int, total: int) -> None:
    """A search may take minutes: it ends between two tables when the process is asked to end."""
    if is_stopping():
        raise Interrupted
