"""Who hears of events as they are written, in the transaction that writes them.

What a listener writes is committed together with the event or not at all, so nothing that happened
goes untold and nothing is told that did not happen. A listener names the actions that it wants; any
other action costs it nothing.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID


class Witness(NamedTuple):
    """One event as a listener sees it. ``facts`` are a mapping, or the text of a JSON object where
    events are written by set; they hold no personal data."""

    event_id: UUID
    subject_id: UUID
    organization_id: UUID | None
    facts: Mapping[str, Any] | str


@dataclass(frozen=True, slots=True)
class Told:
    """Events of one action that were written by one statement."""

    action: str
    subject_kind: str
    happenings: Sequence[Witness]
    now: datetime


Listener = Callable[[Told], None]

_listeners: dict[str, list[Listener]] = {}


def listen(listener: Listener, *, to: Collection[str]) -> None:
    """Have a listener called for events of some actions, in the transaction that writes them.

    Whatever it raises undoes that transaction. Listening twice is listening once.
    """
    for action in to:
        heard = _listeners.setdefault(action, [])
        if listener not in heard:
            heard.append(listener)


def forget(listener: Listener) -> None:
    """Have a listener called no more."""
    for heard in _listeners.values():
        if listener in heard:
            heard.remove(listener)


def listeners_to(action: str) -> Sequence[Listener]:
    return _listeners.get(action, ())
