"""The one way in which something may leave the log, and how a connection opens it.

Triggers refuse whatever changes or removes a row of the log (``triggers``). They let a removal pass
while the connection says what it is: ``redact``, of personal values, or ``forget``, of events whose
time is over. On PostgreSQL that is a setting of the transaction; on SQLite it is a function that
only this process's connections have, so that any other program is refused.

It guards against mistakes, and against statements that somebody smuggles in. Whoever gets past it
is still found out by the tree.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.signals import connection_created

SETTING = "sexton.audit_door"
FUNCTION = "audit_door"

OPENS_DOOR = f"(SELECT set_config('{SETTING}', 'redact', true)) IS NOT NULL"
"""On PostgreSQL: a condition by which a DELETE opens the door for itself. It is worked out once,
before the first row goes."""

Purpose = Literal["redact", "forget"]


@contextmanager
def open_door(purpose: Purpose) -> Iterator[None]:
    """Let the removals in this block pass, in the caller's transaction.

    On PostgreSQL the door closes with the transaction, to save a query; on SQLite with the block.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config(%s, %s, true)", [SETTING, purpose])
        yield
        return
    state = vars(connection)
    before = state.get(FUNCTION, "")
    state[FUNCTION] = purpose
    try:
        yield
    finally:
        state[FUNCTION] = before


def give_function(sender: Any, connection: Any, **kwargs: Any) -> None:
    """Give a new connection to SQLite the function that the triggers ask."""
    if connection.vendor == "sqlite":
        state = vars(connection)
        connection.connection.create_function(FUNCTION, 0, lambda: state.get(FUNCTION, ""))


def install() -> None:
    connection_created.connect(give_function, dispatch_uid=FUNCTION)
