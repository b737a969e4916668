"""What accounts for a gap in the log: the events that tell of lawful removals.

A personal value may be missing when an event says that the actor or the subject was erased, or
their logs were, at that time or later; and from before then it must be. An event may be missing
when another one names its position as forgotten. Both kinds of event are in the log themselves, and
sealed like any other.

Needs Python alone.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
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


def key_of(kind: str, pk: str) -> str:
    """Return by what claims name the subject of an erasure. An organization is told from people:
    its end must not account for the values of a person whose id somebody has put in its place. Of
    people the id is enough, since no event says of which kind the person behind an actor is."""
    return f"{kind}:{pk}" if kind in MACHINES else pk


def id_of(key: str) -> str:
    """Return the id in a key."""
    return key.rpartition(":")[2]


def keys_of(owners: tuple[str | None, str | None], subject_kind: str) -> list[str]:
    """Return by what claims name the owners of an event's personal values."""
    behind, subject = owners
    keys = [behind] if behind else []
    return [*keys, key_of(subject_kind, subject)] if subject else keys


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


class Claim(NamedTuple):
    """What one event accounts for: whose values went and when, or positions whose events are gone,
    or whose values are."""

    key: str = ""
    span: Span = Span("", "")
    forgotten: Sequence[Sequence[int]] = ()
    bare: Sequence[Sequence[int]] = ()


def read_claim(action: str, subject_id: str | None, at: str, pk: str, facts: str) -> Claim | None:
    """Return what an event accounts for, given its values in the order of CLAIMED. What cannot be
    read accounts for nothing."""
    try:
        told = json.loads(facts)
        if not isinstance(told, dict):
            return None
        if action == FORGOTTEN:
            gone, bare = _ranges(told.get("positions")), _ranges(told.get("bare"))
            return Claim(forgotten=gone, bare=bare)
        if subject_id and action.endswith(ENDINGS) and not told.get(LOGS_KEPT):
            key = key_of(action.rpartition(".")[0], str(UUID(subject_id)))
            return Claim(key, span_of(datetime.fromisoformat(at), UUID(pk)))
    except (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError):
        pass
    return None


class Claims:
    """What events say that accounts for gaps. Whether to believe them is somebody else's affair."""

    def __init__(self) -> None:
        self.erased: dict[str, Span] = {}
        """When whose values went: by what ``key_of`` returns."""
        self.forgotten: list[Sequence[int]] = []
        self.bare: list[Sequence[int]] = []

    def add(self, *values: Any) -> Claim | None:
        """Take note of an event, given as ``read_claim`` takes it, if it is one that accounts for
        something; return what it says."""
        if claim := read_claim(*values):
            self.forgotten += claim.forgotten
            self.bare += claim.bare
            if claim.key:
                self.note(claim.key, claim.span)
        return claim

    def take(self, others: "Claims") -> None:
        """Take note of what others say."""
        self.forgotten += others.forgotten
        self.bare += others.bare
        for key, span in others.erased.items():
            self.note(key, span)

    def note(self, key: str, span: Span) -> None:
        """Take note of an erasure; a person's logs may be erased more than once."""
        known = self.erased.get(key, span)
        self.erased[key] = Span(max(known.since, span.since), max(known.until, span.until))


class Said:
    """A digest of what events say, in the order of their positions: whether two readers of them
    have been told the same."""

    def __init__(self) -> None:
        self._digest = sha256()

    def add(self, position: Any, claim: Claim | None) -> None:
        if claim:
            self._digest.update(repr((position, claim)).encode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Said) and self._digest.digest() == other._digest.digest()


class Evidence:
    """All that accounts for gaps, as it stood when it was read."""

    def __init__(self, claims: Claims) -> None:
        self.erased = claims.erased
        self.forgotten = Positions(claims.forgotten)
        self.bare = Positions(claims.bare)

    def accounts_for(self, seq: int, at: str, keys: Iterable[str]) -> bool:
        """Whether an event's personal values may be missing; ``keys_of`` names their owners."""
        return seq in self.bare or any(at <= it.until for it in self._spans(keys))

    def forbids(self, at: str, keys: Iterable[str]) -> bool:
        """Whether an event's personal values must be gone."""
        return any(at < it.since for it in self._spans(keys))

    def _spans(self, keys: Iterable[str]) -> list[Span]:
        return [self.erased[it] for it in keys if it in self.erased]


def gather(events: Iterable[dict[str, Any]]) -> Evidence:
    """Return what accounts for gaps from events as an export spells them."""
    claims = Claims()
    for event in events:
        if event["action"].endswith((*ENDINGS, FORGOTTEN)):
            action, subject, at, pk, facts = (event[name] for name in CLAIMED)
            claims.add(action, subject, at, pk, json.dumps(facts))
    return Evidence(claims)


def _ranges(given: Any) -> list[list[int]]:
    """Return what of a list is a range of positions: two whole numbers."""
    many = given if isinstance(given, list) else []
    return [it for it in many if isinstance(it, list) and [type(n) for n in it] == [int, int]]
