"""Reading from the database what accounts for gaps in the log."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, models
from django.db.models.functions import Cast

from audit.entries import write_time
from audit.evidence import CLAIMED, ENDINGS, FORGOTTEN, SLACK, Claims, Evidence, Span
from audit.models import AuditEvent
from audit.rows import claim_of, read_waiting
from audit.vouching import vouched_entry

UNREADABLE = (DatabaseError, ValueError, TypeError)
"""What reading raises when a value is none that a service can have written."""

UnderWay = Callable[[], Iterable[UUID]]
Prepare = Callable[[], UnderWay]

_under_way: list[Prepare] = []


def register_under_way(prepare: Prepare) -> None:
    """Add who knows which people are being erased just now, piece by piece. It is called before a
    snapshot, and what it returns within."""
    _under_way.append(prepare)


def prepare_under_way() -> UnderWay:
    """Return how to find who is being erased piece by piece: call this before a snapshot, and what
    it returns within."""
    finds = [prepare() for prepare in _under_way]
    return lambda: {person for find in finds for person in find()}


def read_claims() -> Claims:
    """Return what the sealed events say that accounts for gaps, without a look whether they are
    what was sealed: whoever goes through all of them holds it against what they find."""
    # As text: a value that somebody has spoiled must not keep the rest from being read.
    log: Any = models.QuerySet(AuditEvent).exclude(sealed_seq=None).order_by()
    claims = Claims()
    for ending in (*ENDINGS, FORGOTTEN):
        told = log.filter(action__endswith=ending)
        try:
            with closing(_told(told).iterator(chunk_size=5_000)) as rows:
                for values in rows:
                    claims.add(*values)
        except UNREADABLE:
            for seq in list(told.values_list("sealed_seq", flat=True)):
                with suppress(*UNREADABLE):
                    claims.add(*_told(log.filter(sealed_seq=seq, action__endswith=ending)).get())
    return claims


def read_evidence(claims: Claims, under_way: UnderWay) -> Evidence:
    """Return what accounts for gaps: what sealed events say, and those that wait for their seal and
    are vouched for, and the erasures that go on."""
    waiting = Claims()
    for values in _read_waiting():
        waiting.add(*claim_of(values))
    until = write_time(datetime.now(UTC) + SLACK)
    for person in under_way():
        waiting.note(str(person), Span("", until))
    return Evidence.of(claims, waiting)


@dataclass(frozen=True)
class Pending:
    """What no sealed event accounts for yet: people whose personal values are going or gone, and
    ranges of positions whose events are (``positions``), or whose values (``bare``)."""

    people: Sequence[str]
    positions: Sequence[Sequence[int]]
    bare: Sequence[Sequence[int]]


def read_pending(under_way: UnderWay) -> Pending:
    """Return the removals that are under way, or whose event waits for its seal."""
    waiting = Claims()
    for values in _read_waiting():
        waiting.add(*claim_of(values))
    people = {*waiting.erased, *map(str, under_way())}
    return Pending(sorted(people), waiting.forgotten, waiting.bare)


def _read_waiting() -> Iterator[Sequence[Any]]:
    """Yield the values of what waits, as far as it can be read and the service vouches for it."""
    tells = " OR ".join(["action = %s", *("action LIKE %s" for _ in ENDINGS)])
    params = [FORGOTTEN, *(f"%{ending}" for ending in ENDINGS)]
    with suppress(DatabaseError, ValueError, TypeError):
        for row, mac in read_waiting(f"AND ({tells})", params):
            if vouched_entry(row.values, mac):
                yield row.values


def _told(rows: Any) -> Any:
    texts = {f"{name}_text": Cast(name, models.TextField()) for name in CLAIMED}
    return rows.annotate(**texts).values_list(*texts)
