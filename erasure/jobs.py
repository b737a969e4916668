"""Who does the work of a purge: this process, or several of its own on PostgreSQL.

Processes and no threads, since half of the work is this side of the database. The parent hands out
what is due, so no two of them want the same rows; limits and brakes are the parent's affair.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from os import environ
from typing import Any

from django.db import connections
from django.utils import timezone

from audit.actors import Actor
from erasure.alone import Budget, Clock
from erasure.hands import start
from erasure.sets import Candidate, Outcome
from erasure.working import work_off

Sets = Sequence[list[Candidate]]


class Crew:
    """Works off sets. With one job each call does the work; with more it hands the work out and
    returns what has been finished meanwhile."""

    def __init__(self, jobs: int, *, actor: Actor, clock: Clock, budget: Budget) -> None:
        self.jobs, self.actor, self.clock, self.budget = jobs, actor, clock, budget
        self.running: set[Future[Outcome]] = set()
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Crew":
        if self.jobs > 1:
            # A forked process would share this one's connections.
            self.pool = ProcessPoolExecutor(
                self.jobs,
                mp_context=get_context("spawn"),
                initializer=start,
                initargs=(
                    environ["DJANGO_SETTINGS_MODULE"],
                    dict(connections["default"].settings_dict),
                ),
            )
        return self

    def __exit__(self, *error: object) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def work(self, sets: Sets) -> Iterator[Outcome]:
        """Work off sets, or hand them out; yield what is finished by now."""
        for candidates in sets:
            if self.pool is None:
                yield work_off(candidates, actor=self.actor, clock=self.clock, budget=self.budget)
                continue
            while len(self.running) >= self.jobs:
                yield from self._collect(FIRST_COMPLETED)
            self.running.add(self.pool.submit(_work, candidates, self.actor))

    def wait(self) -> Iterator[Outcome]:
        """Yield what the last ones finish."""
        while self.running:
            yield from self._collect(FIRST_COMPLETED)

    def _collect(self, when: Any) -> Iterator[Outcome]:
        done, self.running = wait(self.running, return_when=when)
        for future in done:
            yield future.result()


def _work(candidates: list[Candidate], actor: Actor) -> Outcome:
    return work_off(candidates, actor=actor, clock=timezone.now, budget=Budget())
