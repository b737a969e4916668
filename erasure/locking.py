"""Locks of unattended work: on rows that nobody else holds, for no longer than others can wait."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from erasure.closure import closure_of
from erasure.pacing import MOST
from erasure.running import fill
from erasure.subjects import SubjectKind

SUSPENDED = "is_deleted"
"""The field that ``SubjectKind.is_suspended`` looks at, for kinds that do not say otherwise."""


def bound_statements() -> None:
    """Let PostgreSQL cancel a statement of this transaction that takes longer than others should
    wait. What it cancels is tried again in smaller pieces."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {int(MOST * 1000)}")


PLANS = (
    # A planner that thinks of the million rows that were there reads whole tables for the rest.
    "set_config('enable_seqscan', 'off', true)",
    "set_config('enable_bitmapscan', 'off', true)",
    "set_config('enable_hashjoin', 'off', true)",
    "set_config('enable_mergejoin', 'off', true)",
    "set_config('jit', 'off', true)",
)


def bound_plans(seconds: float | None = None, *more: str) -> list[Any]:
    """Let PostgreSQL go by indexes in this transaction, and cancel a statement that takes longer
    than so many seconds. Returns what the database says, ``more`` to be asked included."""
    if connection.vendor != "postgresql":
        return []
    bound = (f"set_config('statement_timeout', '{int(seconds * 1000)}', true)",) if seconds else ()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join((*bound, *PLANS, *more))}")
        return list(cursor.fetchone())


class Locked(NamedTuple):
    """A subject's locked row: when it was born, and whether it is soft deleted."""

    born: datetime | None
    is_suspended: bool


def lock_free(
    kind: SubjectKind, ids: Sequence[UUID], *, is_bounded: bool = False
) -> dict[UUID, Locked]:
    """Lock the subjects' rows that nobody else holds, by key, and return what is known of each.

    With ``is_bounded`` the statements that follow are bounded, too, as ``bound_statements`` does.
    """
    subjects = closure_of(kind.name).subjects(ids)
    dialect = subjects.dialect
    options: Any = kind.model._meta
    key = dialect.column(kind.model, options.pk.column)
    birth, flag = _column(kind, dialect, kind.born_field), _column(kind, dialect, SUSPENDED)
    among = dialect.among(key)
    table = dialect.quote(options.db_table)
    text = f"SELECT {key}, {birth}, {flag} FROM {table}"  # noqa: S608
    if is_bounded and connection.vendor == "postgresql":
        # One statement less than by a SET of its own. It holds from the next statement on.
        bound = f"SELECT set_config('statement_timeout', '{int(MOST * 1000)}', true)"
        text = f"WITH bound AS MATERIALIZED ({bound}) {text}, bound"
    text += f" WHERE {among.text} ORDER BY {key}"
    if connection.features.has_select_for_update_skip_locked:
        text += f" FOR UPDATE OF {table} SKIP LOCKED"
    with connection.cursor() as cursor:
        cursor.execute(text, fill(among.params, subjects))
        rows = cursor.fetchall()
    names = subjects.by_key
    reads = _converters(kind) if rows and isinstance(rows[0][1], str) else ()
    return {names[pk]: Locked(_convert(reads, born), bool(gone)) for pk, born, gone in rows}


def _column(kind: SubjectKind, dialect: Any, name: str) -> str:
    fields = {field.name: field for field in kind.model._meta.concrete_fields}
    if name == SUSPENDED and not can_suspend(kind):
        return "false"
    return str(dialect.column(kind.model, fields[name].column)) if name in fields else "NULL"


def can_suspend(kind: SubjectKind) -> bool:
    """Whether a row of this kind shows by a field of its own that it is soft deleted."""
    is_own = type(kind).is_suspended is SubjectKind.is_suspended
    return is_own and any(field.name == SUSPENDED for field in kind.model._meta.concrete_fields)


def _converters(kind: SubjectKind) -> Sequence[Any]:
    """SQLite keeps times as texts, which the field's own converters read."""
    field: Any = kind.model._meta.get_field(kind.born_field)
    column = field.get_col(kind.model._meta.db_table, field)
    found: Sequence[Any] = connection.ops.get_db_converters(column)
    return found


def _convert(converters: Sequence[Any], value: Any) -> Any:
    for convert in converters:
        value = convert(value, None, connection)
    return value
