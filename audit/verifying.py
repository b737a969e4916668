"""Whether the log is what was sealed: events, tree, signatures, and checkpoints kept elsewhere.

One pass in the order of positions. Each event's leaf is computed anew and held against the tree,
the tree's root against every checkpoint, and every personal value against its commitment; whatever
is missing must be accounted for (``evidence``). The first record that is not as it was sealed is
the one that is named, or as many as are asked for: nobody can mend a log that only grows, so what
happens after a first fault must not hide behind it.

With the signing key, or without any checkpoint kept elsewhere, somebody could write a whole new
log: hence ``since``.
"""

import json
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from audit import notes
from audit.entries import UNSPELLABLE, commit, hash_entry
from audit.evidence import ENDINGS, FORGOTTEN, Evidence, Said, read_claim
from audit.faults import Fault, Found
from audit.gaps import UnderWay, add_waiting, prepare_under_way, read_claims
from audit.merkle import Range
from audit.models import Checkpoint
from audit.outskirts import (
    check_head,
    check_lengths,
    check_strays,
    check_upper_tiles,
    check_waiting,
)
from audit.rows import (
    PLACE,
    Detail,
    Row,
    claim_of,
    keys_in,
    owners_in,
    read_details,
    read_sealed,
)
from audit.sealing import count_unsealed
from audit.signers import verifiers
from audit.snapshots import snapshot
from audit.spoiled import UNREADABLE
from audit.tiles import BEYOND, HASH, HEIGHT, WIDTH, Tiles, key_of, sound_tiles

__all__ = ["Fault", "Found", "Kept", "Report", "verify"]

AT_ONCE = 20 * WIDTH

HIDDEN, AT = PLACE["commitments"], PLACE["at"]
ACTION, TELLING = PLACE["action"], (*ENDINGS, FORGOTTEN)


@dataclass
class Report:
    """What was looked at, and the faults in the order in which they were found: the first alone,
    unless more were asked for."""

    size: int = 0
    events: int = 0
    forgotten: int = 0
    values: int = 0
    erased: int = 0
    checkpoints: int = 0
    unsealed: int = 0
    seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @property
    def fault(self) -> Fault | None:
        return self.faults[0] if self.faults else None


@dataclass(frozen=True)
class Kept:
    """A checkpoint that is kept elsewhere, and where."""

    name: str
    note: str


def verify(kept: Sequence[Kept] = (), *, most: int = 1) -> Report:
    """Check the whole log, also against checkpoints that are kept elsewhere.

    ``most`` is how many faults end it. Records that are bad each by itself do not, nor do
    checkpoints of another history; after a tree or a signature that is not right nothing can be
    said of what follows. Writers and the sealer go on meanwhile: the log is read as it stood when
    this began.
    """
    started = time.perf_counter()
    report = Report(kept=[it.name for it in kept])
    under_way = prepare_under_way()
    with snapshot():
        report.unsealed = count_unsealed()
        try:
            _Pass(report, kept, most, under_way).run()
        except Found as found:
            report.faults.append(found.fault)
    report.seconds = time.perf_counter() - started
    return report


