"""What a sweep does on behalf of other rooms: chores remove what nobody needs any more, errands see
to what is due, such as an order that has waited long enough to be tried again.

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


@dataclass(frozen=True)
class Errand:
    """What to see to: ``due`` counts what there is to do and changes nothing, ``see_to`` wakes
    whoever does it, or does it if that is quick, and returns for how many things. Both must be safe
    to repeat."""

    name: str
    due: Callable[[datetime], int]
    see_to: Callable[[datetime], int]


_errands: dict[str, Errand] = {}


def register_errand(errand: Errand) -> None:
    _errands[errand.name] = errand


def all_errands() -> list[Errand]:
    return [_errands[name] for name in sorted(_errands)]
