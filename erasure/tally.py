"""What was done to which model's rows, for each subject."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

Counts = dict[str, int]

Read = tuple[tuple[str, Counts], ...]
"""Counts by outcome, the names of a tally's parts."""


class Counted(Protocol):
    """What a tally asks of a step."""

    @property
    def outcome(self) -> str: ...

    @property
    def label(self) -> str: ...


@dataclass
class Tally:
    """Rows by subject and model label. A subject without rows is left out."""

    removed: dict[UUID, Counts] = field(default_factory=dict)
    detached: dict[UUID, Counts] = field(default_factory=dict)
    anonymised: dict[UUID, Counts] = field(default_factory=dict)
    kept: dict[UUID, Counts] = field(default_factory=dict)

    def add_many(self, step: Counted, counts: Mapping[UUID, int]) -> None:
        """Add a step's rows of many subjects."""
        part: dict[UUID, Counts] = getattr(self, step.outcome)
        label = step.label
        for subject, rows in counts.items():
            if (known := part.get(subject)) is None:
                part[subject] = {label: rows}
            else:
                known[label] = known.get(label, 0) + rows

    def add_read(self, subject: UUID, read: Read) -> None:
        """Add what a database said of one subject, in the order in which it is shown."""
        for outcome, counts in read:
            part: dict[UUID, Counts] = getattr(self, outcome)
            if (known := part.get(subject)) is None:
                part[subject] = dict(counts)
            else:
                for label, rows in counts.items():
                    known[label] = known.get(label, 0) + rows

    def add_all(self, other: "Tally") -> None:
        """Add what was done later."""
        for outcome in ("removed", "detached", "anonymised", "kept"):
            part: dict[UUID, Counts] = getattr(other, outcome)
            for subject, counts in part.items():
                self.add_read(subject, ((outcome, counts),))

    def add(self, step: Counted, subject: UUID, rows: int) -> None:
        if rows:
            counts = getattr(self, step.outcome).setdefault(subject, {})
            counts[step.label] = counts.get(step.label, 0) + rows