class _Pass:
    def __init__(
        self, report: Report, kept: Sequence[Kept], most: int, under_way: UnderWay
    ) -> None:
        self.report = report
        self.most = most
        self.keys = verifiers()
        self.tree = Range()
        self.block = Range()
        """The leaves of the tile that is not full yet; ``tree`` holds whole tiles."""
        self.level_one: list[bytes] = []
        self.unreadable = set[int]()
        claims, self.said = read_claims()
        add_waiting(claims, under_way)
        self.evidence = Evidence(claims)
        self.confirmed = Said()
        """What those events say that were found to be as they were sealed."""
        self.good = 0
        outside = [(it.name, self._open(it.note, it.name)) for it in kept]
        # Sizes that are no whole numbers, or none that a tree has, are named in their turn.
        sizes = Checkpoint.objects.filter(size__gte=0, size__lt=BEYOND)
        newest: Any = sizes.values_list("size", flat=True).last()
        self.size = report.size = int(newest) if isinstance(newest, int | float) else 0
        self.beyond = sorted(
            ((it.size, name) for name, it in outside if it.size > self.size), reverse=True
        )
        within = [(it, name) for name, it in outside if it.size <= self.size]
        self.outside = iter(sorted(within, key=lambda one: one[0].size))
        self.next_outside = next(self.outside, None)

    def run(self) -> None:
        # What streams is closed, however it ends: the snapshot must not outlive it.
        with closing(self._inside()) as inside:
            self._go_through(inside)
        check_upper_tiles(self.level_one)
        check_strays(self.size, self.most, self._note)
        self._check_claims()
        check_waiting(self._note)
        self._check_beyond()
        check_lengths(self.size, self.most, self._note)
        check_head(self._note)

    def _go_through(self, inside: Iterator[notes.Checkpoint]) -> None:
        upcoming = next(inside, None)
        for start in range(0, self.size, AT_ONCE):
            end = min(start + AT_ONCE, self.size)
            for seq, leaf in self._leaves(start, end):
                self.block.append(leaf)
                if self.block.size == WIDTH:
                    self._take_tile()
                while self.next_outside and self.next_outside[0].size == seq + 1:
                    checkpoint, name = self.next_outside
                    if fault := self._compare(checkpoint, f"the checkpoint {name}"):
                        self._note(fault)
                    self.next_outside = next(self.outside, None)
                while upcoming is not None and upcoming.size == seq + 1:
                    name = f"the checkpoint of {upcoming.size} events"
                    if fault := self._compare(upcoming, name):
                        raise Found(fault)
                    self.report.checkpoints += 1
                    self.good = upcoming.size
                    upcoming = next(inside, None)

    def _note(self, fault: Fault) -> None:
        """Note what is wrong with one record, and go on while more are wanted."""
        if len(self.report.faults) + 1 >= self.most:
            raise Found(fault)
        self.report.faults.append(fault)

    # --- events -----------------------------------------------------------------------------------

    def _leaves(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the leaf of each position, once its event is found to be as it was sealed."""
        stored = self._stored(start, end)
        rows, details = self._read(start, end)
        at = 0
        for seq in range(start, end):
            leaf = stored[(seq - start) * HASH : (seq - start + 1) * HASH]
            at = self._pass_by(rows, at, seq)
            if at < len(rows) and rows[at].seq == seq:
                row, at = rows[at], at + 1
                while at < len(rows) and rows[at].seq == seq:
                    self._note(_fault("duplicate", rows[at], "bears a position that is taken"))
                    at += 1
                if seq in self.evidence.forgotten:
                    self._note(_fault("survivor", row, "is there again, although it was removed"))
                elif _leaf_of(row) == leaf:
                    if row.values[ACTION].endswith(TELLING):
                        self.confirmed.add(seq, read_claim(*claim_of(row.values)))
                    self._check_details(row, seq, details.get(seq, ()))
                else:
                    self._note(self._changed(row, leaf))
                self.report.events += 1
            elif seq in self.unreadable:
                text = f"The event at position {seq}, or a value of it, cannot be read."
                self._note(Fault("unreadable", text, seq))
            else:
                self._check_gap(seq, leaf)
            yield seq, leaf
        self._pass_by(rows, at, end)

    def _pass_by(self, rows: Sequence[Row], at: int, seq: int) -> int:
        """Name the rows that lie before a position and at none, such as 7.5."""
        while at < len(rows) and rows[at].seq != seq and _lies_before(rows[at], seq):
            self._note(_fault("beyond", rows[at], "bears a position that there is not"))
            at += 1
        return at

    def _read(self, start: int, end: int) -> tuple[list[Row], Mapping[int, Sequence[Detail]]]:
        """Return what the database holds at some positions. What cannot be read at all, such as
        bytes that are no text, is told from the rest by looking at each position alone."""
        try:
            rows = list(read_sealed(start, end))
            return rows, read_details(rows)
        except UNREADABLE:
            if end - start == 1:
                self.unreadable.add(start)
                return [], {}
        rows = []
        details = dict[int, Sequence[Detail]]()
        for seq in range(start, end):
            some, theirs = self._read(seq, seq + 1)
            rows += some
            details |= theirs
        return rows, details

    def _stored(self, start: int, end: int) -> bytes:
        first, last = start // WIDTH, (end - 1) // WIDTH
        tiles = sound_tiles().filter(pk__range=(key_of(0, first), key_of(0, last)))
        known = {it.pk: bytes(it.hashes) for it in tiles}
        hashes = b"".join(
            known.get(key_of(0, it), b"").ljust(WIDTH * HASH, b"\0")[: WIDTH * HASH]
            for it in range(first, last + 1)
        )
        return hashes[: (end - start) * HASH]

    def _changed(self, row: Row, leaf: bytes) -> Fault:
        if leaf == bytes(HASH):
            return _fault("tree", row, "has no leaf in the tree")
        return _fault("changed", row, "is not the event that was sealed")

    def _check_gap(self, seq: int, leaf: bytes) -> None:
        if seq not in self.evidence.forgotten or leaf == bytes(HASH):
            self._note(Fault("missing", f"The event at position {seq} is missing.", seq))
        else:
            self.report.forgotten += 1

    # --- personal values --------------------------------------------------------------------------

    def _check_details(self, row: Row, seq: int, details: Sequence[Detail]) -> None:
        text = row.values[HIDDEN]
        if text == "{}" and not details:
            return
        promised: dict[str, str] = json.loads(text)
        at, owners, keys = row.values[AT], owners_in(row.values), keys_in(row.values)
        for name, value, salt, *found in details:
            if promised.pop(name, None) != _commitment_to(salt, name, value):
                self._note(_fault("value", row, f"has another {name} than it was sealed with"))
                return
            if tuple(found) != owners:
                text = f"has a {name} that was made somebody else's, whom no erasure would miss"
                self._note(_fault("owner", row, text))
                return
            if seq in self.evidence.bare or self.evidence.forbids(at, keys):
                text = f"still has its {name}, which an erasure took"
                self._note(_fault("survivor", row, text))
                return
            self.report.values += 1
        if not promised:
            return
        if not self.evidence.accounts_for(seq, at, keys):
            names = ", ".join(sorted(promised))
            self._note(
                _fault("erased", row, f"has lost its {names}, and no erasure accounts for it")
            )
            return
        self.report.erased += len(promised)

    # --- the tree ---------------------------------------------------------------------------------

    def _open(self, note: str, name: str) -> notes.Checkpoint:
        try:
            return notes.open_note(note, self.keys)
        except notes.InvalidNote as error:
            raise Found(Fault("signature", f"{name}: {error}")) from error

    def _inside(self) -> Generator[notes.Checkpoint]:
        # Each by itself on SQLite, where one that cannot be read would take along those before it.
        at_once = 1 if connections[DEFAULT_DB_ALIAS].vendor == "sqlite" else 1_000
        checkpoints = Checkpoint.objects.order_by("size").values_list("size", "note")
        rows: Any = checkpoints.iterator(chunk_size=at_once)
        with closing(rows):
            while (row := self._next(rows)) is not None:
                size, note = row
                name = f"The checkpoint of {size} events"
                found = self._open(note, name)
                if found.size != size:
                    raise Found(Fault("signature", f"{name} is another's."))
                yield found

    def _next(self, rows: Iterator[tuple[int, str]]) -> tuple[int, str] | None:
        try:
            return next(rows, None)
        except UNREADABLE as error:
            raise Found(Fault("signature", f"A checkpoint cannot be read: {error}")) from error

    def _compare(self, checkpoint: notes.Checkpoint, name: str) -> Fault | None:
        root = Range(0, [*self.tree.hashes, *self.block.hashes]).root()
        if checkpoint.root == root:
            return None
        first, last = self._narrow(), checkpoint.size - 1
        text = f"The events from position {first} to {last} are not those of {name}."
        return Fault("root", text, first)

    def _take_tile(self) -> None:
        root = self.block.root()
        self.level_one.append(root)
        self.tree.append_node(HEIGHT, root)
        self.block = Range()

    def _narrow(self) -> int:
        """Return from where on the tree can be another one: the last good checkpoint, or the first
        tile that the tile above it does not know."""
        tiles = Tiles()
        for index in range(self.good // WIDTH, len(self.level_one)):
            above = tiles.tile(1, index // WIDTH)
            place = index % WIDTH * HASH
            if above and above[place : place + HASH] != self.level_one[index]:
                return max(self.good, index * WIDTH)
        return self.good

    def _check_claims(self) -> None:
        """Check that what accounted for gaps is said by events that are in the log."""
        if self.said != self.confirmed:
            text = "Something is said to be gone lawfully by no event that was sealed."
            self._note(Fault("claim", text))

    def _check_beyond(self) -> None:
        if self.beyond:
            size, name = self.beyond[0]
            text = (
                f"The log ends after {self.size} events; {name} has seen {size}: the events from "
                f"position {self.size} on are missing."
            )
            raise Found(Fault("truncated", text, self.size))


def _lies_before(row: Row, seq: int) -> bool:
    return not isinstance(row.seq, int | float) or row.seq < seq


def _leaf_of(row: Row) -> bytes:
    try:
        return hash_entry(row.values)
    except UNSPELLABLE:
        return b""


def _commitment_to(salt: bytes, name: str, value: str) -> str:
    try:
        return commit(salt, name, value)
    except (ValueError, TypeError, AttributeError):
        return ""


def _fault(code: str, row: Row, what: str) -> Fault:
    return Fault(code, f"The event {row.id} at position {row.seq} {what}.", row.seq, row.id)
