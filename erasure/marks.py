"""How far this database has taken in the ledger, and whether it is still the database it was.

On PostgreSQL a mark is sealed with the number of the transaction that wrote it. A dump that is
loaded carries the text of the seal, but its row is written by another transaction: so a database
that somebody has loaded is recognised by one cheap look at one row, whatever else is in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction

from erasure.ledger import Ledger
from erasure.models import LedgerMark

TABLE = LedgerMark._meta.db_table
POSTGRES = f"SELECT tableoid::bigint, xmin::text, seal, position FROM {TABLE} WHERE ledger = %s"  # noqa: S608
SERVER = (
    "SELECT pg_postmaster_start_time()::text, oid::bigint FROM pg_database "
    "WHERE datname = current_database()"
)


class Mark(NamedTuple):
    """A mark as it is read. ``version`` differs after whatever has replaced the database; it is
    empty on SQLite, where nothing tells."""

    position: int
    is_sealed: bool
    version: tuple[Any, ...]


def read_mark(ledger: str) -> Mark | None:
    """Return the mark of a ledger, or None when this database has none. One query.

    On PostgreSQL it is also a health check of a kept connection, which Django need not make then.
    Raises DatabaseError.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            sql = f"SELECT position FROM {TABLE} WHERE ledger = %s"  # noqa: S608
            cursor.execute(sql, [ledger])
            row = cursor.fetchone()
        if row and not isinstance(row[0], int):
            # Nobody knows how far it was: as with one that was loaded, a replay begins anew.
            return Mark(0, False, ())
        return Mark(row[0], True, ()) if row else None
    line, row = _ask(connection, ledger)
    if row is None:
        return None
    table, xmin, seal, position = row
    return Mark(position, seal == xmin, (ledger, *line.server, table, xmin, position))


def write_mark(ledger: str, position: int, now: datetime) -> None:
    """Say, in the caller's transaction, that the database holds all that a ledger tells up to a
    position."""
    # Without a savepoint, which on PostgreSQL would have a number of its own.
    LedgerMark.objects.bulk_create(
        [LedgerMark(ledger=ledger, position=position, at=now)],
        update_conflicts=True,
        unique_fields=["ledger"],
        update_fields=["position", "at", "seal"],
    )
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # The row that was just written bears our number, and so will the one that this writes.
            sql = f"UPDATE {TABLE} SET seal = xmin::text WHERE ledger = %s"  # noqa: S608
            cursor.execute(sql, [ledger])


def begin_mark(ledger: Ledger, now: datetime) -> None:
    """Give a database that knows no ledger a mark at the very beginning of this one."""
    with transaction.atomic():
        if not LedgerMark.objects.exists():
            write_mark(ledger.create(), 0, now)


@contextmanager
def locked_mark(ledger: str) -> Iterator[None]:
    """Hold the mark in a transaction: whoever would replace its table has to wait."""
    with transaction.atomic():
        # Nothing of it is read but its key: the rest may be none that can be.
        list(LedgerMark.objects.select_for_update().filter(pk=ledger).values_list("pk"))
        yield


def foreign_ledgers(ledger: str) -> list[str]:
    """Return the other ledgers that this database has taken something in from."""
    marks = LedgerMark.objects.exclude(pk=ledger).order_by("ledger")
    return list(marks.values_list("ledger", flat=True))


class Line(NamedTuple):
    """What is kept beside a connection: a cursor of the driver, which costs less than one made for
    each look, and which server and database it leads to."""

    raw: Any
    cursor: Any
    server: tuple[Any, ...]


def _ask(connection: Any, ledger: str) -> tuple[Line, Any]:
    from psycopg import InterfaceError, OperationalError

    connection.ensure_connection()
    with connection.wrap_database_errors:
        try:
            found = _ask_once(connection, ledger)
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or connection.health_check_done:
                raise
            # As Django does: a server that was restarted meanwhile costs nobody an error.
            connection.close()
            connection.connect()
            found = _ask_once(connection, ledger)
    connection.health_check_done = True
    return found


def _ask_once(connection: Any, ledger: str) -> tuple[Line, Any]:
    raw = connection.connection
    line: Line | None = vars(connection).get("ledger_line")
    if line is None or line.raw is not raw:
        cursor = raw.cursor()
        line = Line(raw, cursor, cursor.execute(SERVER).fetchone())
        vars(connection)["ledger_line"] = line
    return line, line.cursor.execute(POSTGRES, (ledger,)).fetchone()


def is_missing_table(error: DatabaseError) -> bool:
    """Whether an error says that the database was never migrated, or is being loaded just now."""
    text = str(error)
    return TABLE in text and ("does not exist" in text or "no such table" in text)
