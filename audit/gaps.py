"""Reading from the database what accounts for gaps in the log."""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models.functions import Cast

from audit.evidence import ENDINGS, FORGOTTEN, Evidence, note
from audit.models import AuditEvent

UnderWay = Callable[[], Collection[UUID]]

_under_way: list[UnderWay] = []


def register_under_way(find: UnderWay) -> None:
    """Add who knows which people are being erased just now, piece by piece."""
    _under_way.append(find)


def read_evidence() -> Evidence:
    """Return what accounts for gaps now."""
    # As text: a value that somebody has spoiled must not keep the rest from being read.
    log: Any = models.QuerySet(AuditEvent).order_by()
    erased: dict[str, str] = {}
    for ending in ENDINGS:
        told = log.filter(action__endswith=ending).exclude(subject_id=None)
        for subject, at in _texts(told, "subject_id", "at").iterator(chunk_size=5_000):
            with suppress(ValueError):
                note(erased, str(UUID(subject)), datetime.fromisoformat(at))
    now = datetime.now(UTC)
    for find in _under_way:
        for person in find():
            note(erased, str(person), now)
    forgotten = _texts(log.filter(action=FORGOTTEN), "facts")
    facts = [_read_facts(text) for (text,) in forgotten]
    return Evidence(
        erased,
        [one for it in facts for one in _ranges(it.get("positions"))],
        [one for it in facts for one in _ranges(it.get("bare"))],
    )


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
