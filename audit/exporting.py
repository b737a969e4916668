"""The log as lines of JSON that anybody can check with the public key alone (``offline``).

    {"form": "sexton-audit-export/1", "checkpoint": "…", "is_whole": false, "has_details": false}
    {"skip": [[3, 0, "<hash>"], [1, 4, "<hash>"]]}
    {"position": 10, "event": {…}, "details": {"address": {"value": "…", "salt": "…"}}}

The lines come in the order of positions and are streamed. Where an event is left out, because it
was not asked for or is gone, the fewest nodes of the tree that stand for it are in its place: so
the root can be computed from the file, and must be that of the signed checkpoint. Nodes end where
a recent checkpoint does, or another that is given, so that the root of that can be computed, too.

What waits is sealed first, so that the checkpoint covers the events that account for what is gone,
and all is read as it stood at one moment. An erasure that goes on piece by piece is accounted for
by its end alone, and another sealer may be busy for long. So the first line of a whole export says
what no sealed event accounts for yet: ``"pending": {"people": ["<id>"], "positions": [[3, 4]],
"bare": []}``. Nobody has signed that.
"""

import json
import time
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils import timezone

from audit.entries import encode_entry
from audit.gaps import prepare_under_way, read_pending
from audit.merkle import cover
from audit.models import Checkpoint
from audit.querying import Wanted
from audit.rows import Detail, Row, read_details, read_rows, read_sealed
from audit.sealing import seal
from audit.snapshots import snapshot
from audit.tiles import DamagedTree, Tiles

FORM = "sexton-audit-export/1"
AT_ONCE = 1_000
COMPARABLE = 256
"""With so many of the newest checkpoints any export can be compared."""

PATIENCE, PAUSE = 5.0, 0.1
"""So many seconds a busy sealer is waited for, with so many between two attempts."""


class NothingSealed(Exception):
    """There is no checkpoint yet, so nothing that an export could be held against."""


def export(
    wanted: Wanted = Wanted(),  # noqa: B008
    *,
    with_details: bool = False,
    kept: Iterable[int] = (),
) -> Generator[str]:
    """Seal what waits and return the lines of an export of what is sealed. Raises NothingSealed at
    once.

    ``with_details`` adds the personal values that there still are, with their salts. ``kept`` are
    the sizes of older checkpoints that the file is to be compared with. Whoever stops reading
    closes what is returned, which ends the transaction.
    """
    _seal()
    if not Checkpoint.objects.exists():
        raise NothingSealed
    return _lines(wanted, kept, with_details=with_details)


def _seal() -> None:
    """Seal what waits. Where that cannot be, what is sealed is exported all the same: the file of a
    log that somebody has damaged is evidence."""
    until = time.monotonic() + PATIENCE
    with suppress(DamagedTree, ImproperlyConfigured, DatabaseError):
        while seal(now=timezone.now()).is_busy and time.monotonic() < until:
            time.sleep(PAUSE)


def _lines(wanted: Wanted, kept: Iterable[int], *, with_details: bool) -> Generator[str]:
    under_way = prepare_under_way()
    with snapshot():
        checkpoints = Checkpoint.objects.order_by("-size").values_list("size", "note")
        newest = list(checkpoints[:COMPARABLE])
        size, note = newest[0]
        pending = asdict(read_pending(under_way)) if wanted.is_everything else {}
        yield _head(note, wanted, pending, with_details=with_details)
        tiles, next_one = Tiles(), 0
        cuts = sorted({*kept, *(it for it, _ in newest)})
        with closing(_rows(wanted, size)) as rows:
            for batch in _batches(rows):
                details = read_details(batch) if with_details else {}
                for row in batch:
                    seq = row.seq or 0
                    if seq > next_one:
                        yield _skip(tiles, next_one, seq, cuts)
                    yield _line(row, details.get(seq, ()))
                    next_one = seq + 1
                tiles.forget()
        if size > next_one:
            yield _skip(tiles, next_one, size, cuts)


def _head(
    note: str, wanted: Wanted, pending: Mapping[str, Sequence[Any]], *, with_details: bool
) -> str:
    head = {
        "form": FORM,
        "checkpoint": note,
        "is_whole": wanted.is_everything,
        "has_details": with_details,
    }
    # Only in a whole export is it asked why something is missing. Others go to people whom it does
    # not concern.
    if any(pending.values()):
        head["pending"] = pending
    return json.dumps(head) + "\n"


def _rows(wanted: Wanted, size: int) -> Generator[Row]:
    if wanted.is_everything:
        return read_sealed(0, size)
    keys = wanted.rows().order_by().values("pk")
    sql, params = keys.query.sql_with_params()
    where = f"WHERE sealed_seq < %s AND id IN ({sql}) ORDER BY sealed_seq"
    return read_rows(where, [size, *params])


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _skip(tiles: Tiles, start: int, end: int, cuts: Sequence[int]) -> str:
    ends = [start, *cuts[bisect_right(cuts, start) : bisect_left(cuts, end)], end]
    places = (place for part in pairwise(ends) for place in cover(*part))
    nodes = [[*place, tiles.node(*place).hex()] for place in places]
    return json.dumps({"skip": nodes}) + "\n"


def _line(row: Row, details: Sequence[Detail]) -> str:
    # The entry is JSON already, in the very spelling that was hashed.
    event = encode_entry(row.values).decode("ascii")
    found = {it.field: {"value": it.value, "salt": it.salt.hex()} for it in details}
    tail = f', "details": {json.dumps(found)}' if found else ""
    return f'{{"position": {row.seq}, "event": {event}{tail}}}\n'
