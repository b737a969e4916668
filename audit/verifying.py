"""Whether the log is what was sealed: events, tree, signatures, and checkpoints kept elsewhere.

One pass in the order of positions. Each event's leaf is computed anew and held against the tree,
the tree's root against every checkpoint, and every personal value against its commitment; whatever
is missing must be accounted for (``evidence``). The first record that is not as it was sealed is
the one that is named.

With the signing key, or without any checkpoint kept elsewhere, somebody could write a whole new
log: hence ``since``.
"""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef

from audit import notes
from audit.entries import commit, hash_entry
from audit.evidence import Evidence
from audit.gaps import read_evidence
from audit.merkle import Range
from audit.models import AuditEvent, Checkpoint, EventDetail, Tile
from audit.rows import PLACE, Detail, Row, read_details, read_sealed
from audit.sealing import count_unsealed
from audit.signers import verifiers
from audit.tiles import HASH, HEIGHT, WIDTH, key_of

AT_ONCE = 20 * WIDTH

HIDDEN, AT = PLACE["commitments"], PLACE["at"]
PEOPLE = (PLACE["actor_id"], PLACE["person_id"], PLACE["subject_id"])


@dataclass(frozen=True)
class Fault:
    """What is wrong, and with which record: a position, and the event's id where there is one."""

    code: str
    text: str
    position: int | None = None
    event: str | None = None


