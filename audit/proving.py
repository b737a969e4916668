"""Proof that an event is in the log, for whoever holds a checkpoint."""

from typing import Any
from uuid import UUID

from audit.entries import encode_entry, hash_entry, read_entry
from audit.merkle import prove_inclusion
from audit.models import AuditEvent, Checkpoint
from audit.rows import read_rows
from audit.tiles import Tiles

FORM = "sexton-audit-proof/1"


class NotSealed(Exception):
    """The event has no position yet, or there is no such event."""


def prove(event_id: UUID) -> dict[str, Any]:
    """Return an event with its audit path to the newest checkpoint. Raises NotSealed.

    Nothing personal is in it: the event holds commitments only.
    """
    seq = AuditEvent.objects.filter(pk=event_id).values_list("sealed_seq", flat=True).first()
    last = Checkpoint.objects.last()
    if seq is None or last is None:
        raise NotSealed(event_id)
    (row,) = read_rows("WHERE sealed_seq = %s", [seq])
    path = prove_inclusion(seq, last.size, Tiles().node)
    return {
        "form": FORM,
        "position": seq,
        "event": read_entry(encode_entry(row.values)),
        "leaf": hash_entry(row.values).hex(),
        "path": [node.hex() for node in path],
        "checkpoint": last.note,
    }
