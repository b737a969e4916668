"""Which events somebody wants to see: one set of conditions for the API, the shell and exports."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import Q

from audit.entries import FIELDS
from audit.models import AuditEvent
from audit.snapshots import snapshot
from audit.spoiled import UNREADABLE
from audit.statements import Among

PATIENCE, AT_ONCE = 1_000, 64
"""So many rows are gone through where one of them cannot be read, some at a time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Conditions that all hold; None and empty mean any. ``about`` is whoever the event names as
    actor, subject or the person behind the actor; ``organizations`` those that it belongs to."""

    action: str = ""
    subject_id: UUID | None = None
    actor_id: UUID | None = None
    about: UUID | None = None
    organizations: tuple[UUID, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_everything(self) -> bool:
        return self == Wanted()

    def rows(self) -> Any:
        """Return the events, newest first."""
        found: Any = models.QuerySet(AuditEvent).order_by("-id")
        for condition in self._conditions():
            found = found.filter(condition)
        return found

    def _conditions(self) -> list[Any]:
        found: list[Any] = []
        if self.action:
            # "user." means whatever happened to users.
            exact = not self.action.endswith(".")
            found.append(Q(action=self.action) if exact else Q(action__startswith=self.action))
        found += [
            Q(**{name: value})
            for name, value in (
                ("subject_id", self.subject_id),
                ("actor_id", self.actor_id),
                ("at__gte", self.since),
                ("at__lt", self.until),
            )
            if value is not None
        ]
        if self.about is not None:
            one = self.about
            found.append(Q(subject_id=one) | Q(actor_id=one) | Q(person_id=one))
        if self.organizations is not None:
            theirs = Q(subject_kind="organization") & Q(Among("subject_id", self.organizations))
            found.append(Q(Among("organization_id", self.organizations)) | theirs)
        return found


def read_time(text: str) -> datetime:
    """Return the moment that an ISO 8601 text names, in UTC, which it is in unless it says
    otherwise. Raises ValueError, also when no calendar reaches so far in UTC."""
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError(f"{text} is beyond the calendar") from error


def read_page(wanted: Wanted, *, before: UUID | None, limit: int) -> list[AuditEvent]:
    """Return the newest events, or the next after the last id of the page before.

    Ids are made in the order of time, so a page costs the same wherever it lies.
    """
    rows = wanted.rows()
    if before is not None:
        rows = rows.filter(id__lt=before)
    return read_events(rows, most=limit)


def read_events(events: Any, *, most: int) -> list[AuditEvent]:
    """Return the first events of a query without those that somebody has spoiled, which
    ``verify_audit_log`` names: the rest must be seen all the same."""
    with suppress(*UNREADABLE):
        found = list(events[:most])
        if not any(one.is_spoiled for one in found):
            return found
    # By their number of one moment: an event that comes meanwhile would have one shown twice.
    with snapshot():
        return list(islice((one for one in _read_alone(events) if not one.is_spoiled), most))


def read_rest(rows: Any) -> list[Any]:
    """Return the rows of a query without those that cannot be read."""
    try:
        return list(rows)
    except UNREADABLE:
        with snapshot():
            return list(_read_alone(rows))


def read_genuine(events: Any, *, most: int) -> list[AuditEvent]:
    """Return the first events of a query without those that the service did not write."""
    try:
        return _take_genuine(events.iterator(chunk_size=most), most)
    except UNREADABLE:
        with snapshot():
            return _take_genuine(_read_alone(events), most)


def _take_genuine(events: Iterator[AuditEvent], most: int) -> list[AuditEvent]:
    fine = (one for one in events if not (one.is_spoiled or one.is_forged))
    return list(islice(fine, most))


def _read_alone(rows: Any) -> Iterator[Any]:
    # By their number: of an id, too, it may be that it cannot be read.
    end = min(rows.count(), PATIENCE)
    for start in range(0, end, AT_ONCE):
        yield from _read_between(rows, start, min(start + AT_ONCE, end))


def _read_between(rows: Any, start: int, end: int) -> Iterator[Any]:
    """Yield those that can be read. By halves, for each statement may be a slow one."""
    try:
        yield from list(rows[start:end])
    except UNREADABLE:
        if end - start > 1:
            middle = (start + end) // 2
            yield from _read_between(rows, start, middle)
            yield from _read_between(rows, middle, end)


def about(person_or_organization: UUID) -> Q:
    """Return the condition of everything that tells the story of a person or an organization."""
    one = person_or_organization
    return Q(subject_id=one) | Q(actor_id=one) | Q(person_id=one) | Q(organization_id=one)


def describe(event: AuditEvent) -> dict[str, Any]:
    """Return an event as an object with the fields of its entry."""
    return {name: getattr(event, name) for name in FIELDS}
