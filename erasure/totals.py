"""How much has been erased since the beginning, for a counter that never runs backwards.

Finished deletion requests hold the numbers, and are removed when their retention is over. A sweep
adds those that are a while old to a sum of its own; what came since is added up when asked.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeGuard

from django.db import connection, transaction
from django.utils.dateparse import parse_datetime

from audit.spoiled import UNREADABLE
from erasure.models import DeletionRequest, Heartbeat

NAME = "erased"

SETTLED = timedelta(minutes=10)
"""An erasure reads the clock before it commits. After so long its commit is visible for certain."""

AHEAD = timedelta(days=1)
"""So far ahead of a clock a sum may be: of another sweep, when this one takes long, or of a machine
whose clock is fast."""

MOST = 1 << 53
"""More than anybody erases, and the largest number up to which a float holds all."""

# A row may hold any document. What in it is no number of rows adds nothing.
EACH = {
    "postgresql": (
        "SELECT sum(n) FROM (SELECT CASE jsonb_typeof(value) WHEN 'number' THEN value::numeric END "
        "FROM jsonb_each(CASE jsonb_typeof(counts) WHEN 'object' THEN counts END)) AS each(n) "
        "WHERE n BETWEEN 0 AND 9007199254740992"
    ),
    # Their sum is a float, for whole numbers may be too many for a whole number.
    "sqlite": (
        "SELECT total(value) FROM json_each(CASE WHEN json_valid(counts) THEN counts END) "
        "WHERE typeof(key) = 'text' AND type IN ('integer', 'real') "
        "AND value BETWEEN 0 AND 9007199254740992"
    ),
}


class Sum(NamedTuple):
    """What was erased up to a time. A sum that no sweep can have written is begun anew, from the
    requests that are there: of those that are gone nothing else is known."""

    subjects: int = 0
    rows: int = 0
    until: datetime | None = None


def read_totals(now: datetime) -> tuple[int, int]:
    """Return how many subjects and how many rows have been erased so far."""
    base = _parse(read_facts(NAME), now)
    subjects, rows = _add_up(base.until, now + SETTLED)
    return base.subjects + subjects, base.rows + rows


def settled_until(now: datetime) -> datetime | None:
    """Return up to where finished requests are in the sum; None before the first time."""
    return _parse(read_facts(NAME), now).until


def read_facts(name: str, *, is_locked: bool = False) -> dict[str, Any]:
    """Return what a job noted when it last came to its end; nothing when it noted nothing, or when
    that cannot be read."""
    beats = Heartbeat.objects.filter(name=name)
    if is_locked:
        beats = beats.select_for_update()
    try:
        # Not its time, which may be none.
        facts = beats.values_list("facts", flat=True).first()
    except UNREADABLE:
        return {}
    return facts if isinstance(facts, dict) else {}


def parse_past(written: Any, latest: datetime) -> datetime | None:
    """Return a time that was written down; None when it is none, or lies after ``latest``."""
    try:
        at = parse_datetime(written)
        return at.astimezone(UTC) if at is not None and at <= latest else None
    except (TypeError, ValueError, OverflowError):
        return None


def roll_up(now: datetime) -> int:
    """Take requests into the sum that finished a while ago; return how many."""
    Heartbeat.objects.bulk_create([Heartbeat(name=NAME, at=now)], ignore_conflicts=True)
    with transaction.atomic(durable=True):
        # Locked before it is read, so that two sweeps at once add nothing twice.
        base = _parse(read_facts(NAME, is_locked=True), now)
        until = now - SETTLED
        if base.until is not None and until <= base.until:
            return 0
        subjects, rows = _add_up(base.until, until)
        facts = {
            "subjects": base.subjects + subjects,
            "rows": base.rows + rows,
            "until": until.isoformat(),
        }
        Heartbeat.objects.filter(name=NAME).update(facts=facts, at=now)
        return subjects


def _parse(facts: dict[str, Any], now: datetime) -> Sum:
    until = parse_past(facts.get("until"), now + AHEAD)
    subjects, rows = facts.get("subjects"), facts.get("rows")
    if until is None or not (_is_number(subjects) and _is_number(rows)):
        return Sum()
    return Sum(subjects, rows, until)


def _is_number(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MOST


def _add_up(since: datetime | None, until: datetime) -> tuple[int, int]:
    """Return number and rows of the requests that finished after ``since`` and up to ``until``."""
    adapt = connection.ops.adapt_datetimefield_value
    table = connection.ops.quote_name(DeletionRequest._meta.db_table)
    sql = (
        f"SELECT count(*), coalesce(sum(({EACH[connection.vendor]})), 0) FROM {table} "  # noqa: S608
        "WHERE state = 'completed' AND finished_at IS NOT NULL AND finished_at <= %s"
    )
    parameters = [adapt(until)]
    if since is not None:
        sql += " AND finished_at > %s"
        parameters.append(adapt(since))
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        subjects, rows = cursor.fetchone()
    return int(subjects), int(rows)
