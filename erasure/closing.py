"""What surrounds the removal of rows: the ledger before, receipt, state and record after.

For one erasure and for a set of them alike. The order is law: the ledger's intent is on disk before
the first row goes, so that a backup restored at any later moment can be brought up to date; the
receipt is signed and the request closed in the transaction that removed the rows.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Happening, Reference, record, record_many
from audit.statements import as_array
from erasure import receipts
from erasure.exceptions import LedgerUnavailable
from erasure.ledger import Batch, Entry, born_text, open_ledger
from erasure.models import DeletionRequest
from erasure.requests import LeaseLost, complete
from erasure.subjects import get_kind

STATE = DeletionRequest.State

PLACE = ("id", "generation")
"""What says which row is meant, and is not changed."""


class Due(NamedTuple):
    """A request of a set, as far as its erasure needs it."""

    id: UUID
    subject_id: UUID
    generation: int
    channel: str
    requested_by_kind: str
    requested_at: datetime
    organization_id: UUID | None
    counts: dict[str, int]
    """What a soft delete that the erasure followed at once has removed already."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """A finished erasure: the request that carried it and the rows removed, by model.

    ``identifiers`` is what to search for now, if somebody wants to; held in memory only.
    """

    subject: Reference
    request_id: UUID
    counts: dict[str, int]
    identifiers: tuple[str, ...] = field(default=(), repr=False)


def intend_one(
    request: DeletionRequest, instance: Any | None, *, now: datetime, is_last: bool = True
) -> None:
    """Write to the ledger that a subject's rows are about to go, and after the commit that they
    went. Raises LedgerUnavailable. Call it in the transaction that removes them.

    The first piece of an erasure of many is not the last: its intent stays open, and is remembered
    in the request's cursor until the last piece.
    """
    entry = make_entry(request, instance, now=now)
    if begun := request.cursor.get("intent"):
        # The first piece has told of it.
        entry = entry._replace(id=UUID(begun))
    else:
        open_ledger().intend([entry])
        vars(request)["intent"] = entry
    request.ledger_entry = entry.id if open_ledger() else None
    if is_last:
        transaction.on_commit(partial(finish, [entry]), robust=True)
    else:
        request.cursor = {**request.cursor, "intent": str(entry.id)}


def note_restored(request: DeletionRequest, instance: Any, *, now: datetime) -> None:
    """Write to the ledger, after the commit, that a deletion was taken back: a backup from before
    then would hold it as scheduled, and purge whoever came back."""
    entry = make_entry(request, instance, now=now)
    write = partial(open_ledger().finish, [entry], state="restored")
    transaction.on_commit(write, robust=True)


def make_entry(request: DeletionRequest, instance: Any | None, *, now: datetime) -> Entry:
    born = get_kind(request.subject_kind).born(instance) if instance is not None else None
    return Entry(
        id=uuid7(),
        at=now,
        kind=request.subject_kind,
        subject_id=request.subject_id,
        born=born_text(born),
        deletion_id=request.pk,
        generation=request.generation,
    )


def intend_set(
    kind: str, dues: Sequence[Due], born: Mapping[UUID, datetime | None], *, now: datetime
) -> list[Entry]:
    """The same for a set, with one wait for the disk. Returns what was written, in order: should
    the set fail, ``retract`` takes it back. Nothing where there is no ledger."""
    ledger = open_ledger()
    if not ledger:
        return []
    entries = Batch(
        Entry(
            uuid7(), now, kind, it.subject_id, born_text(born[it.subject_id]), it.id, it.generation
        )
        for it in dues
    )
    ledger.intend(entries)
    transaction.on_commit(partial(finish, entries), robust=True)
    return entries


def retract(entries: Sequence[Entry]) -> None:
    """Write that intents came to nothing, after the rollback."""
    if entries:
        with suppress(LedgerUnavailable):
            open_ledger().finish(entries, "void")


def finish(entries: Sequence[Entry]) -> None:
    """Write that intents came to their end. If it cannot be written, the next sweep finds out."""
    open_ledger().finish(entries)


def close_one(
    request: DeletionRequest, *, actor: Actor, now: datetime, facts: Mapping[str, Any]
) -> Erasure:
    """Close a request whose counts are filled in: state, receipt and event."""
    complete(request, now=now)
    [(request.signature, request.statement)] = receipts.sign_many([request])
    request.save()
    record(
        f"{request.subject_kind}.erased",
        actor=actor,
        subject=request.subject,
        now=now,
        organization_id=request.organization_id,
        facts={"deletion": str(request.pk), "removed": request.counts, **facts},
    )
    return Erasure(request.subject, request.pk, request.counts)


@dataclass(frozen=True, slots=True)
class Closing:
    """A set's requests as they are written when it is done: columns in the order of ``dues``."""

    kind: str
    dues: Sequence[Due]
    counts: Sequence[dict[str, int]]
    texts: Sequence[str]
    told: Sequence[str]
    entries: Sequence[UUID]
    signatures: Sequence[str]
    statement: str
    happenings: Sequence[Happening]


