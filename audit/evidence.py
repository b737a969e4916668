"""What accounts for a gap in the log: the events that tell of lawful removals.

A personal value may be missing when an event says that the actor or the subject was erased, or
their logs were, at that time or later. An event may be missing when another one names its position
as forgotten. Both kinds of event are in the log themselves, and sealed like any other.

Needs Python alone.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from audit.entries import write_time

FORGOTTEN = "audit.forgotten"
"""The action of the event that names the positions whose events were removed."""

ENDINGS = (".erased", ".logs_erased")
"""How the actions end of events that account for personal values that are gone."""

SLACK = timedelta(days=1)
"""An erasure takes its time when it begins; what is recorded meanwhile is a little younger."""


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


class Evidence:
    """All that accounts for gaps, as it stands when it is read."""

    def __init__(
        self, erased: dict[str, str], forgotten: Iterable[Any], bare: Iterable[Any]
    ) -> None:
        self.erased = erased
        self.forgotten = Positions(forgotten)
        self.bare = Positions(bare)

    def accounts_for(self, seq: int, at: str, people: Iterable[str | None]) -> bool:
        """Whether an event's personal values may be missing."""
        return seq in self.bare or any(
            at <= self.erased.get(person, "") for person in people if person
        )


def gather(events: Iterable[dict[str, Any]]) -> Evidence:
    """The same from events as an export spells them."""
    erased: dict[str, str] = {}
    facts = []
    for event in events:
        if event["action"] == FORGOTTEN:
            facts.append(event["facts"])
        if event["action"].endswith(ENDINGS) and event["subject_id"]:
            at = datetime.fromisoformat(event["at"])
            note(erased, event["subject_id"], at)
    return Evidence(
        erased,
        [one for it in facts for one in it.get("positions", ())],
        [one for it in facts for one in it.get("bare", ())],
    )


def note(erased: dict[str, str], person: str, at: datetime) -> None:
    """Note up to when a person's values may be missing. A time without a zone is one in UTC."""
    at = at.astimezone(UTC) if at.tzinfo else at
    until = write_time(at + SLACK)
    if erased.get(person, "") < until:
        erased[person] = until
