"""How much has been erased since the beginning, for a counter that never runs backwards.

Finished deletion requests hold the numbers, and are removed when their retention is over. A sweep
adds those that are a while old to a sum of its own; what came since is added up when asked.
"""

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils.dateparse import parse_datetime

from erasure.models import DeletionRequest, Heartbeat

NAME = "erased"

SETTLED = timedelta(minutes=10)
"""An erasure reads the clock before it commits. After so long its commit is visible for certain."""

EACH = {
    "postgresql": "SELECT sum(value::numeric) FROM jsonb_each_text(counts)",
    "sqlite": "SELECT sum(value) FROM json_each(counts)",
}


def read_totals(now: datetime) -> tuple[int, int]:
    """Return how many subjects and how many rows have been erased so far."""
    base = Heartbeat.objects.filter(name=NAME).first()
    since = _until(base)
    subjects, rows = _add_up(since, now + SETTLED)
    known = base.facts if base else {}
    return known.get("subjects", 0) + subjects, known.get("rows", 0) + rows


def settled_until() -> datetime | None:
    """Return up to where finished requests are in the sum; None before the first time."""
    return _until(Heartbeat.objects.filter(name=NAME).first())


def roll_up(now: datetime) -> int:
    """Take requests into the sum that finished a while ago; return how many."""
    Heartbeat.objects.bulk_create([Heartbeat(name=NAME, at=now)], ignore_conflicts=True)
    with transaction.atomic(durable=True):
        # Locked before it is read, so that two sweeps at once add nothing twice.
        base = Heartbeat.objects.select_for_update().get(name=NAME)
        since, until = _until(base), now - SETTLED
        if since is not None and until <= since:
            return 0
        subjects, rows = _add_up(since, until)
        base.facts = {
            "subjects": base.facts.get("subjects", 0) + subjects,
            "rows": base.facts.get("rows", 0) + rows,
            "until": until.isoformat(),
        }
        base.at = now
        base.save()
        return subjects


def _until(base: Heartbeat | None) -> datetime | None:
    return parse_datetime(base.facts["until"]) if base and "until" in base.facts else None


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
