"""Small things that a sweep removes on behalf of other rooms: expired sessions, old answers.

An app registers its own in a module ``chores.py``, which is found when Django starts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Chore:
    """What to remove, under the name that reports use; ``count`` must count the same rows."""

    name: str
    text: str
    count: Callable[[datetime], int]
    remove: Callable[[datetime], int]


_chores: dict[str, Chore] = {}


def register_chore(chore: Chore) -> None:
    _chores[chore.name] = chore


def all_chores() -> list[Chore]:
    return [_chores[name] for name in sorted(_chores)]