def prepare_closing(
    kind: str,
    dues: Sequence[Due],
    counts: Mapping[UUID, dict[str, int]],
    told: Mapping[UUID, Sequence[str]],
    intents: Sequence[Entry],
    *,
    now: datetime,
) -> Closing:
    """Sign the receipts of a set and spell what is to be written. Asks nothing of the database: the
    run has written the receipts' wording down before its first set. A set is one transaction, which
    begins and ends its erasures."""
    entries = [it.id for it in intents]
    counted = [counts[it.subject_id] for it in dues]
    signed = receipts.sign_many(
        [
            receipts.Finished(
                it.id,
                kind,
                it.subject_id,
                it.generation,
                it.channel,
                it.requested_by_kind,
                it.requested_at,
                now,
                now,
                rows,
                told.get(it.subject_id, ()) if told else (),
                entry,
            )
            for it, rows, entry in zip(dues, counted, entries or repeat(None), strict=False)
        ],
        is_kept=True,
    )
    # Labels of models and whole numbers: written out, since a set has hundreds of them.
    texts = [
        "{" + ",".join([f'"{label}":{n}' for label, n in rows.items()]) + "}" for rows in counted
    ]
    return Closing(
        kind=kind,
        dues=dues,
        counts=counted,
        texts=texts,
        told=[json.dumps(list(told.get(it.subject_id, ()))) for it in dues] if told else [],
        entries=entries,
        signatures=[signature.hex() for signature, _ in signed],
        statement=signed[0][1],
        happenings=[
            Happening(
                it.subject_id, it.organization_id, f'{{"deletion":"{it.id}","removed":{text}}}'
            )
            for it, text in zip(dues, texts, strict=True)
        ],
    )


def close_set(closing: Closing, *, actor: Actor, now: datetime) -> list[Erasure]:
    """Close the requests of a set with one guarded UPDATE, and write their events.

    Raises LeaseLost when one of them is no longer what was read: then nothing of the set may stay.
    """
    kind, dues = closing.kind, closing.dues
    if _close(closing, now) != len(dues):
        raise LeaseLost(kind)
    record_many(f"{kind}.erased", actor=actor, kind=kind, now=now, happenings=closing.happenings)
    return [
        Erasure(Reference(kind, it.subject_id), it.id, rows)
        for it, rows in zip(dues, closing.counts, strict=True)
    ]


def _close(closing: Closing, now: datetime) -> int:
    """State and generation are checked by the UPDATE itself, for rows were read, not locked: the
    subjects' locks keep everybody else away, and this is the guard should somebody forget them."""
    same = (
        "state = %s, started_at = %s, finished_at = %s, attempts = attempts + 1, last_error = '', "
        "retry_at = NULL, lease_until = NULL, lease_token = NULL, before = %s, cursor = %s, "
        "statement = %s"
    )
    at = _prepare("finished_at", now)
    values = [STATE.COMPLETED.value, at, at, "{}", "{}", closing.statement]
    columns: dict[str, Sequence[Any]] = {
        "counts": closing.texts,
        "signature": closing.signatures,
        **({"told": closing.told} if closing.told else {}),
        **({"ledger_entry": closing.entries} if closing.entries else {}),
        "id": [it.id for it in closing.dues],
        "generation": [it.generation for it in closing.dues],
    }
    table = DeletionRequest._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            types = {"counts": "jsonb", "told": "jsonb", "id": "uuid", "generation": "int"}
            types["ledger_entry"] = "uuid"
            spelled = {name: f"u.{name}::{kind}" for name, kind in types.items()}
            spelled["signature"] = "decode(u.signature, 'hex')"
            new = "".join(f", {name} = {spelled[name]}" for name in columns if name not in PLACE)
            arrays = ", ".join("%s::text[]" for _ in columns)
            cursor.execute(
                f"UPDATE {table} AS r SET {same}{new} "  # noqa: S608
                f"FROM unnest({arrays}) AS u({', '.join(columns)}) WHERE r.id = {spelled['id']} "
                f"AND r.generation = {spelled['generation']} AND r.state = 'scheduled'",
                [*values, *(as_array(column) for column in columns.values())],
            )
            return int(cursor.rowcount)
        new = "".join(f", {name} = %s" for name in columns if name not in PLACE)
        columns["signature"] = [bytes.fromhex(one) for one in closing.signatures]
        for name in columns.keys() & {"id", "ledger_entry"}:
            columns[name] = [_prepare(name, one) for one in columns[name]]
        cursor.executemany(
            f"UPDATE {table} SET {same}{new} "  # noqa: S608
            "WHERE id = %s AND generation = %s AND state = 'scheduled'",
            [(*values, *row) for row in zip(*columns.values(), strict=True)],
        )
        return int(cursor.rowcount)


def _prepare(field: str, value: Any) -> Any:
    known: Any = DeletionRequest._meta.get_field(field)
    return known.get_db_prep_save(value, connection)
