"""Records that end by themselves, such as a hold that was released: forgotten some time later,
under ``Keep(retention=…, since=…)``, whether anybody was erased or not."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import models, transaction

from audit.spoiled import HasId
from erasure.policies import Keep, Policy, all_policies
from erasure.stopping import is_stopping

ROWS = 1000


def forget_ended(*, now: datetime, execute: bool) -> dict[str, int]:
    """Remove what ended longer ago than it is kept, or only count it; return rows by model.

    A record without an end stays: a hold that stands, a proposal that waits. A transaction removes
    at most a thousand rows; what a crash cuts off is left for the next sweep.
    """
    counts: dict[str, int] = {}
    for policy, since, kept in _find_spans():
        over: Any = models.QuerySet(policy.model).filter(**{f"{since}__lte": now - kept})
        rows = _remove(over) if execute else over.count()
        if rows:
            counts[policy.label] = counts.get(policy.label, 0) + rows
    return counts


def _find_spans() -> Iterator[tuple[Policy, str, timedelta]]:
    """Yield for each model and field the longest time that any of its fates asks for."""
    for policy in all_policies():
        spans: dict[str, timedelta] = {}
        for fate in (*policy.links.values(), *(loose.fate for loose in policy.loose)):
            if isinstance(fate, Keep) and fate.since and fate.retention is not None:
                spans[fate.since] = max(fate.retention, spans.get(fate.since, timedelta()))
        for since, kept in spans.items():
            yield policy, since, kept


def _remove(over: Any) -> int:
    rows = 0
    if isinstance(over.model._meta.pk, models.UUIDField):
        over = over.filter(HasId("pk"))
    while not is_stopping() and (
        chunk := list(over.order_by().values_list("pk", flat=True)[:ROWS])
    ):
        with transaction.atomic(durable=True):
            # Checked again by the DELETE: what has begun anew meanwhile stays.
            removed = over.filter(pk__in=chunk).delete()[0]
        rows += removed
        if not removed:
            break
    return rows
