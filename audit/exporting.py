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

The export of a log that somebody has damaged is evidence, and comes to its end. An event that
cannot be read is left out like one that is gone, and so is a personal value; a checkpoint that the
service did not sign is passed over. Only where the tree itself cannot be read nothing can stand for
what is left out: ``{"broken": "<why>"}`` is in that place, and no verifier accepts the file.
"""

import json
import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from itertools import groupby, pairwise
from operator import attrgetter, itemgetter
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from audit.entries import UNSPELLABLE, encode_entry, hash_entry
from audit.gaps import prepare_under_way, read_pending
from audit.merkle import cover
from audit.models import Checkpoint
from audit.notes import InvalidNote, open_note, read_text
from audit.querying import Wanted
from audit.rows import MANY, PLACE, Detail, Row, read_details, read_rows
from audit.sealing import seal
from audit.signers import verifiers
from audit.snapshots import snapshot
from audit.spoiled import UNREADABLE
from audit.tiles import BEYOND, DamagedTree, Tiles

FORM = "sexton-audit-export/1"
AT_ONCE = 1_000
COMPARABLE = 256
"""With so many of the newest checkpoints any export can be compared."""

IDS = ("actor_id", "credential_id", "organization_id", "person_id", "subject_id")

PATIENCE, PAUSE = 5.0, 0.1
"""So many seconds a busy sealer is waited for, with so many between two attempts."""

_plain = itemgetter(*(PLACE[name] for name in ("at", "id", *IDS)))
_PLAIN = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z [0-9a-f-]{36}(?: None| [0-9a-f-]{36}){5}", re.ASCII
)
"""What an entry holds without quotes of its own: a time, the event's id, and other ids."""


class NothingSealed(Exception):
    """There is no checkpoint, so nothing that an export could be held against."""


def export(
    wanted: Wanted = Wanted(),  # noqa: B008
    *,
    with_details: bool = False,
    kept: Iterable[int] = (),
) -> Generator[str]:
    """Seal what waits and return the lines of an export of what is sealed. Raises NothingSealed at
    once, and DamagedTree after the last line of one that is broken.

    ``with_details`` adds the personal values that there still are, with their salts. ``kept`` are
    the sizes of older checkpoints that the file is to be compared with. Whoever stops reading
    closes what is returned, which ends the transaction.
    """
    _seal()
    _find_newest(_read_sizes())
    return _lines(wanted, kept, with_details=with_details)


def _seal() -> None:
    """Seal what waits. Where that cannot be, what is sealed is exported all the same: the file of a
    log that somebody has damaged is evidence."""
    until = time.monotonic() + PATIENCE
    with suppress(DamagedTree, ImproperlyConfigured, *UNREADABLE):
        while seal(now=timezone.now()).is_busy and time.monotonic() < until:
            time.sleep(PAUSE)


def _read_sizes() -> list[int]:
    # SQLite can hold sizes that are no whole numbers, or no numbers.
    known = Checkpoint.objects.filter(size__lt=BEYOND).order_by("-size")
    sizes: Iterable[Any] = known.values_list("size", flat=True)[:COMPARABLE]
    return [it for it in sizes if isinstance(it, int)]


def _find_newest(sizes: Iterable[int]) -> tuple[int, str]:
    """Return the newest of some checkpoints that the service signed, or that at least says its
    size: whose key is lost, too, can be shown to whoever has it. Raises NothingSealed."""
    told: tuple[int, str] | None = None
    for size in sizes:
        with suppress(InvalidNote, ImproperlyConfigured, *UNREADABLE):
            note = Checkpoint.objects.values_list("note", flat=True).get(size=size)
            if told is None and read_text(note.partition("\n\n")[0]).size == size:
                told = size, note
            if open_note(note, verifiers()).size == size:
                return size, note
    if told is None:
        raise NothingSealed
    return told


