"""Reading from the database what accounts for gaps in the log."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError, models
from django.db.models.functions import Cast

from audit.entries import write_time
from audit.evidence import (
    ENDINGS,
    FORGOTTEN,
    LOGS_KEPT,
    SLACK,
    Evidence,
    Span,
    note,
    span_of,
)
from audit.models import AuditEvent
from audit.rows import PLACE, read_waiting
from audit.vouching import vouched_entry

UnderWay = Callable[[], Iterable[tuple[UUID, UUID]]]

_under_way: list[UnderWay] = []


def register_under_way(find: UnderWay) -> None:
    """Add who knows which people are being erased just now, piece by piece, and by which deletion
    each."""
    _under_way.append(find)


def read_evidence() -> Evidence:
    """Return what accounts for gaps now: sealed events, and those that wait for their seal and are
    vouched for."""
    # As text: a value that somebody has spoiled must not keep the rest from being read.
    log: Any = models.QuerySet(AuditEvent).exclude(sealed_seq=None).order_by()
    erased: dict[str, Span] = {}
    for ending in ENDINGS:
        told = log.filter(action__endswith=ending).exclude(subject_id=None)
        rows = _texts(told, "subject_id", "at", "id", "facts").iterator(chunk_size=5_000)
        for subject, at, pk, text in rows:
            if LOGS_KEPT not in text or not _read_facts(text).get(LOGS_KEPT):
                _note(erased, subject, at, pk)
    facts = [text for (text,) in _texts(log.filter(action=FORGOTTEN), "facts")]
    for values in _read_waiting():
        text = values[PLACE["facts"]]
        if values[PLACE["action"]] == FORGOTTEN:
            facts.append(text)
        elif not _read_facts(text).get(LOGS_KEPT):
            _note(erased, *(values[PLACE[name]] for name in ("subject_id", "at", "id")))
    until = write_time(datetime.now(UTC) + SLACK)
    for person in _find_under_way():
        note(erased, person, Span("", until))
    told = [_read_facts(text) for text in facts]
    return Evidence(
        erased,
        [one for it in told for one in _ranges(it.get("positions"))],
        [one for it in told for one in _ranges(it.get("bare"))],
    )


@dataclass(frozen=True)
class Pending:
    """What no sealed event accounts for yet: people whose personal values are going or gone, and
    ranges of positions whose events are (``positions``), or whose values (``bare``)."""

    people: Sequence[str]
    positions: Sequence[Sequence[int]]
    bare: Sequence[Sequence[int]]


def read_pending() -> Pending:
    """Return the removals that are under way, or whose event waits for its seal."""
    people = set(_find_under_way())
    told = []
    for values in _read_waiting():
        facts = _read_facts(values[PLACE["facts"]])
        if values[PLACE["action"]] == FORGOTTEN:
            told.append(facts)
        elif (subject := values[PLACE["subject_id"]]) and not facts.get(LOGS_KEPT):
            people.add(subject)
    return Pending(
        sorted(people),
        [one for it in told for one in _ranges(it.get("positions"))],
        [one for it in told for one in _ranges(it.get("bare"))],
    )


def _find_under_way() -> Iterator[str]:
    """Yield who is being erased, unless the log knows of the end: a request's row is anybody's who
    can write to the database, and may say that it goes on."""
    for person, deletion in (it for find in _under_way for it in find()):
        events: Any = models.QuerySet(AuditEvent).filter(subject_id=person).order_by()
        told = _texts(events.filter(action__endswith=ENDINGS[0]), "facts")
        if not any(_read_facts(text).get("deletion") == str(deletion) for (text,) in told):
            yield str(person)


def _read_waiting() -> Iterator[Sequence[Any]]:
    """Yield the values of what waits, as far as it can be read and the service vouches for it."""
    tells = " OR ".join(["action = %s", *("action LIKE %s" for _ in ENDINGS)])
    params = [FORGOTTEN, *(f"%{ending}" for ending in ENDINGS)]
    with suppress(DatabaseError, ValueError, TypeError):
        for row, mac in read_waiting(f"AND ({tells})", params):
            if vouched_entry(row.values, mac):
                yield row.values


def _note(erased: dict[str, Span], subject: str | None, at: str, pk: str) -> None:
    with suppress(ValueError):
        note(erased, str(UUID(subject or "")), span_of(datetime.fromisoformat(at), UUID(pk)))


def _texts(rows: Any, *names: str) -> Any:
    texts = {f"{name}_text": Cast(name, models.TextField()) for name in names}
    return rows.annotate(**texts).values_list(*texts)


def _read_facts(text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _ranges(given: Any) -> Iterator[list[int]]:
    for it in given if isinstance(given, list) else ():
        if isinstance(it, list) and [type(number) for number in it] == [int, int]:
            yield it
