"""How fast a large erasure goes, and when it should end."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter
from typing import TYPE_CHECKING, Any

from django.db import connection

from erasure.dialects import Sql
from erasure.models import DeletionRequest
from erasure.running import join, run, with_

if TYPE_CHECKING:
    from erasure.closure import Closure


@dataclass
class Watch:
    """Measures a drain. What it notes is stored with the place, so that whoever goes on after a
    crash goes on measuring; the time in which nobody worked is left out."""

    expected: int
    since: float = field(default_factory=perf_counter)

    def note(self, cursor: Mapping[str, Any]) -> dict[str, Any]:
        now = perf_counter()
        worked, self.since = now - self.since, now
        return {
            "expected": self.expected,
            "seconds": round(cursor.get("seconds", 0.0) + worked, 3),
        }


@dataclass(frozen=True, slots=True)
class Headway:
    """How far a large erasure is. ``ahead`` counts the subjects gone that go along with it; they
    go first. ``expected`` is an estimate of all rows of its own, never less than ``done``, and 0
    until those are begun; ``ends_at`` is None while nobody works on it."""

    done: int
    expected: int
    rate: float
    ends_at: datetime | None
    ahead: int = 0

    @property
    def share(self) -> float:
        return self.done / self.expected if self.expected else 0.0


def headway_of(request: DeletionRequest, *, now: datetime) -> Headway | None:
    """Return how far a deletion's drain is; None when there is none, or it has not begun."""
    cursor = request.cursor
    ahead = int(cursor.get("ahead", 0))
    if not cursor.get("seconds"):
        return Headway(0, 0, 0.0, None, ahead) if ahead else None
    done = sum(request.counts.values())
    expected = max(done, int(cursor.get("expected", 0)))
    rate = done / float(cursor["seconds"])
    is_working = request.is_leased(now) and rate > 0
    left = timedelta(seconds=round((expected - done) / rate)) if is_working else None
    return Headway(done, expected, rate, now + left if left is not None else None, ahead)


def expect_rows(closure: "Closure", request: DeletionRequest) -> int:
    """Return about how many rows an erasure will remove: as its plan counted them, or as the
    database guesses. PostgreSQL is not made to count a million rows for a progress bar."""
    planned: dict[str, int] = request.planned.get("removed") or {}
    if planned:
        return sum(planned.values())
    ids = [request.subject_id]
    if connection.vendor != "postgresql":
        return sum(sum(rows.values()) for rows in closure.count(ids).removed.values())
    subjects = closure.subjects(ids)

    def compose() -> Sql:
        composer = closure.composer(subjects)
        bodies = [closure.body(composer, step) for step in closure.removals]
        rows = join(
            " UNION ALL ",
            [Sql(f"SELECT 1 FROM ({it.text}) AS s", it.params) for it in bodies],  # noqa: S608
        )
        whole = with_(closure.needed(composer, closure.removals), rows)
        return Sql(f"EXPLAIN (FORMAT JSON) {whole.text}", whole.params)

    [(found,)] = run(closure.remembered(("expect",), compose), subjects)
    plan = json.loads(found) if isinstance(found, str) else found
    gone: int = sum(request.counts.values())
    return int(plan[0]["Plan"]["Plan Rows"]) + gone


def note_ahead(request: DeletionRequest, gone: int) -> None:
    """Note in a locked request how many of those who go along with its subject are gone."""
    known = request.cursor.get("ahead", 0)
    request.cursor = {**request.cursor, "ahead": known + gone}
