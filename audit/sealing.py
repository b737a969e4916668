"""Sealing: committed events get their position, their leaf and a signed checkpoint.

Writers know nothing of it and wait for nobody. The sealer takes whatever is committed and has no
position yet, not what comes after the last id: a transaction that commits late carries an early id,
and goes into the next seal. One sealer works at a time, under a lock on one row. Each batch is a
transaction of its own with positions, tiles and checkpoint in it, so that a crash leaves a log that
is sealed up to the batch before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from audit import notes, signers
from audit.entries import hash_entry
from audit.merkle import Range
from audit.models import AuditEvent, Checkpoint, TreeHead
from audit.rows import Row, read_rows
from audit.statements import as_array
from audit.tiles import DamagedTree, Tiles, extend

BATCH = 5_000


class BrokenTree(DamagedTree):
    """The tree in the database is not the one that the last checkpoint was signed for. Nothing is
    sealed on top of it: run ``manage.py verify_audit_log``."""


@dataclass(frozen=True)
class Sealed:
    """What a sealer did: how many events, in how many batches, and how large the tree is now.
    ``is_busy`` when another one was at it."""

    events: int = 0
    batches: int = 0
    size: int = 0
    is_busy: bool = False


def seal(*, now: datetime, limit: int | None = None, batch: int = BATCH) -> Sealed:
    """Seal what is committed, ``limit`` events at most. Raises BrokenTree, or ImproperlyConfigured
    without a key."""
    events = batches = 0
    after: UUID | None = None
    while True:
        room = batch if limit is None else min(batch, limit - events)
        if room <= 0:
            break
        done = seal_batch(now=now, limit=room, after=after)
        if done is None:
            return Sealed(events, batches, _size(), is_busy=True)
        events, batches = events + len(done), batches + bool(done)
        if len(done) < room:
            break
        after = done[-1]
    return Sealed(events, batches, _size())


def count_unsealed() -> int:
    return AuditEvent.objects.filter(sealed_seq=None).count()


def seal_batch(*, now: datetime, limit: int, after: UUID | None = None) -> list[UUID] | None:
    """Seal up to so many events in one transaction; return their ids, or None when another sealer
    is at work.

    ``after`` is the last id of the batch before, in the same run: what lies before it is dead in
    the index, and is not gone through again. The next run begins from the beginning.
    """
    # Looked at first without the lock, so that an idle sealer keeps nobody from writing.
    if not AuditEvent.objects.filter(sealed_seq=None).order_by("sealed_seq", "id").exists():
        return []
    signer = signers.signer()
    with transaction.atomic():
        if (head := _lock()) is None:
            return None
        rows = _find(after, limit)
        if not rows:
            return []
        tree = read_tree(head.size)
        leaves = [hash_entry(row.values) for row in rows]
        _give_positions(head.size, rows)
        extend(head.size, leaves)
        for leaf in leaves:
            tree.append(leaf)
        at = now.replace(microsecond=0)
        found = notes.Checkpoint(signer.name, tree.size, tree.root(), at)
        Checkpoint.objects.create(size=tree.size, at=at, note=signer.sign(found))
        head.size = tree.size
        head.save()
    return [UUID(row.id) for row in rows]


def read_tree(size: int) -> Range:
    """Return the tree of a size, after a look whether it is what was signed. Raises BrokenTree."""
    last = Checkpoint.objects.last()
    if (last.size if last else 0) != size:
        raise BrokenTree(f"{size} events are sealed, but the last checkpoint is {last}")
    tree = Tiles().range(size)
    if last is not None:
        try:
            signed = notes.open_note(last.note, signers.verifiers())
        except notes.InvalidNote as error:
            raise BrokenTree(f"{last}: {error}") from error
        if (signed.size, signed.root) != (size, tree.root()):
            raise BrokenTree(f"{last} was signed for another tree")
    return tree


def _find(after: UUID | None, limit: int) -> list[Row]:
    further, params = "", list[Any]([limit])
    if after is not None:
        field: Any = AuditEvent._meta.pk
        further = "AND id > %s "
        params.insert(0, field.get_db_prep_value(after, connections[DEFAULT_DB_ALIAS]))
    return list(
        read_rows(f"WHERE sealed_seq IS NULL {further}ORDER BY sealed_seq, id LIMIT %s", params)
    )


def _lock() -> TreeHead | None:
    TreeHead.objects.bulk_create([TreeHead()], ignore_conflicts=True)
    skips = connections[DEFAULT_DB_ALIAS].features.has_select_for_update_skip_locked
    heads = TreeHead.objects.select_for_update(skip_locked=skips)
    return heads.filter(pk=TreeHead.THE_ONE).first()


def _give_positions(first: int, rows: Sequence[Row]) -> None:
    connection: Any = connections[DEFAULT_DB_ALIAS]
    table = AuditEvent._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                f"UPDATE {table} AS e SET sealed_seq = %s + u.n - 1 "  # noqa: S608
                "FROM unnest(%s::uuid[]) WITH ORDINALITY AS u(id, n) "
                "WHERE e.id = u.id AND e.sealed_seq IS NULL",
                [first, as_array([row.id for row in rows])],
            )
            done = cursor.rowcount
        else:
            cursor.executemany(
                f"UPDATE {table} SET sealed_seq = %s WHERE id = %s AND sealed_seq IS NULL",  # noqa: S608
                [(seq, row.id.replace("-", "")) for seq, row in enumerate(rows, first)],
            )
            done = cursor.rowcount
    if done != len(rows):
        raise BrokenTree("an event got its position from somebody else")


def _size() -> int:
    return TreeHead.objects.filter(pk=TreeHead.THE_ONE).values_list("size", flat=True).first() or 0
