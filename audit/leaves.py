"""Whether an event is the one that was sealed, shown by the newest checkpoint: for whoever is to
act upon what an event says, before it acts."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from audit import notes, signers
from audit.entries import UNSPELLABLE, hash_entry
from audit.merkle import Range
from audit.models import Checkpoint
from audit.rows import Row, read_among
from audit.spoiled import UNREADABLE
from audit.tiles import HASH, WIDTH, DamagedTree, Tiles, fold, read_leaves

TILES_AT_ONCE = 1_000


def read_authentic(ids: Iterable[UUID]) -> Iterator[Row]:
    """Yield those of these events that are sealed, and still as they were sealed."""
    with suppress(DamagedTree):
        tree = SignedTree()
        for row in _read(list(ids)):
            with suppress(DamagedTree, *UNSPELLABLE):
                if row.seq is not None and hash_entry(row.values) == tree.leaf(row.seq):
                    yield row


class SignedTree:
    """The tree that the newest checkpoint signs. Raises DamagedTree when it is another one."""

    def __init__(self) -> None:
        self.tiles = Tiles()
        self.size = 0
        self.note = ""
        self._good = set[tuple[int, int]]()
        try:
            last: Any = Checkpoint.objects.last()
            if last is None:
                return
            signed = notes.open_note(last.note, signers.verifiers())
        except (notes.InvalidNote, *UNREADABLE) as error:
            raise DamagedTree(f"the newest checkpoint: {error}") from error
        frontier: Range = self.tiles.range(signed.size)
        if frontier.root() != signed.root:
            raise DamagedTree(f"the checkpoint of {signed.size} events was signed for another tree")
        self.size, self.note = signed.size, last.note

    def leaf(self, position: int) -> bytes:
        """Return the leaf that was signed at a position. Raises DamagedTree."""
        if not 0 <= position < self.size:
            raise DamagedTree(f"the tree has no position {position}")
        index, place = divmod(position, WIDTH)
        self._check(0, index)
        return self.tiles.tile(0, index)[place * HASH : (place + 1) * HASH]

    def grew_from(self, older: notes.Checkpoint) -> bool:
        """Whether an older checkpoint is of this tree. Raises DamagedTree."""
        return older.size <= self.size and self.tiles.range(older.size).root() == older.root

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """Yield the leaves that were signed, those of a tile at a time, from that on in which a
        position is. Raises DamagedTree."""
        full, rest = divmod(self.size, WIDTH)
        for first in range(start // WIDTH, full, TILES_AT_ONCE):
            for index, hashes in read_leaves(first, min(first + TILES_AT_ONCE, full)):
                self._compare(0, index, hashes)
                yield hashes
        if rest:
            yield self.tiles.tile(0, full)[: rest * HASH]

    def _check(self, level: int, index: int) -> None:
        """Follow a tile up to one that the signed root is made of: the last of a level."""
        if (level, index) in self._good or index == self.size // WIDTH ** (level + 1):
            return
        self._compare(level, index, self.tiles.tile(level, index))
        self._good.add((level, index))

    def _compare(self, level: int, index: int, hashes: bytes) -> None:
        above, place = divmod(index, WIDTH)
        node = self.tiles.tile(level + 1, above)[place * HASH : (place + 1) * HASH]
        if len(hashes) != WIDTH * HASH or fold(hashes) != node:
            raise DamagedTree(f"the tile {index} of level {level} is not what was signed")
        self._check(level + 1, above)


def _read(ids: list[UUID]) -> Iterator[Row]:
    """Yield events in the order of their positions; what cannot be read is left out."""
    try:
        yield from list(read_among(ids))
    except UNREADABLE:
        if len(ids) > 1:
            for one in ids:
                yield from _read([one])
