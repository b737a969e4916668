"""Who does the work of a purge.

On PostgreSQL two threads with a connection each: while the database removes the rows of one set,
the receipts of the other are signed, so neither waits for the other's half. With more jobs, as many
processes instead. On SQLite, which has one writer, and within somebody else's transaction: the
caller itself. Whoever it is, the parent hands out what is due, so no two of them want the same
rows, and watches limits and brakes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from os import environ
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from django.db import connection, connections
from django.utils import timezone

from audit.actors import Actor
from erasure.alone import Budget, Clock
from erasure.hands import start
from erasure.sets import Candidate, Outcome
from erasure.working import work_off

LANES = 2
"""Threads of a purge of one process, on PostgreSQL."""


class Crew(Protocol):
    """Works off sets, at once or by and by."""

    def __enter__(self) -> "Crew": ...

    def __exit__(self, *error: object) -> None: ...

    def work(self, sets: Sequence[list[Candidate]]) -> Iterator[Outcome]:
        """Work off sets, or hand them out; yield what is finished by now."""
        ...

    def wait(self) -> Iterator[Outcome]:
        """Yield what the last ones finish."""
        ...


def gather_crew(
    jobs: int, *, actor: Actor, clock: Clock, budget: Budget, searches: bool = False
) -> Crew:
    """Return who does the work, given how many processes are wanted. With ``searches`` they hand
    over what identified whoever they have erased."""
    is_alone = budget.left is not None or connection.vendor != "postgresql"
    if is_alone or connection.in_atomic_block or (jobs == 1 and LANES == 1):
        return OneHand(actor, clock, budget, searches)
    if jobs == 1:
        return Lanes(actor, clock, LANES, searches)
    return Processes(actor, jobs, searches)


class OneHand:
    """The caller itself."""

    def __init__(self, actor: Actor, clock: Clock, budget: Budget, searches: bool) -> None:
        self.actor, self.clock, self.budget, self.searches = actor, clock, budget, searches

    def __enter__(self) -> "OneHand":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def work(self, sets: Sequence[list[Candidate]]) -> Iterator[Outcome]:
        for one in sets:
            yield work_off(
                one,
                actor=self.actor,
                clock=self.clock,
                budget=self.budget,
                searches=self.searches,
            )

    def wait(self) -> Iterator[Outcome]:
        return iter(())


class Lanes:
    """Threads of this process, each with a connection of its own."""

    def __init__(self, actor: Actor, clock: Clock, size: int, searches: bool) -> None:
        self.actor, self.clock, self.searches = actor, clock, searches
        self.inbox: SimpleQueue[list[Candidate] | None] = SimpleQueue()
        self.outbox: SimpleQueue[Outcome | BaseException] = SimpleQueue()
        self.running = 0
        self.threads = [Thread(target=self._run, daemon=True) for _ in range(size)]

    def __enter__(self) -> "Lanes":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # Whatever ended the run, a set that is under way comes to its end, as it would alone.
        for _ in self.threads:
            self.inbox.put(None)
        for thread in self.threads:
            thread.join()

    def work(self, sets: Sequence[list[Candidate]]) -> Iterator[Outcome]:
        for one in sets:
            while self.running >= len(self.threads):
                yield self._take()
            self.running += 1
            self.inbox.put(one)

    def wait(self) -> Iterator[Outcome]:
        while self.running:
            yield self._take()

    def _take(self) -> Outcome:
        found = self.outbox.get()
        self.running -= 1
        if isinstance(found, BaseException):
            raise found
        return found

    def _run(self) -> None:
        try:
            while (one := self.inbox.get()) is not None:
                try:
                    done = work_off(
                        one,
                        actor=self.actor,
                        clock=self.clock,
                        budget=Budget(),
                        searches=self.searches,
                    )
                    self.outbox.put(done)
                except BaseException as error:  # noqa: BLE001 - raised in the parent
                    self.outbox.put(error)
        finally:
            connection.close()


class Processes:
    """Processes of their own, each with a connection."""

    def __init__(self, actor: Actor, size: int, searches: bool) -> None:
        self.actor, self.size, self.searches = actor, size, searches
        self.running: set[Future[Outcome]] = set()

    def __enter__(self) -> "Processes":
        database = dict(connections["default"].settings_dict)
        self.pool = ProcessPoolExecutor(
            self.size,
            # A forked process would share this one's connections.
            mp_context=get_context("spawn"),
            initializer=start,
            initargs=(environ["DJANGO_SETTINGS_MODULE"], database),
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def work(self, sets: Sequence[list[Candidate]]) -> Iterator[Outcome]:
        for one in sets:
            while len(self.running) >= self.size:
                yield from self._collect()
            self.running.add(self.pool.submit(_work, one, self.actor, self.searches))

    def wait(self) -> Iterator[Outcome]:
        while self.running:
            yield from self._collect()

    def _collect(self) -> Iterator[Outcome]:
        done, self.running = wait(self.running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()


def _work(candidates: list[Candidate], actor: Actor, searches: bool) -> Outcome:
    return work_off(candidates, actor=actor, clock=timezone.now, budget=Budget(), searches=searches)
