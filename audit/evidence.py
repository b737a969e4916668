"""What accounts for a gap in the log: the events that tell of lawful removals.

A personal value may be missing when an event says that the actor or the subject was erased, or
their logs were, at that time or later; and from before then it must be. An event may be missing
when another one names its position as forgotten. Both kinds of event are in the log themselves, and
sealed like any other.

Needs Python alone.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from audit.entries import write_time

FORGOTTEN = "audit.forgotten"
"""The action of the event that names the positions whose events were removed."""

ENDINGS = (".erased", ".logs_erased")
"""How the actions end of events that account for personal values that are gone."""

CLAIMED = ("action", "subject_id", "at", "id", "facts")
"""What of an event has to do with gaps."""

LOGS_KEPT = "logs_kept"
"""The fact in an event of an erasure that left the personal values of the log alone."""

SLACK = timedelta(minutes=1)
"""An event bears the time at which its request began, and is written a little later. And clocks
differ."""

MACHINES = ("organization", "system")
"""The kinds of actors that are no person themselves."""


def owners_of(
    actor_kind: str, actor: str | None, person: str | None, subject: str | None
) -> tuple[str | None, str | None]:
    """Return whose erasure takes an event's personal values: the person who acted, and the subject
    where that is another."""
    behind = person or (None if actor_kind in MACHINES else actor)
    return behind, subject if subject != behind else None


class Positions:
    """A set of positions, given as ranges of first and last."""

    def __init__(self, ranges: Iterable[Sequence[int]]) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        for first, last in sorted(map(tuple, ranges)):
            if self.lasts and first <= self.lasts[-1] + 1:
                self.lasts[-1] = max(self.lasts[-1], last)
            else:
                self.firsts.append(first)
                self.lasts.append(last)

    def __contains__(self, position: int) -> bool:
        return self.hold([(position, position)])

    def hold(self, ranges: Iterable[Sequence[int]]) -> bool:
        """Whether all of these ranges are in it."""
        for first, last in ranges:
            place = bisect_right(self.firsts, first) - 1
            if first <= last and (place < 0 or last > self.lasts[place]):
                return False
        return True


class Span(NamedTuple):
    """What is older than ``since`` went with a person, and nothing that is younger than ``until``.
    Both as entries write times, or empty."""

    since: str
    until: str


def span_of(at: datetime, event_id: UUID) -> Span:
    """Return what an event accounts for that tells of an erasure. It bears the time at which the
    erasure began; when the last value went its id says, a UUID of version 7 (RFC 9562)."""
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    ended = at
    if event_id.version == 7:
        ended = max(at, datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC))
    return Span(write_time(at - SLACK), write_time(ended + SLACK))


class Claims:
    """What events say that accounts for gaps. Whether to believe them is somebody else's affair."""

    def __init__(self) -> None:
        self.erased: dict[str, Span] = {}
        self.forgotten: list[list[int]] = []
        self.bare: list[list[int]] = []

    def add(self, action: str, subject_id: str | None, at: str, pk: str, facts: str) -> None:
        """Take note of an event, if it is one that accounts for something, in the order of CLAIMED.
        What cannot be read accounts for nothing."""
        try:
            told = json.loads(facts)
            if not isinstance(told, dict):
                return
            if action == FORGOTTEN:
                self.forgotten += _ranges(told.get("positions"))
                self.bare += _ranges(told.get("bare"))
            elif subject_id and action.endswith(ENDINGS) and not told.get(LOGS_KEPT):
                span = span_of(datetime.fromisoformat(at), UUID(pk))
                self.note(str(UUID(subject_id)), span)
        except (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError):
            return

    def note(self, person: str, span: Span) -> None:
        """Take note of an erasure; a person's logs may be erased more than once."""
        known = self.erased.get(person, Span("", ""))
        self.erased[person] = Span(max(known.since, span.since), max(known.until, span.until))

    def say_more_than(self, others: "Claims") -> bool:
        """Whether anything is accounted for here that is not there."""
        for person, span in self.erased.items():
            known = others.erased.get(person, Span("", ""))
            if span.since > known.since or span.until > known.until:
                return True
        return not (
            Positions(others.forgotten).hold(self.forgotten)
            and Positions(others.bare).hold(self.bare)
        )


class Evidence:
    """All that accounts for gaps, as it stands when it is read."""

    def __init__(
        self,
        erased: Mapping[str, Span],
        forgotten: Iterable[Sequence[int]] = (),
        bare: Iterable[Sequence[int]] = (),
    ) -> None:
        self.erased = erased
        self.forgotten = Positions(forgotten)
        self.bare = Positions(bare)

    @classmethod
    def of(cls, *claims: Claims) -> "Evidence":
        """Return what several say together."""
        whole = Claims()
        for one in claims:
            for person, span in one.erased.items():
                whole.note(person, span)
            whole.forgotten += one.forgotten
            whole.bare += one.bare
        return cls(whole.erased, whole.forgotten, whole.bare)

    def accounts_for(self, seq: int, at: str, people: Iterable[str | None]) -> bool:
        """Whether an event's personal values may be missing."""
        return seq in self.bare or any(at <= it.until for it in self._spans(people))

    def forbids(self, at: str, people: Iterable[str | None]) -> bool:
        """Whether an event's personal values must be gone."""
        return any(at < it.since for it in self._spans(people))

    def _spans(self, people: Iterable[str | None]) -> list[Span]:
        return [self.erased[it] for it in people if it and it in self.erased]


def gather(events: Iterable[dict[str, Any]]) -> Evidence:
    """Return what accounts for gaps from events as an export spells them."""
    claims = Claims()
    for event in events:
        if event["action"].endswith((*ENDINGS, FORGOTTEN)):
            action, subject, at, pk, facts = (event[name] for name in CLAIMED)
            claims.add(action, subject, at, pk, json.dumps(facts))
    return Evidence.of(claims)


def _ranges(given: Any) -> list[list[int]]:
    """Return what of a list is a range of positions: two whole numbers."""
    many = given if isinstance(given, list) else []
    return [it for it in many if isinstance(it, list) and [type(n) for n in it] == [int, int]]
