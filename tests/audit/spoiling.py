"""What somebody with the database's password writes over a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

EVERYWHERE: dict[str, tuple[str, str]] = {
    "a number that is too long": ("facts", f"""'{{"n": 1{"0" * 5_000}}}'"""),
    "a time without end": ("at", "'infinity'"),
}
UNTYPED: dict[str, tuple[str, str]] = {
    "a document that is too deep": ("facts", f"'{'[' * 50_000}{']' * 50_000}'"),
    "bytes": ("action", "X'ff'"),
    "bytes as text": ("action", "CAST(X'ff' AS TEXT)"),
    "a time that is none": ("at", "'never'"),
    "a time that is bytes": ("at", "CAST(X'ff' AS TEXT)"),
    "an id that is none": ("id", "'x'"),
    "an id that is bytes": ("id", "CAST(X'ff' AS TEXT)"),
    "an id with lines of its own": ("id", """'x"}}' || char(10) || '{"skip": []}'"""),
    "an actor that is a number": ("actor_id", "7"),
    "facts that are none": ("facts", "'x'"),
    "facts that are a number that is none": ("facts", """'{"n": NaN}'"""),
    "facts that are bytes": ("facts", "X'ff'"),
}
"""Where columns have no types, and documents no bounds."""

SPOILED = EVERYWHERE | UNTYPED


def spoil(name: str, position: int) -> None:
    """Spoil the event at a position; skips the test where the database refuses it."""
    if connection.vendor != "sqlite" and name in UNTYPED:
        pytest.skip("columns have types there")
    column, value = SPOILED[name]
    write(f"UPDATE audit_auditevent SET {column} = {value} WHERE sealed_seq = {position}")


def write(sql: str, params: Any = None) -> None:
    """Execute a statement with the database's own checks put aside."""
    with unchecked(), connection.cursor() as cursor:
        cursor.execute(sql, params)


@contextmanager
def unchecked() -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        yield
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
