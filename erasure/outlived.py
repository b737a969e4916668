"""Whose time is over: finished deletions in the order in which they finished, and how far a sweep
has gone through them.

What a row of the database says is believed of the audit log only with a receipt that is genuine.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from audit.spoiled import UNREADABLE, HasId
from audit.statements import Among
from erasure.models import DeletionRequest, Heartbeat
from erasure.receipts import ReceiptMissing, forbid_changed
from erasure.signing import InvalidReceipt, UnknownKey
from erasure.subjects import get_kind, kind_names
from erasure.totals import parse_past, read_facts, settled_until

logger = logging.getLogger("sexton.erasure")

NAME = "retention"
SUBJECTS = 500

Mark = tuple[datetime, UUID]
Need = Literal["receipt", "key", "nothing"]
"""What a request must have: a genuine receipt, one of which it can be told, or neither."""


class KeyMissing(Exception):
    """The key of a deletion's receipt is not at hand, so that nobody can tell whether it is
    genuine: its public part belongs into RECEIPT_KEYS. Until it is there, retention waits at that
    deletion."""


def find_outlived(
    kind: str, mark: Mark | None, cutoff: datetime, *, needs: Need
) -> Iterator[tuple[dict[str, list[UUID]], Mark]]:
    """Yield subjects, by kind, that were erased before a time and are still gone, some hundred at
    once, and how far that is.

    Raises KeyMissing at a receipt that is needed and of which nobody can tell whether it is
    genuine, after what comes before.
    """
    due = DeletionRequest.objects.filter(state="completed", finished_at__lte=cutoff)
    if kind != "*":
        due = due.filter(subject_kind=kind)
    if passed := _after(due, mark).exclude(HasId("id")).count():
        logger.warning("requests without an id are passed over", extra={"requests": passed})
    due = due.filter(HasId("id"))
    unreadable = list[UUID]()
    while True:
        done = _after(due, mark)
        if unreadable:
            done = done.exclude(Among("id", unreadable))
        found, spoiled = _load(done.order_by("finished_at", "pk"))
        unreadable += spoiled
        if not found and not spoiled:
            return
        before = mark
        by_kind, mark, missing = _believe(found, mark, needs)
        if before is not None and mark is not None and mark <= before:
            # A time that the database compares otherwise than it reads it: once is enough.
            unreadable += [it.pk for it in found]
        gone = {kind: _still_gone(kind, ids, cutoff) for kind, ids in by_kind.items()}
        if mark is not None:
            yield {kind: ids for kind, ids in gone.items() if ids}, mark
        if missing:
            raise missing


def _after(due: Any, mark: Mark | None) -> Any:
    if mark is None:
        return due
    return due.filter(Q(finished_at__gt=mark[0]) | Q(finished_at=mark[0], pk__gt=mark[1]))


def _believe(
    requests: Sequence[DeletionRequest], mark: Mark | None, needs: Need
) -> tuple[dict[str, list[UUID]], Mark | None, KeyMissing | None]:
    """Return whose requests are to be believed, by kind, and up to which of them that is known."""
    by_kind: dict[str, list[UUID]] = defaultdict(list)
    for request in requests:
        try:
            is_believed = needs == "nothing" or _is_genuine(request) or needs == "key"
        except UnknownKey as error:
            return by_kind, mark, KeyMissing(f"deletion {request.pk}: {error}")
        if request.finished_at is not None:
            mark = (request.finished_at, request.pk)
        if is_believed:
            by_kind[request.subject_kind].append(request.subject_id)
    return by_kind, mark, None


def cutoff_of(retention: timedelta, now: datetime) -> datetime:
    """Return before when an erasure must have been finished for its retention to be over."""
    settled = settled_until(now)
    return now - retention if settled is None else min(now - retention, settled)


def read_mark(name: str, latest: datetime) -> Mark | None:
    """Return how far sweeps have come under a name. A mark that nobody can have set, for it is no
    mark or lies after ``latest``, is none: they begin anew."""
    return _parse(read_facts(NAME).get(name), latest)


def set_mark(name: str, mark: Mark, latest: datetime, now: datetime) -> None:
    """Write how far a sweep has come, unless another is further already."""
    Heartbeat.objects.bulk_create([Heartbeat(name=NAME, at=now)], ignore_conflicts=True)
    with transaction.atomic(durable=True):
        facts = read_facts(NAME, is_locked=True)
        known = _parse(facts.get(name), latest)
        if known is None or mark > known:
            # Marks alone are written again: what else stands there a database may refuse.
            marks = {it: old for it in facts if (old := _parse(facts[it], now))} | {name: mark}
            written = {it: [at.isoformat(), str(pk)] for it, (at, pk) in marks.items()}
            Heartbeat.objects.filter(name=NAME).update(facts=written, at=now)


def _parse(written: Any, latest: datetime) -> Mark | None:
    try:
        at, pk = parse_past(written[0], latest), UUID(written[1])
        return (at, pk) if at is not None else None
    except (TypeError, ValueError, LookupError, AttributeError):
        return None


def _load(done: Any) -> tuple[list[DeletionRequest], list[UUID]]:
    """Return the next requests, and the ids of those that cannot be read."""
    try:
        return list(done[:SUBJECTS]), []
    except UNREADABLE:
        pass
    found, spoiled = [], []
    for pk in list(done.values_list("pk", flat=True)[:SUBJECTS]):
        try:
            found += done.filter(pk=pk)
        except UNREADABLE:
            logger.warning("a request cannot be read", extra={"request": str(pk)})
            spoiled.append(pk)
    return found, spoiled


def _is_genuine(request: DeletionRequest) -> bool:
    """Whether a request's receipt is genuine: whoever made up the row of an erasure, or its time,
    must not have the log forget by it. Raises UnknownKey."""
    try:
        forbid_changed(request)
    except UnknownKey:
        raise
    except (ReceiptMissing, InvalidReceipt):
        logger.warning("no genuine receipt: the events stay", extra={"request": str(request.pk)})
        return False
    return True


def _still_gone(kind: str, ids: list[UUID], cutoff: datetime) -> list[UUID]:
    """Return those of these subjects that do not exist, and that no later deletion is about."""
    if kind not in kind_names():
        return ids
    known = get_kind(kind)
    living = known.model._default_manager.filter(pk__in=[known.pk_of(one) for one in ids])
    kept = {known.id_of(pk) for pk in living.values_list("pk", flat=True)}
    later = DeletionRequest.objects.filter(subject_kind=kind, subject_id__in=ids).filter(
        Q(state__in=DeletionRequest.OPEN) | Q(state="completed", finished_at__gt=cutoff)
    )
    kept |= set(later.values_list("subject_id", flat=True))
    return [one for one in ids if one not in kept]
