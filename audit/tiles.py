"""Where the tree lies: tiles of 256 nodes (C2SP tlog-tiles), read and extended.

A tile holds nodes of a level that is a multiple of 8. Every other node is computed from the leaves
of a tile, which are the roots of the tiles below.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db import IntegrityError, models
from django.db.models.functions import Cast

from audit.merkle import Range, hash_node, range_of
from audit.models import Tile

HEIGHT = 8
WIDTH = 1 << HEIGHT
HASH = 32

BEYOND = 1 << 62
"""No tree grows so large. On SQLite any text is larger than any number, so less is a number."""

LEVEL = 1 << 48
"""A tile's key is its level, in tiles, times this, plus its index."""


class DamagedTree(Exception):
    """A tile is missing or too short."""


class Tiles:
    """The tiles as the database holds them; each is read once."""

    def __init__(self) -> None:
        self._read: dict[int, bytes] = {}

    def tile(self, level: int, index: int) -> bytes:
        """Return the hashes of a tile; empty when there is none."""
        key = key_of(level, index)
        if key not in self._read:
            found = sound_tiles().filter(pk=key).values_list("hashes", flat=True).first()
            self._read[key] = bytes(found or b"")
        return self._read[key]

    def forget(self) -> None:
        """Let go of what was read, for somebody who goes through many."""
        self._read.clear()

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete node. Raises DamagedTree."""
        high, low = divmod(level, HEIGHT)
        first = index << low
        tile = self.tile(high, first // WIDTH)
        start = first % WIDTH * HASH
        hashes = tile[start : start + (HASH << low)]
        if len(hashes) != HASH << low:
            raise DamagedTree(f"the tile {first // WIDTH} of level {high} is not whole")
        return fold(hashes)

    def range(self, size: int) -> Range:
        return range_of(size, self.node)


def sound_tiles() -> Any:
    """Return a query of the tiles whose hashes are bytes. SQLite can hold anything in their place:
    a text that cannot be read, or a number, which Python would take for so many bytes of nought."""
    return Tile.objects.filter(hashes=Cast("hashes", models.BinaryField()))


def read_leaves(first: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield the tiles of leaves from one index up to another, with nothing for one that is not
    there."""
    tiles = sound_tiles().filter(pk__gte=key_of(0, first), pk__lt=key_of(0, end))
    found = dict(tiles.values_list("pk", "hashes"))
    for index in range(first, end):
        yield index, bytes(found.get(key_of(0, index)) or b"")


def extend(size: int, leaves: Sequence[bytes]) -> None:
    """Append leaves to a tree of a size, in the caller's transaction: at most two tiles of each
    level are not new."""
    tiles = Tiles()
    level, first, nodes = 0, size, list(leaves)
    while nodes:
        changed = [
            (index, tiles.tile(level, index) if index == first // WIDTH else b"", part)
            for index, part in _split(first, nodes)
        ]
        if changed and len(changed[0][1]) != first % WIDTH * HASH:
            raise DamagedTree(
                f"the last tile of level {level} has not the length that it must have"
            )
        whole = [(index, before + b"".join(part)) for index, before, part in changed]
        _write(
            level,
            [
                (index, new, bool(old))
                for (index, new), (_, old, _) in zip(whole, changed, strict=True)
            ],
        )
        full = [(index, hashes) for index, hashes in whole if len(hashes) == WIDTH * HASH]
        nodes = [fold(hashes) for _, hashes in full]
        if full:
            first = full[0][0]
        level += 1


def key_of(level: int, index: int) -> int:
    return level * LEVEL + index


def place_of(key: int) -> tuple[int, int]:
    """Return the level and the index of a tile from its key."""
    return divmod(key, LEVEL)


def _split(first: int, nodes: Sequence[bytes]) -> Iterable[tuple[int, Sequence[bytes]]]:
    """Yield parts of nodes, each with the index of the tile that it goes to."""
    start = 0
    while start < len(nodes):
        index, place = divmod(first + start, WIDTH)
        part = nodes[start : start + WIDTH - place]
        yield index, part
        start += len(part)


def _write(level: int, tiles: Iterable[tuple[int, bytes, bool]]) -> None:
    new = []
    for index, hashes, exists in tiles:
        if exists:
            Tile.objects.filter(pk=key_of(level, index)).update(hashes=hashes)
        else:
            new.append(Tile(pk=key_of(level, index), hashes=hashes))
    try:
        Tile.objects.bulk_create(new)
    except IntegrityError as error:
        raise DamagedTree(f"a tile of level {level} is there before its time") from error


def fold(hashes: bytes) -> bytes:
    """Return the root over a power of two of neighbouring hashes."""
    nodes = [hashes[at : at + HASH] for at in range(0, len(hashes), HASH)]
    while len(nodes) > 1:
        nodes = [hash_node(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]
