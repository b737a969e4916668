"""The log as lines of JSON that anybody can check with the public key alone (``offline``).

    {"form": "sexton-audit-export/1", "checkpoint": "…", "is_whole": false, "has_details": false}
    {"skip": [[3, 0, "<hash>"], [1, 4, "<hash>"]]}
    {"position": 10, "event": {…}, "details": {"address": {"value": "…", "salt": "…"}}}

The lines come in the order of positions and are streamed. Where an event is left out, because it
was not asked for or is gone, the fewest nodes of the tree that stand for it are in its place: so
the root can be computed from the file, and must be that of the signed checkpoint.
"""

import json
from collections.abc import Iterator, Sequence

from audit.entries import encode_entry
from audit.merkle import cover
from audit.models import Checkpoint
from audit.querying import Wanted
from audit.rows import Detail, Row, read_details, read_rows, read_sealed
from audit.tiles import Tiles

FORM = "sexton-audit-export/1"
AT_ONCE = 1_000


class NothingSealed(Exception):
    """There is no checkpoint yet, so nothing that an export could be held against."""


def export(wanted: Wanted = Wanted(), *, with_details: bool = False) -> Iterator[str]:  # noqa: B008
    """Yield the lines of an export of what is sealed now. Raises NothingSealed at once.

    ``with_details`` adds the personal values that there still are, with their salts.
    """
    last = Checkpoint.objects.last()
    if last is None:
        raise NothingSealed
    return _lines(last.size, last.note, wanted, with_details=with_details)


def _lines(size: int, note: str, wanted: Wanted, *, with_details: bool) -> Iterator[str]:
    head = {
        "form": FORM,
        "checkpoint": note,
        "is_whole": wanted.is_everything,
        "has_details": with_details,
    }
    yield json.dumps(head) + "\n"
    tiles, next_one = Tiles(), 0
    for rows in _batches(_rows(wanted, size)):
        details = read_details(rows) if with_details else {}
        for row in rows:
            seq = row.seq or 0
            if seq > next_one:
                yield _skip(tiles, next_one, seq)
            yield _line(row, details.get(seq, ()))
            next_one = seq + 1
        tiles.forget()
    if size > next_one:
        yield _skip(tiles, next_one, size)


def _rows(wanted: Wanted, size: int) -> Iterator[Row]:
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


def _skip(tiles: Tiles, start: int, end: int) -> str:
    nodes = [[*place, tiles.node(*place).hex()] for place in cover(start, end)]
    return json.dumps({"skip": nodes}) + "\n"


def _line(row: Row, details: Sequence[Detail]) -> str:
    # The entry is JSON already, in the very spelling that was hashed.
    event = encode_entry(row.values).decode("ascii")
    found = {it.field: {"value": it.value, "salt": it.salt.hex()} for it in details}
    tail = f', "details": {json.dumps(found)}' if found else ""
    return f'{{"position": {row.seq}, "event": {event}{tail}}}\n'
