"""Proof that an event is in the log, for whoever holds a checkpoint."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from audit.entries import encode_entry, hash_entry, read_entry
from audit.leaves import SignedTree
from audit.merkle import prove_consistency, prove_inclusion
from audit.models import AuditEvent
from audit.rows import read_rows
from audit.snapshots import snapshot
from audit.spoiled import UNREADABLE
from audit.tiles import DamagedTree

FORM = "sexton-audit-proof/1"


class NotSealed(Exception):
    """The event has no position yet, or there is no such event."""


def prove(event_id: UUID, *, kept: Iterable[int] = ()) -> dict[str, Any]:
    """Return an event with its audit path to the newest checkpoint. Raises NotSealed, or
    DamagedTree.

    ``kept`` are the sizes of older checkpoints: for each the proof holds what it takes to show that
    the log has only grown since. Nothing personal is in it: the event holds commitments only.
    """
    try:
        with snapshot():
            return _prove(event_id, kept)
    except UNREADABLE as error:
        raise DamagedTree(f"the event cannot be read: {error}") from error


def _prove(event_id: UUID, kept: Iterable[int]) -> dict[str, Any]:
    seq = AuditEvent.objects.filter(pk=event_id).values_list("sealed_seq", flat=True).first()
    tree = SignedTree()
    if seq is None or not tree.size:
        raise NotSealed(event_id)
    (row,) = read_rows("WHERE sealed_seq = %s", [seq])
    leaf = hash_entry(row.values)
    if leaf != tree.leaf(seq):
        raise DamagedTree(f"the event at position {seq} is not the one that was signed")
    grown = {
        str(size): _spell(prove_consistency(size, tree.size, tree.tiles.node))
        for size in kept
        if 0 < size < tree.size
    }
    return {
        "form": FORM,
        "position": seq,
        "event": read_entry(encode_entry(row.values)),
        "leaf": leaf.hex(),
        "path": _spell(prove_inclusion(seq, tree.size, tree.tiles.node)),
        "checkpoint": tree.note,
        **({"grown_from": grown} if grown else {}),
    }


def _spell(nodes: Iterable[bytes]) -> list[str]:
    return [node.hex() for node in nodes]
