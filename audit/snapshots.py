"""Reading what belongs together as it stood at one moment, while others go on writing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

IDLE = 300
"""So many seconds may pass between two queries of a snapshot; then PostgreSQL ends it."""


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all that is read within be of one moment. Nothing can be written within, and no writer
    waits for it.

    In a transaction that is open already it does nothing: what is read there is the caller's
    matter. What streams, such as ``iterator()``, must be read to its end or closed within: on
    SQLite a statement that is half read would hold on to the moment.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.in_atomic_block or not connection.get_autocommit():
        yield
    elif connection.vendor == "sqlite":
        with _sqlite(connection):
            yield
    else:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            # A reader that has stopped reading must not keep VACUUM from its work for ever.
            cursor.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE}s'")
            # The moment is that of the first read, here as on SQLite.
            cursor.execute("SELECT 1")
            yield


@contextmanager
def _sqlite(connection: Any) -> Iterator[None]:
    with ExitStack() as stack:
        # The mode of every other transaction, IMMEDIATE, takes the lock of the one writer.
        mode, connection.transaction_mode = connection.transaction_mode, "DEFERRED"
        try:
            stack.enter_context(transaction.atomic())
        finally:
            connection.transaction_mode = mode
        cursor = stack.enter_context(connection.cursor())
        cursor.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        cursor.execute("PRAGMA query_only = ON")
        stack.callback(cursor.execute, "PRAGMA query_only = OFF")
        yield
