"""Reading from the database what accounts for gaps in the log."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast

from audit.entries import write_time
from audit.evidence import CLAIMED, ENDINGS, FORGOTTEN, SLACK, Claims, Said, Span
from audit.models import AuditEvent
from audit.rows import Row, claim_of, read_waiting
from audit.spoiled import UNREADABLE
from audit.tiles import BEYOND
from audit.vouching import vouched_entry

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
    told = log.filter(_tells())
    claims, said = Claims(), Said()
    try:
        with closing(_told(told).iterator(chunk_size=5_000)) as rows:
            for seq, *values in rows:
                said.add(seq, claims.add(*values))
    except UNREADABLE:
        claims, said = Claims(), Said()
        placed = told.filter(sealed_seq__lt=BEYOND)
        for place in list(placed.values_list("sealed_seq", flat=True)):
            with suppress(*UNREADABLE):
                for seq, *values in list(_told(told.filter(sealed_seq=place))):
                    said.add(seq, claims.add(*values))
    return claims, said


def add_waiting(claims: Claims, under_way: UnderWay) -> None:
    """Add what events say that wait for their seal and are vouched for, and the erasures that go
    on."""
    claims.take(_read_waiting())
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
    waiting = _read_waiting()
    people = {*waiting.erased, *under_way()}
    return Pending(sorted(people), waiting.forgotten, waiting.bare)


def _read_waiting() -> Claims:
    """Return what the events say that wait, as far as they can be read and are vouched for."""
    tells = " OR ".join(["action = %s", *("action LIKE %s" for _ in ENDINGS)])
    params = [FORGOTTEN, *(f"%{ending}" for ending in ENDINGS)]
    claims = Claims()
    try:
        _believe(claims, read_waiting(f"AND ({tells})", params))
    except UNREADABLE:
        claims = Claims()
        for pk in _find_waiting():
            with suppress(*UNREADABLE):
                _believe(claims, read_waiting("AND id = CAST(%s AS TEXT)", [pk]))
    return claims


def _find_waiting() -> list[bytes]:
    """Return the ids of what waits and tells of a removal, on SQLite, which alone holds what cannot
    be read: as bytes, since an id may be such."""
    waiting: Any = models.QuerySet(AuditEvent).filter(_tells(), sealed_seq=None).order_by()
    return list(waiting.values_list(Cast("id", models.BinaryField()), flat=True))


def _believe(claims: Claims, waiting: Iterable[tuple[Row, bytes | None]]) -> None:
    for row, mac in waiting:
        if vouched_entry(row.values, mac):
            claims.add(*claim_of(row.values))


def _tells() -> Q:
    """Return the condition on events that may account for something."""
    return reduce(or_, (Q(action__endswith=ending) for ending in (*ENDINGS, FORGOTTEN)))


def _told(rows: Any) -> Any:
    texts = {f"{name}_text": Cast(name, models.TextField()) for name in CLAIMED}
    return rows.annotate(**texts).values_list("sealed_seq", *texts)
