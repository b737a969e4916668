"""What a verification of the log finds."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """What is wrong, and with which record: a position, and the event's id where there is one."""

    code: str
    text: str
    position: int | None = None
    event: str | None = None


class Found(Exception):
    """Carries the last fault out of the verification."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


Note = Callable[[Fault], None]
"""Notes what is wrong with one record. Raises Found when no more are wanted."""
