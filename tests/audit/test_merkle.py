"""The tree of RFC 6962, against the vectors of Certificate Transparency and another library."""

import random
from hashlib import sha256

import pytest
from pymerkle import InmemoryTree
from pymerkle import verify_consistency as other_verify_consistency
from pymerkle import verify_inclusion as other_verify_inclusion

from audit import merkle

# From certificate-transparency's own tests: eight entries, and the root of each of their trees.
ENTRIES = [
    bytes.fromhex(it)
    for it in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Whole:
    """Every complete node over some leaves."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.levels = [leaves]
        while len(below := self.levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self.levels.append([merkle.hash_node(*pair) for pair in pairs])

    def node(self, level: int, index: int) -> bytes:
        return self.levels[level][index]


def test_roots_are_those_of_certificate_transparency() -> None:
    assert merkle.root_of([]) == sha256().digest() == merkle.EMPTY_ROOT
    leaves = [merkle.hash_leaf(it) for it in ENTRIES]
    for size, root in enumerate(ROOTS, 1):
        assert merkle.root_of(leaves[:size]).hex() == root


def test_another_library_agrees_on_roots_and_takes_our_proofs() -> None:
    rng = random.Random(6962)
    other = InmemoryTree(algorithm="sha256")
    leaves: list[bytes] = []
    for size in range(1, 130):
        entry = rng.randbytes(rng.randrange(40))
        other.append_entry(entry)
        leaves.append(merkle.hash_leaf(entry))
        whole = Whole(leaves)
        root = other.get_root()
        assert merkle.root_of(leaves) == root
        index = rng.randrange(size)
        path = merkle.prove_inclusion(index, size, whole.node)
        theirs = other.prove_inclusion(index + 1, size)
        assert path == [bytes(it) for it in theirs.path][1:]
        merkle.verify_inclusion(leaves[index], index, size, path, root)
        other_verify_inclusion(leaves[index], root, theirs)
        first = rng.randrange(1, size + 1)
        proof = merkle.prove_consistency(first, size, whole.node)
        merkle.verify_consistency(first, other.get_root(first), size, root, proof)
        other_verify_consistency(other.get_root(first), root, other.prove_consistency(first, size))


def test_a_proof_that_is_changed_in_any_bit_or_cut_short_is_refused() -> None:
    leaves = [merkle.hash_leaf(bytes([it])) for it in range(37)]
    whole, root = Whole(leaves), merkle.root_of(leaves)
    for index in (0, 1, 17, 31, 32, 36):
        path = merkle.prove_inclusion(index, 37, whole.node)
        merkle.verify_inclusion(leaves[index], index, 37, path, root)
        wrong = [path[:-1], [*path, path[0]], [bytes(32), *path[1:]]]
        for other in wrong:
            with pytest.raises(merkle.InvalidProof):
                merkle.verify_inclusion(leaves[index], index, 37, other, root)
        with pytest.raises(merkle.InvalidProof):
            merkle.verify_inclusion(leaves[index], index ^ 1, 37, path, root)
    for first in range(1, 38):
        old = merkle.root_of(leaves[:first])
        path = merkle.prove_consistency(first, 37, whole.node)
        merkle.verify_consistency(first, old, 37, root, path)
        with pytest.raises(merkle.InvalidProof):
            merkle.verify_consistency(first, bytes(32), 37, root, path)
        if first < 37:
            with pytest.raises(merkle.InvalidProof):
                merkle.verify_consistency(first, old, 37, root, path[:-1])
            with pytest.raises(merkle.InvalidProof):
                merkle.verify_consistency(first, old, 37, bytes(32), path)


def test_a_range_grows_by_leaves_and_by_whole_subtrees_alike() -> None:
    leaves = [merkle.hash_leaf(bytes([it])) for it in range(100)]
    whole = Whole(leaves)
    for start in (0, 1, 5, 64, 99):
        found = merkle.Range()
        for leaf in leaves[:start]:
            found.append(leaf)
        for level, index in merkle.cover(start, 100):
            found.append_node(level, whole.node(level, index))
        assert found.root() == merkle.root_of(leaves)
    found = merkle.range_of(99, whole.node)
    with pytest.raises(ValueError, match="fit"):
        found.append_node(1, bytes(32))
