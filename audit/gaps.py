"""Reading from the database what accounts for gaps in the log."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db import DatabaseError, models
from django.db.models import Q
from django.db.models.functions import Cast

from audit.entries import write_time
from audit.evidence import CLAIMED, ENDINGS, FORGOTTEN, SLACK, Claims, Said, Span
from audit.models import AuditEvent
from audit.rows import claim_of, read_waiting
from audit.vouching import vouched_entry

UNREADABLE = (DatabaseError, ValueError, TypeError)
"""What reading raises when a value is none that a service can have written."""

UnderWay = Callable[[], Iterable[str]]
"""Returns by what claims name those who are being erased just now: ``evidence.key_of``."""

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
    return lambda: {key for find in finds for key in find()}


def read_claims() -> tuple[Claims, Said]:
    """Return what the sealed events say that accounts for gaps, without a look whether they are
    what was sealed: whoever goes through all of them holds it against what they find."""
    # As text: a value that somebody has spoiled must not keep the rest from being read.
    log: Any = models.QuerySet(AuditEvent).exclude(sealed_seq=None).order_by("sealed_seq")
    tells = (Q(action__endswith=ending) for ending in (*ENDINGS, FORGOTTEN))
    told = log.filter(reduce(or_, tells))
    claims, said = Claims(), Said()
    try:
        with closing(_told(told).iterator(chunk_size=5_000)) as rows:
            for seq, *values in rows:
                said.add(seq, claims.add(*values))
    except UNREADABLE:
        claims, said = Claims(), Said()
        for place in list(told.values_list("sealed_seq", flat=True)):
            with suppress(*UNREADABLE):
                for seq, *values in list(_told(told.filter(sealed_seq=place))):
                    said.add(seq, claims.add(*values))
    return claims, said


def add_waiting(claims: Claims, under_way: UnderWay) -> None:
    """Add what events say that wait for their seal and are vouched for, and the erasures that go
    on."""
    for values in _read_waiting():
        claims.add(*claim_of(values))
    until = write_time(datetime.now(UTC) + SLACK)
    for key in under_way():
        claims.note(key, Span("", until))


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
    people = {*waiting.erased, *under_way()}
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
    return rows.annotate(**texts).values_list("sealed_seq", *texts)
