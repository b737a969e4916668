"""What was done to which model's rows, for each subject."""

from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

Counts = dict[str, int]


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

    def add(self, step: Counted, subject: UUID, rows: int) -> None:
        if rows:
            counts = getattr(self, step.outcome).setdefault(subject, {})
            counts[step.label] = counts.get(step.label, 0) + rows
