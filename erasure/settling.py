"""Finds out how intents ended whose worker died between the ledger and the database."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from audit.spoiled import UNREADABLE
from erasure import gate, marks
from erasure.ledger import Entry, open_ledger
from erasure.models import DeletionRequest
from erasure.outstanding import find_living, read_tale

PATIENCE = timedelta(minutes=10)
"""For so long an intent may be under way. Longer than any transaction and any lease."""


def settle_intents(*, now: datetime) -> dict[str, int]:
    """Write the end of every intent that has none: ``done`` when the subject is gone, ``void`` when
    it is there, whole, and nobody works on it. Then move the mark. Returns how many of each.

    Does nothing while the database is behind: then nobody can tell, and a replay decides.
    """
    counts = {"done": 0, "void": 0}
    ledger = open_ledger()
    if not ledger or gate.look():
        return counts
    mark = marks.read_mark(ledger.identity)
    if mark is not None:
        begun = read_tale(ledger, mark.position).begun.values()
        old = [entry for _, entry in begun if entry.at <= now - PATIENCE]
        living = set(find_living(old))
        gone = [entry for entry in old if entry not in living]
        running = _running(living, now)
        void = [entry for entry in living if entry.deletion_id not in running]
        ledger.finish(gone, "done")
        ledger.finish(void, "void")
        counts = {"done": len(gone), "void": len(void)}
    gate.advance(now=now)
    return counts


def _running(entries: Iterable[Entry], now: datetime) -> set[object]:
    """Return the deletions that a worker has under a lease, or of which some pieces are done, and
    those of which nobody can tell."""
    ids = [entry.deletion_id for entry in entries]
    theirs = DeletionRequest.objects.filter(pk__in=ids)
    leased = theirs.filter(state="running", lease_until__gt=now)
    return {
        *leased.values_list("pk", flat=True),
        *(pk for cursor, pk in read_cursors(theirs.open()) if _may_go_on(cursor)),
    }


def _may_go_on(cursor: Any) -> bool:
    return not isinstance(cursor, dict) or bool(is_begun(cursor) and cursor.get("intent"))


def read_cursors(requests: Any, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield the cursors of requests that have one, each with the request's id and further fields.
    Of a request that cannot be read there is the id alone, and None for all else."""
    rows = requests.exclude(cursor={})
    try:
        yield from list(rows.values_list("cursor", "pk", *names))
        return
    except UNREADABLE:
        pass
    for (pk,) in list(rows.values_list("pk")):
        try:
            yield from list(rows.filter(pk=pk).values_list("cursor", "pk", *names))
        except UNREADABLE:
            yield None, pk, *(None for _ in names)


def is_begun(cursor: Any) -> bool:
    """Whether a request's cursor says that some of its rows are gone."""
    return isinstance(cursor, dict) and "begun" in cursor
