"""Sealing: committed events get their position, their leaf and a signed checkpoint.

Writers know nothing of it and wait for nobody. The sealer takes whatever is committed and has no
position yet, not what comes after the last id: a transaction that commits late carries an early id,
and goes into the next seal. One sealer at a time appends, under a lock on one row. Each batch is a
transaction of its own with positions, tiles and checkpoint in it, so that a crash leaves a log that
is sealed up to the batch before.

What the service does not vouch for (``vouching``) stays unsealed, unless an operator accepts it;
and so does what has been sealed before (``repeats``).
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from audit import notes, signers
from audit.actors import Actor
from audit.entries import UNSPELLABLE, encode_entry, leaf_of
from audit.events import record
from audit.merkle import Range
from audit.models import AuditEvent, Checkpoint, TreeHead
from audit.repeats import Past
from audit.rows import Row, read_next
from audit.spoiled import UNREADABLE
from audit.statements import as_array
from audit.tiles import BEYOND, DamagedTree, Tiles, extend
from audit.vouching import vouched_entry

BATCH = 5_000


class BrokenTree(DamagedTree):
    """The tree in the database is not the one that the last checkpoint was signed for. Nothing is
    sealed on top of it: run ``manage.py verify_audit_log``."""


@dataclass(frozen=True)
class Sealed:
    """What a sealer did: how many events, in how many batches, how large the tree is now, and how
    many events were refused. ``is_busy`` when another one was at it."""

    events: int = 0
    batches: int = 0
    size: int = 0
    refused: int = 0
    is_busy: bool = False


@dataclass(frozen=True)
class Batch:
    """What was done in one transaction, and the place of the last event that was looked at."""

    sealed: int = 0
    refused: int = 0
    last: Any = None


def seal(
    *,
    now: datetime,
    limit: int | None = None,
    batch: int = BATCH,
    accepted: Collection[UUID] = (),
) -> Sealed:
    """Seal what is committed, ``limit`` events at most, those that are ``accepted`` without a look
    at who wrote them. Raises BrokenTree, or ImproperlyConfigured without a key."""
    events = batches = refused = 0
    after: Any = None
    past = Past()
    while True:
        room = batch if limit is None else min(batch, limit - events)
        if room <= 0:
            break
        done = seal_batch(now=now, limit=room, past=past, after=after, accepted=accepted)
        if done is None:
            return Sealed(events, batches, _size(), refused, is_busy=True)
        events, batches = events + done.sealed, batches + bool(done.sealed)
        refused += done.refused
        if done.sealed + done.refused < room:
            break
        after = done.last
    return Sealed(events, batches, _size(), refused)


def accept(events: Collection[UUID], *, now: datetime) -> Sealed:
    """Seal events that the service does not vouch for, such as those that waited when its secret
    was lost. An event of its own names them."""
    facts = {"events": sorted(map(str, events))}
    record("audit.accepted", actor=Actor.system("audit"), subject=None, now=now, facts=facts)
    return seal(now=now, accepted=events)


def count_unsealed() -> int:
    return AuditEvent.objects.filter(sealed_seq=None).count()


def read_sizes() -> tuple[int, int]:
    """Return how many events are sealed as the head has it, and as the newest checkpoint has it.

    The two are written in one transaction and read in one statement, so that they differ under no
    sealer's hands; if they do all the same, they are read once more.
    """
    head, newest = _read_sizes()
    return (head, newest) if head == newest else _read_sizes()


def seal_batch(
    *,
    now: datetime,
    limit: int,
    past: Past,
    after: Any = None,
    accepted: Collection[UUID] = (),
) -> Batch | None:
    """Look at so many events and seal them in one transaction; None when another sealer is at work.

    ``after`` is where the batch before ended, in the same run: what lies before it is dead in
    the index, and is not gone through again. The next run begins from the beginning.
    """
    # Looked at first without the lock, so that an idle sealer keeps nobody from writing.
    if not AuditEvent.objects.filter(sealed_seq=None).order_by("sealed_seq", "id").exists():
        return Batch()
    signer = signers.signer()
    while True:
        size = _size()
        seen = read_next(after, limit)
        vouched = [
            (row, leaf_of(entry)) for _, row, mac in seen if (entry := _vouched(row, mac, accepted))
        ]
        if again := past.holds((row.id, leaf) for row, leaf in vouched):
            if _size() != size:
                # Another sealer was here, and what waited is sealed by now.
                continue
            vouched = [one for one in vouched if one[1] not in again]
        done = Batch(len(vouched), len(seen) - len(vouched), seen[-1].place if seen else None)
        if not vouched:
            return done
        # The transaction holds what is written and nothing that can be done before it. On SQLite
        # writers wait for it; PostgreSQL keeps every old version of any row until it ends.
        with transaction.atomic():
            if (head := _lock()) is None:
                return None
            if head.size == size:
                rows, leaves = zip(*vouched, strict=True)
                _append(head, rows, leaves, signer, now.replace(microsecond=0))
                return done
            if head.size != _size():
                # One that is empty or there twice, which is never as large as it was found to be.
                raise BrokenTree(f"the head says {head.size!r}, which is no number of events")
            # Another sealer was here since, and what was found may be sealed.


def _append(
    head: TreeHead, rows: Sequence[Row], leaves: Sequence[bytes], signer: notes.Signer, at: datetime
) -> None:
    """Give events the next positions and sign the tree that they make."""
    tree = read_tree(head.size)
    _give_positions(head.size, rows)
    extend(head.size, leaves)
    for leaf in leaves:
        tree.append(leaf)
    found = notes.Checkpoint(signer.name, tree.size, tree.root(), at)
    Checkpoint.objects.create(size=tree.size, at=at, note=signer.sign(found))
    head.size = tree.size
    head.save()


def read_tree(size: int) -> Range:
    """Return the tree of a size, after a look whether it is what was signed. Raises BrokenTree."""
    try:
        last = Checkpoint.objects.last()
    except UNREADABLE as error:
        raise BrokenTree(f"the last checkpoint cannot be read: {error}") from error
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


def _vouched(row: Row, mac: bytes | None, accepted: Collection[UUID]) -> bytes:
    """Return an event's entry when it may be sealed, and nothing otherwise."""
    if (entry := vouched_entry(row.values, mac)) or not accepted:
        return entry
    with suppress(*UNSPELLABLE):
        # SQLite can hold the same id once more, in another spelling.
        if UUID(row.id) in accepted and str(UUID(row.id)) == row.id:
            return encode_entry(row.values)
    return b""


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
            # The rows come in the order of their ids. No join: where the planner takes the table
            # for empty, it may compare each event with each id.
            ids = as_array([row.id for row in rows])
            cursor.execute(
                f"UPDATE {table} SET mac = NULL, "  # noqa: S608 - names of our own
                "sealed_seq = %s + width_bucket(id, %s::uuid[]) - 1 WHERE id = ANY(%s::uuid[])",
                [first, ids, ids],
            )
            done = cursor.rowcount
        else:
            cursor.executemany(
                f"UPDATE {table} SET sealed_seq = %s, mac = NULL WHERE id = %s",  # noqa: S608
                [(seq, row.id.replace("-", "")) for seq, row in enumerate(rows, first)],
            )
            done = cursor.rowcount
    if done != len(rows):
        raise BrokenTree("an event got its position from somebody else")


def _read_sizes() -> tuple[int, int]:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        # On SQLite a size may be no number, and cannot always be read.
        cursor.execute(
            "SELECT coalesce((SELECT size FROM audit_treehead WHERE id = %s AND size < %s), 0), "
            "coalesce((SELECT max(size) FROM audit_checkpoint WHERE size < %s), 0)",
            [TreeHead.THE_ONE, BEYOND, BEYOND],
        )
        head, newest = cursor.fetchone()
    return head, newest


def _size() -> int:
    try:
        return _read_size()
    except UNREADABLE as error:
        raise BrokenTree(f"the head cannot be read: {error}") from error


def _read_size() -> int:
    return TreeHead.objects.filter(pk=TreeHead.THE_ONE).values_list("size", flat=True).first() or 0
