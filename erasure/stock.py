"""What a transaction has removed, table by table, as PostgreSQL itself counts it: cascades
included, which no statement tells of."""

from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from erasure.closure import Closure


class Stock:
    """``is_kept`` says whether the database counts at all, and ``columns`` are what to select: the
    rows that this transaction has removed so far, in the order of the closure's removals."""

    def __init__(self, closure: "Closure") -> None:
        self.closure = closure
        self.is_kept = is_counted(closure)

    @property
    def columns(self) -> list[str]:
        if not self.is_kept:
            return []
        columns: list[str] = self.closure.remembered(("stock",), self._write)
        return columns

    def _write(self) -> list[str]:
        quote = connection.ops.quote_name
        tables = [quote(step.model._meta.db_table) for step in self.closure.removals]
        return [f"pg_stat_get_xact_tuples_deleted('{table}'::regclass)" for table in tables]


def is_counted(closure: "Closure") -> bool:
    """Whether the database tells what a transaction has removed: PostgreSQL does, where it counts
    at all and the tables are plain ones."""
    if connection.vendor != "postgresql":
        return False
    tables = [step.model._meta.db_table for step in closure.removals]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('track_counts') = 'on' AND NOT EXISTS (SELECT 1 FROM pg_class "
            "WHERE oid = ANY(SELECT quote_ident(t)::regclass FROM unnest(%s::text[]) AS t) "
            "AND relkind <> 'r')",
            [tables],
        )
        return bool(cursor.fetchone()[0])
