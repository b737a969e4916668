"""The gate: whether this database may be read, or is older than its ledger.

Asked by every request and by every command that erases. As long as nothing has changed it costs one
look at one row on PostgreSQL.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections
from django.utils import timezone

from erasure import marks
from erasure.exceptions import LedgerUnavailable
from erasure.ledger import Ledger, open_ledger
from erasure.outstanding import Tale, compare, read_tale

logger = logging.getLogger("sexton.erasure")

COMMAND = "manage.py replay_erasures --execute"
ADOPT = "manage.py replay_erasures --adopt --execute"


class DatabaseBehind(Exception):
    """The database shows people whom the ledger says are erased, or nobody can tell."""


@dataclass
class Watch:
    """What this process knows, shared by its threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    open_at: tuple[Any, ...] = ()
    """The version of the mark at which the database was found to be current."""
    shut_at: tuple[Any, ...] = ()
    reason: str = ""
    until: float = 0.0
    is_open: bool = False
    tale: Tale | None = None
    told_from: tuple[str, int] = ("", 0)


_watch = Watch()


def glance() -> str:
    """Return what ``look`` found, if this connection was looked at a moment ago, and look if not.

    For the beginning of a request, whose end looks in any case if there is anything to be seen.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    raw, at = vars(connection).get("ledger_looked", (None, 0.0))
    is_same = raw is connection.connection or connection.vendor == "sqlite"
    if raw is not None and _watch.is_open and is_same and time.monotonic() - at < _check_seconds():
        return ""
    return look()


def look(*, is_thorough: bool = False) -> str:
    """Return why the database must not be read now; empty when it may be.

    ``is_thorough`` compares with the ledger even if nothing seems to have changed.
    """
    ledger = open_ledger()
    if not ledger:
        return ""
    reason = _find_reason(ledger, is_thorough)
    _watch.is_open = not reason
    if not reason:
        connection: Any = connections[DEFAULT_DB_ALIAS]
        vars(connection)["ledger_looked"] = (connection.connection, time.monotonic())
    return reason


def require_current() -> None:
    """Raise DatabaseBehind unless the database may be read. For whatever erases unattended."""
    if reason := look():
        raise DatabaseBehind(reason)


def advance(*, now: datetime) -> bool:
    """Move the mark past everything that the database shows, so that later looks are short.

    Returns whether it moved. For the sweep and the end of a purge.
    """
    ledger = open_ledger()
    if not ledger or look():
        return False
    identity = ledger.identity
    with marks.locked_mark(identity):
        mark = marks.read_mark(identity)
        if mark is None or not mark.is_sealed:
            return False
        tale = read_tale(ledger, mark.position)
        if tale.settled == mark.position or compare(tale):
            return False
        marks.write_mark(identity, tale.settled, now)
    return True


@dataclass(frozen=True)
class Stand:
    """Where the ledger ended at some moment, everything before it settled."""

    mark: marks.Mark
    end: int
    written: int
    unsettled: int


def stand() -> Stand | None:
    """Return where the ledger ends, if nothing that it tells is unsettled; None where that cannot
    be told, or where a ledger does not say what this process writes to it."""
    ledger = open_ledger()
    if not ledger or not hasattr(ledger, "written"):
        return None
    own: Any = ledger
    identity, end = ledger.identity, ledger.end()
    written, unsettled = own.written, own.unsettled
    mark = marks.read_mark(identity)
    if mark is None or not mark.is_sealed:
        return None
    with _watch.lock:
        begun = _told(ledger, identity, mark.position).begun
    return None if begun else Stand(mark, end, written, unsettled)


def advance_past_own(since: Stand | None, *, now: datetime) -> bool:
    """Move the mark past what this process has written, and settled, without reading it again: a
    purge of a hundred thousand would spend more on that than on erasing them.

    Returns whether it moved. It does not when somebody else has written meanwhile; the sweep will.
    """
    ledger = open_ledger()
    if since is None or not ledger:
        return False
    identity, end = ledger.identity, ledger.end()
    own: Any = ledger
    if end == since.end or end - since.end != own.written - since.written:
        return False
    if own.unsettled != since.unsettled:
        return False
    with marks.locked_mark(identity):
        mark = marks.read_mark(identity)
        # The same mark in the same row: nobody has put another database in this one's place.
        if mark != since.mark:
            return False
        marks.write_mark(identity, end, now)
    return True


def mark_new_database(using: str, **kwargs: Any) -> None:
    """Bind a new database to its ledger, after ``migrate``.

    The first request would do it too. But a script or a command may be first to write to the
    ledger, and then nobody could tell that the database is not an old one.
    """
    if using == DEFAULT_DB_ALIAS:
        look()


def forget() -> None:
    """Know nothing any more: the next look compares anew."""
    global _watch
    _watch = Watch()


def _find_reason(ledger: Ledger, is_thorough: bool) -> str:
    try:
        return _look(ledger, is_thorough)
    except LedgerUnavailable as error:
        return f"The ledger cannot be read: {error.reason}."
    except DatabaseError as error:
        if marks.is_missing_table(error):
            return "The database is not migrated, or is being loaded: run manage.py migrate."
        logger.exception("the gate could not ask the database")
        return "The database cannot be asked."


def _look(ledger: Ledger, is_thorough: bool) -> str:
    identity = ledger.identity
    mark = marks.read_mark(identity) if identity else None
    if mark is None:
        return _begin(ledger, identity)
    if not mark.is_sealed:
        return f"The database was loaded from a dump. Run {COMMAND}."
    if mark.version and mark.version == _watch.open_at and not is_thorough:
        return ""
    with _watch.lock:
        return _compare(ledger, identity, mark)


def _begin(ledger: Ledger, identity: str) -> str:
    """A database without a mark is new, or is not the one that the ledger belongs to."""
    others = marks.foreign_ledgers(identity)
    if others:
        return (
            f"The database belongs to the ledger {others[0]}, which is not the one that "
            f"ERASURE_LEDGER names. Put it there, or give it up with {ADOPT}."
        )
    if identity and any(True for _ in ledger.read()):
        return f"The database has no mark in the ledger. Run {COMMAND}."
    marks.begin_mark(ledger, timezone.now())
    return ""


def _compare(ledger: Ledger, identity: str, mark: marks.Mark) -> str:
    now = time.monotonic()
    is_known = bool(mark.version) and mark.version == _watch.shut_at
    if is_known and now < _watch.until:
        return _watch.reason
    # Read before the rows: whatever it tells was committed by then.
    tale = _told(ledger, identity, mark.position)
    outstanding = compare(tale)
    if not outstanding:
        _watch.open_at, _watch.shut_at = mark.version, ()
        return ""
    _watch.open_at, _watch.shut_at = (), mark.version
    _watch.until = now + _check_seconds()
    _watch.reason = f"The database is older than its ledger: {outstanding}. Run {COMMAND}."
    return _watch.reason


def _told(ledger: Ledger, identity: str, position: int) -> Tale:
    """Return what the ledger tells behind the mark. What was read once is not read again."""
    if _watch.tale is None or _watch.told_from != (identity, position):
        _watch.tale = read_tale(ledger, position)
        _watch.told_from = (identity, position)
    elif ledger.has_grown(_watch.tale.position):
        read_tale(ledger, position, _watch.tale)
    return _watch.tale


def _check_seconds() -> float:
    return float(getattr(settings, "ERASURE_LEDGER_CHECK_SECONDS", 1))
