"""Sending composed SQL, with the subjects in place of the slots."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection

from erasure.dialects import Slot, Sql, Subjects


def with_(ctes: Sequence[Sql], body: Sql) -> Sql:
    """Return a statement that names some queries first."""
    if not ctes:
        return body
    named = join(", ", ctes)
    return Sql(f"WITH RECURSIVE {named.text} {body.text}", (*named.params, *body.params))


def join(between: str, parts: Sequence[Sql]) -> Sql:
    return Sql(
        between.join(part.text for part in parts),
        tuple(one for part in parts for one in part.params),
    )


def fill(params: Iterable[Any], subjects: Subjects) -> list[Any]:
    """Return parameters with the subjects' keys in place of the slots."""
    dialect = subjects.dialect
    return [dialect.fill(one, subjects) if isinstance(one, Slot) else one for one in params]


def run(statement: Sql, subjects: Subjects) -> list[Any]:
    """Send a statement; return its rows, none for one that returns nothing."""
    with connection.cursor() as cursor:
        cursor.execute(statement.text, fill(statement.params, subjects))
        return cursor.fetchall() if cursor.description else []
