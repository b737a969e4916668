"""What accounts for a gap in the log: the events that tell of lawful removals.

A personal value may be missing when an event says that the actor or the subject was erased, or
their logs were, at that time or later; and from before then it must be. An event may be missing
when another one names its position as forgotten. Both kinds of event are in the log themselves, and
sealed like any other.

Needs Python alone.
"""

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
        place = bisect_right(self.firsts, position) - 1
        return place >= 0 and position <= self.lasts[place]


class Span(NamedTuple):
    """What is older than ``since`` went with a person, and nothing that is younger than ``until``.
    Both as entries write times, or empty."""

    since: str
    until: str


class Evidence:
    """All that accounts for gaps, as it stands when it is read."""

    def __init__(
        self, erased: Mapping[str, Span], forgotten: Iterable[Any], bare: Iterable[Any]
    ) -> None:
        self.erased = erased
        self.forgotten = Positions(forgotten)
        self.bare = Positions(bare)

    def accounts_for(self, seq: int, at: str, people: Iterable[str | None]) -> bool:
        """Whether an event's personal values may be missing."""
        return seq in self.bare or any(at <= it.until for it in self._spans(people))

    def forbids(self, at: str, people: Iterable[str | None]) -> bool:
        """Whether an event's personal values must be gone."""
        return any(at < it.since for it in self._spans(people))

    def _spans(self, people: Iterable[str | None]) -> list[Span]:
        return [self.erased[it] for it in people if it and it in self.erased]


def span_of(at: datetime, event_id: UUID) -> Span:
    """Return what an event accounts for that tells of an erasure. It bears the time at which the
    erasure began; when the last value went its id says, a UUID of version 7 (RFC 9562)."""
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    ended = at
    if event_id.version == 7:
        ended = max(at, datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC))
    return Span(write_time(at - SLACK), write_time(ended + SLACK))


def gather(events: Iterable[dict[str, Any]]) -> Evidence:
    """The same from events as an export spells them."""
    erased: dict[str, Span] = {}
    facts = []
    for event in events:
        if event["action"] == FORGOTTEN:
            facts.append(event["facts"])
        if is_erasure(event["action"], event["facts"]) and event["subject_id"]:
            span = span_of(datetime.fromisoformat(event["at"]), UUID(event["id"]))
            note(erased, event["subject_id"], span)
    return Evidence(
        erased,
        [one for it in facts for one in it.get("positions", ())],
        [one for it in facts for one in it.get("bare", ())],
    )


def is_erasure(action: str, facts: Mapping[str, Any]) -> bool:
    """Whether an event says that its subject's personal values are gone."""
    return action.endswith(ENDINGS) and not facts.get(LOGS_KEPT)


def note(erased: dict[str, Span], person: str, span: Span) -> None:
    """Note what an erasure accounts for; a person's logs may be erased more than once."""
    known = erased.get(person, Span("", ""))
    erased[person] = Span(max(known.since, span.since), max(known.until, span.until))
