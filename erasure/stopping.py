"""Whether this process has been asked to end. Work that takes long looks here between two
transactions, so that SIGTERM ends it in order."""

import os
import select
import signal
from types import FrameType

_asked = False
_pipe: tuple[int, int] | None = None


def is_stopping() -> bool:
    return _asked


def listen() -> None:
    """Take SIGTERM and SIGINT as the wish to end. A second one ends the process at once."""
    global _pipe
    _pipe = _pipe or os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ask)


def wait(seconds: float) -> None:
    """Sleep, but not past the wish to end."""
    # A byte in a pipe rather than a lock: a signal may arrive while a lock is half taken.
    if not _asked:
        select.select([_pipe[0]] if _pipe else [], [], [], seconds)


def _ask(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    if _pipe:
        os.write(_pipe[1], b".")
    signal.signal(number, signal.SIG_DFL)
