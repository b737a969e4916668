"""The Merkle tree of RFC 6962 (and RFC 9162): roots, inclusion and consistency. Pure functions.

    MTH(d[n]) = SHA-256(0x01 || MTH(d[0:k]) || MTH(d[k:n])), k the largest power of two below n
    leaf      = SHA-256(0x00 || entry)

A node is named by its level, 0 for leaves, and its index in that level. ``nodes`` is whatever
returns the hash of a complete node.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256().digest()
"""The root of a tree without leaves."""

Nodes = Callable[[int, int], bytes]


class InvalidProof(Exception):
    """The proof does not lead to the root."""


def hash_leaf(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def hash_node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Range:
    """The complete subtrees that a growing tree consists of, largest first: all that is needed to
    append to it and to know its root."""

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        hashes, size = self.hashes, self.size
        while size & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)
        self.size += 1

    def append_node(self, level: int, node: bytes) -> None:
        """Append a complete subtree of ``2 ** level`` leaves. Raises ValueError when it does not
        begin where the tree ends."""
        if self.size & ((1 << level) - 1):
            raise ValueError("the subtree does not fit here")
        size = self.size >> level
        while size & 1:
            node = hash_node(self.hashes.pop(), node)
            size >>= 1
        self.hashes.append(node)
        self.size += 1 << level

    def root(self) -> bytes:
        if not self.hashes:
            return EMPTY_ROOT
        *rest, found = self.hashes
        for node in reversed(rest):
            found = hash_node(node, found)
        return found


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over hashes of leaves."""
    found = Range()
    for leaf in leaves:
        found.append(leaf)
    return found.root()


def cover(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest complete nodes that cover the leaves from ``start`` up to ``end``."""
    while start < end:
        level = (start & -start).bit_length() - 1 if start else end.bit_length()
        while start + (1 << level) > end:
            level -= 1
        yield level, start >> level
        start += 1 << level


def range_of(size: int, nodes: Nodes) -> Range:
    """Return what a tree of a size consists of."""
    return Range(size, [nodes(level, index) for level, index in cover(0, size)])


def prove_inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the audit path of a leaf (RFC 6962, section 2.1.1). ValueError if it has none."""
    if not 0 <= index < size:
        raise ValueError("there is no such leaf")
    return [_root_between(a, b, nodes) for a, b in _path(index, 0, size)]


def _path(index: int, start: int, end: int) -> list[tuple[int, int]]:
    if end - start == 1:
        return []
    middle = start + _split(end - start)
    if index < middle:
        return [*_path(index, start, middle), (middle, end)]
    return [*_path(index, middle, end), (start, middle)]


def prove_consistency(first: int, second: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that a tree of size ``second`` extends that of size ``first`` (RFC 6962,
    section 2.1.2). ValueError unless 0 < first <= second."""
    if not 0 < first <= second:
        raise ValueError("sizes out of order")
    return [_root_between(a, b, nodes) for a, b in _subproof(first, 0, second, is_whole=True)]


def _subproof(first: int, start: int, end: int, *, is_whole: bool) -> list[tuple[int, int]]:
    if first == end - start:
        return [] if is_whole else [(start, end)]
    middle = _split(end - start)
    if first <= middle:
        found = _subproof(first, start, start + middle, is_whole=is_whole)
        return [*found, (start + middle, end)]
    found = _subproof(first - middle, start + middle, end, is_whole=False)
    return [*found, (start, start + middle)]


def verify_inclusion(
    leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes
) -> None:
    """Check an audit path as RFC 9162, section 2.1.3.2, does. Raises InvalidProof."""
    if not 0 <= index < size:
        raise InvalidProof("there is no such leaf")
    found = leaf
    for is_left, node in _climb(index, size - 1, path):
        found = hash_node(node, found) if is_left else hash_node(found, node)
    if found != root:
        raise InvalidProof("the path does not lead to the root")


def verify_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Check a proof of consistency as RFC 9162, section 2.1.4.2, does. Raises InvalidProof."""
    if not 0 < first <= second:
        raise InvalidProof("sizes out of order")
    if first == second:
        if path or first_root != second_root:
            raise InvalidProof("two roots of one size")
        return
    nodes = list(path)
    if first & (first - 1) == 0:
        nodes.insert(0, first_root)
    if not nodes:
        raise InvalidProof("the proof is too short")
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for is_left, node in _climb(at, last, nodes[1:]):
        old = hash_node(node, old) if is_left else old
        new = hash_node(node, new) if is_left else hash_node(new, node)
    if old != first_root or new != second_root:
        raise InvalidProof("the proof does not lead from one root to the other")


def _climb(at: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Yield the nodes of a path, and whether each stands to the left. ``last`` is the last index
    of the level that the path starts in. Raises InvalidProof when the length is not right."""
    for node in path:
        if last == 0:
            raise InvalidProof("the path is too long")
        is_left = bool(at & 1) or at == last
        while is_left and at and not at & 1:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
        yield is_left, node
    if last:
        raise InvalidProof("the path is too short")


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)


def _root_between(start: int, end: int, nodes: Nodes) -> bytes:
    """Return the root of a subtree whose left edge is aligned to its size."""
    *rest, found = [nodes(level, index) for level, index in cover(start, end)]
    for node in reversed(rest):
        found = hash_node(node, found)
    return found