class Found(Exception):
    """Carries the first fault out of the pass."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


@dataclass
class Report:
    """What was looked at, and the first fault, None when there is none."""

    size: int = 0
    events: int = 0
    forgotten: int = 0
    values: int = 0
    erased: int = 0
    checkpoints: int = 0
    unsealed: int = 0
    seconds: float = 0.0
    fault: Fault | None = None
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kept:
    """A checkpoint that is kept elsewhere, and where."""

    name: str
    note: str


def verify(kept: Sequence[Kept] = ()) -> Report:
    """Check the whole log, also against checkpoints that are kept elsewhere."""
    started = time.perf_counter()
    report = Report(unsealed=count_unsealed(), kept=[it.name for it in kept])
    try:
        _Pass(report, kept).run()
    except Found as found:
        report.fault = found.fault
    report.seconds = time.perf_counter() - started
    return report


class _Pass:
    def __init__(self, report: Report, kept: Sequence[Kept]) -> None:
        self.report = report
        self.keys = verifiers()
        self.tree = Range()
        self.block = Range()
        """The leaves of the tile that is not full yet; ``tree`` holds whole tiles."""
        self.level_one: list[bytes] = []
        self.evidence: Evidence = read_evidence()
        self.good = 0
        outside = [(it.name, self._open(it.note, it.name)) for it in kept]
        last = Checkpoint.objects.last()
        self.size = report.size = last.size if last else 0
        self.beyond = sorted(
            ((it.size, name) for name, it in outside if it.size > self.size), reverse=True
        )
        within = [(it, name) for name, it in outside if it.size <= self.size]
        self.outside = iter(sorted(within, key=lambda one: one[0].size))
        self.next_outside = next(self.outside, None)

    def run(self) -> None:
        inside = self._inside()
        upcoming = next(inside, None)
        for start in range(0, self.size, AT_ONCE):
            end = min(start + AT_ONCE, self.size)
            for seq, leaf in self._leaves(start, end):
                self.block.append(leaf)
                if self.block.size == WIDTH:
                    self._take_tile()
                while self.next_outside and self.next_outside[0].size == seq + 1:
                    checkpoint, name = self.next_outside
                    self._compare(checkpoint, f"the checkpoint {name}")
                    self.next_outside = next(self.outside, None)
                if upcoming is not None and upcoming.size == seq + 1:
                    self._compare(upcoming, f"the checkpoint of {upcoming.size} events")
                    self.report.checkpoints += 1
                    self.good = upcoming.size
                    upcoming = next(inside, None)
        self._check_upper_tiles()
        self._check_end()

    # --- events -----------------------------------------------------------------------------------

    def _leaves(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Yield the leaf of each position, once its event is found to be as it was sealed."""
        stored = self._stored(start, end)
        rows = list(read_sealed(start, end))
        details = read_details(start, end)
        at = 0
        for seq in range(start, end):
            leaf = stored[(seq - start) * HASH : (seq - start + 1) * HASH]
            if at < len(rows) and rows[at].seq == seq:
                row, at = rows[at], at + 1
                if at < len(rows) and rows[at].seq == seq:
                    raise Found(_fault("duplicate", rows[at], "bears a position that is taken"))
                if hash_entry(row.values) != leaf:
                    raise Found(self._changed(row, leaf))
                self._check_details(row, seq, details.get(seq, ()))
                self.report.events += 1
            else:
                self._check_gap(seq, leaf)
            yield seq, leaf

    def _stored(self, start: int, end: int) -> bytes:
        first, last = start // WIDTH, (end - 1) // WIDTH
        tiles = Tile.objects.filter(pk__range=(key_of(0, first), key_of(0, last)))
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
        if seq not in self.evidence.forgotten:
            self.evidence = read_evidence()
        if seq not in self.evidence.forgotten or leaf == bytes(HASH):
            raise Found(Fault("missing", f"The event at position {seq} is missing.", seq))
        self.report.forgotten += 1

    # --- personal values --------------------------------------------------------------------------

    def _check_details(self, row: Row, seq: int, details: Sequence[Detail]) -> None:
        text = row.values[HIDDEN]
        if text == "{}" and not details:
            return
        promised: dict[str, str] = json.loads(text)
        for name, value, salt in details:
            if promised.pop(name, None) != commit(salt, name, value):
                raise Found(_fault("value", row, f"has another {name} than it was sealed with"))
            self.report.values += 1
        if not promised:
            return
        people = [row.values[place] for place in PEOPLE]
        if not self.evidence.accounts_for(seq, row.values[AT], people):
            # It may have been erased while we were reading.
            self.evidence = read_evidence()
            if not self.evidence.accounts_for(seq, row.values[AT], people):
                names = ", ".join(sorted(promised))
                raise Found(
                    _fault("erased", row, f"has lost its {names}, and no erasure accounts for it")
                )
        self.report.erased += len(promised)

    # --- the tree ---------------------------------------------------------------------------------

    def _open(self, note: str, name: str) -> notes.Checkpoint:
        try:
            return notes.open_note(note, self.keys)
        except notes.InvalidNote as error:
            raise Found(Fault("signature", f"{name}: {error}")) from error

    def _inside(self) -> Iterator[notes.Checkpoint]:
        for it in Checkpoint.objects.order_by("size").iterator(chunk_size=1_000):
            found = self._open(it.note, f"The checkpoint of {it.size} events")
            if found.size != it.size:
                raise Found(Fault("signature", f"The checkpoint of {it.size} events is another's."))
            yield found

    def _compare(self, checkpoint: notes.Checkpoint, name: str) -> None:
        root = Range(0, [*self.tree.hashes, *self.block.hashes]).root()
        if checkpoint.root != root:
            first, last = self._narrow(), checkpoint.size - 1
            raise Found(
                Fault(
                    "root",
                    f"The events from position {first} to {last} are not those of {name}.",
                    first,
                )
            )

    def _take_tile(self) -> None:
        root = self.block.root()
        self.level_one.append(root)
        self.tree.append_node(HEIGHT, root)
        self.block = Range()

    def _narrow(self) -> int:
        """Return from where on the tree can be another one: the last good checkpoint, or the first
        tile that the tile above it does not know."""
        for index in range(self.good // WIDTH, len(self.level_one)):
            above = Tile.objects.filter(pk=key_of(1, index // WIDTH)).first()
            place = index % WIDTH * HASH
            if above and bytes(above.hashes)[place : place + HASH] != self.level_one[index]:
                return max(self.good, index * WIDTH)
        return self.good

    def _check_upper_tiles(self) -> None:
        """Check the tiles above the leaves: proofs are made of them."""
        level, nodes = 1, self.level_one
        while nodes:
            above = []
            for index in range(0, len(nodes), WIDTH):
                part = nodes[index : index + WIDTH]
                tile = Tile.objects.filter(pk=key_of(level, index // WIDTH)).first()
                if tile is None or bytes(tile.hashes) != b"".join(part):
                    text = f"The tile {index // WIDTH} of level {level} is not what lies below it."
                    raise Found(Fault("tile", text, index * WIDTH**level))
                if len(part) == WIDTH:
                    whole = Range()
                    for node in part:
                        whole.append(node)
                    above.append(whole.root())
            level, nodes = level + 1, above

    def _check_end(self) -> None:
        further: Any = models.QuerySet(AuditEvent).filter(sealed_seq__gte=self.size)
        rows: Any = further.order_by("sealed_seq").values_list("sealed_seq", "id")
        if (extra := rows.first()) is not None:
            text = f"The event {extra[1]} bears the position {extra[0]}, which no checkpoint holds."
            raise Found(Fault("beyond", text, extra[0], str(extra[1])))
        mine: Any = models.QuerySet(AuditEvent).filter(pk=OuterRef("event_id"))
        if (orphan := EventDetail.objects.filter(~Exists(mine)).first()) is not None:
            text = f"A value of the event {orphan.event_id} is there, but not the event."
            raise Found(Fault("orphan", text, None, str(orphan.event_id)))
        if models.QuerySet(AuditEvent).filter(sealed_seq__lt=0).exists():
            raise Found(Fault("beyond", "An event bears a position below nought."))
        if self.beyond:
            size, name = self.beyond[0]
            text = (
                f"The log ends after {self.size} events; {name} has seen {size}: the events from "
                f"position {self.size} on are missing."
            )
            raise Found(Fault("truncated", text, self.size))


def _fault(code: str, row: Row, what: str) -> Fault:
    return Fault(code, f"The event {row.id} at position {row.seq} {what}.", row.seq, row.id)