def _lines(wanted: Wanted, kept: Iterable[int], *, with_details: bool) -> Generator[str]:
    under_way = prepare_under_way()
    broken: list[str] = []
    with snapshot():
        sizes = _read_sizes()
        size, note = _find_newest(sizes)
        pending = asdict(read_pending(under_way)) if wanted.is_everything else {}
        yield _head(note, wanted, pending, with_details=with_details)
        tiles, next_one = Tiles(), 0
        is_typed = connections[DEFAULT_DB_ALIAS].vendor == "postgresql"
        cuts = sorted({*kept, *sizes})
        with closing(_rows(wanted, size)) as rows:
            for batch in _batches(_one_each(rows, tiles)):
                details = _details(batch) if with_details else {}
                for row in batch:
                    seq = row.seq or 0
                    try:
                        line = _line(row, details.get(seq, ()), is_typed=is_typed)
                    except UNSPELLABLE:
                        continue
                    if seq > next_one:
                        yield _skip(tiles, next_one, seq, cuts, broken)
                    yield line
                    next_one = seq + 1
                tiles.forget()
        if size > next_one:
            yield _skip(tiles, next_one, size, cuts, broken)
    if broken:
        raise DamagedTree(broken[0])


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
    """Yield what is wanted in the order of positions, without what cannot be read at all."""
    where, params, start = "WHERE sealed_seq >= %s AND sealed_seq <= %s", list[Any](), 0
    if not wanted.is_everything:
        sql, params = wanted.rows().order_by().values("pk").query.sql_with_params()
        where += f" AND id IN ({sql})"
    order = f"{where} ORDER BY sealed_seq"
    while True:
        try:
            with closing(read_rows(order, [start, size - 1, *params])) as rows:
                for row in rows:
                    yield row
                    start = int(row.seq or 0) + 1
            return
        except UNREADABLE:
            # It is among the next that were fetched at once: each is read alone, then all go on.
            found = wanted.rows().filter(sealed_seq__gte=start, sealed_seq__lt=size)
            seqs = found.order_by("sealed_seq").values_list("sealed_seq", flat=True).distinct()
            for seq in list(seqs[:MANY]):
                with suppress(*UNREADABLE):
                    yield from list(read_rows(order, [seq, seq, *params]))
                start = int(seq) + 1


def _one_each(rows: Iterable[Row], tiles: Tiles) -> Iterator[Row]:
    """Yield one event for each position; of several that claim it that which was sealed there."""
    for seq, (row, *others) in groupby(rows, attrgetter("seq")):
        if isinstance(seq, int):
            yield next((it for it in others if _is_sealed(it, tiles)), row) if others else row


def _is_sealed(row: Row, tiles: Tiles) -> bool:
    with suppress(DamagedTree, *UNREADABLE):
        return hash_entry(row.values) == tiles.node(0, row.seq or 0)
    return False


def _details(batch: Sequence[Row]) -> Mapping[int, Sequence[Detail]]:
    """Return the personal values of events, without those of an event that cannot be read."""
    try:
        return read_details(batch)
    except UNREADABLE:
        if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
            # Where columns have types every value can be read: the database itself has failed, and
            # says so of each further statement.
            raise
        found = dict[int, Sequence[Detail]]()
        for row in batch:
            with suppress(*UNREADABLE):
                found.update(read_details([row]))
        return found


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _skip(tiles: Tiles, start: int, end: int, cuts: Sequence[int], broken: list[str]) -> str:
    """Return the line that stands for events. ``broken`` takes why there can be none."""
    ends = [start, *cuts[bisect_right(cuts, start) : bisect_left(cuts, end)], end]
    places = (place for part in pairwise(ends) for place in cover(*part))
    try:
        nodes = [[*place, tiles.node(*place).hex()] for place in places]
    except (DamagedTree, *UNREADABLE) as error:
        is_told = isinstance(error, DamagedTree)
        broken.append(str(error) if is_told else "a tile of the tree cannot be read")
        return json.dumps({"broken": broken[-1]}) + "\n"
    return json.dumps({"skip": nodes}) + "\n"


def _line(row: Row, details: Sequence[Detail], *, is_typed: bool) -> str:
    """Return an event's line. Raises what UNSPELLABLE names."""
    # The entry is JSON already, in the very spelling that was hashed.
    event = encode_entry(row.values).decode("ascii")
    # Where columns have types only a time can be none: an infinite one.
    plain = _plain(row.values)
    if plain[0] is None or not (is_typed or _PLAIN.fullmatch(" ".join(map(str, plain)))):
        raise ValueError("a time or an id that is none")
    found = {
        it.field: {"value": it.value, "salt": it.salt.hex()}
        for it in details
        if isinstance(it.field, str) and isinstance(it.value, str)
    }
    tail = f', "details": {json.dumps(found)}' if found else ""
    return f'{{"position": {row.seq}, "event": {event}{tail}}}\n'
