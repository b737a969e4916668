"""The tables of an SQLite database, and their rows in blocks of bytes."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any
from uuid import UUID

from erasure.tables import BLOCK, TEXT, UUID_TEXT, Block, Column, Place, Rows, Table, Wanted, quote

ROWIDS = ("rowid", "_rowid_", "oid")


def read_tables(connection: Any) -> list[Table]:
    with connection.cursor() as cursor:
        # Shadow tables are what virtual ones, such as those of full-text search, consist of.
        cursor.execute(
            "SELECT name, wr FROM pragma_table_list "
            "WHERE type IN ('table', 'shadow') AND schema = 'main' ORDER BY name"
        )
        tables = cursor.fetchall()
        return [_read_table(cursor, name, bool(wr)) for name, wr in tables]


def _read_table(cursor: Any, name: str, without_rowid: bool) -> Table:
    cursor.execute("SELECT name, pk, type FROM pragma_table_xinfo(%s) ORDER BY cid", [name])
    rows = cursor.fetchall()
    # A column's declared type binds nobody: any value may lie in any column.
    columns = tuple(
        Column(name, UUID_TEXT if declared.lower() == "char(32)" else TEXT)
        for name, _, declared in rows
    )
    key = tuple(column for column, pk, _ in sorted(rows, key=lambda row: row[1]) if pk)
    taken = {column.name.lower() for column in columns}
    rowid = next((one for one in ROWIDS if one not in taken), "")
    return Table("", name, columns, key, rowid="" if without_rowid else rowid)


def read_blocks(connection: Any, table: Table, wanted: Wanted) -> Iterator[Block]:
    columns = [column.name for column in table.columns if wanted(column)]
    finders = [table.rowid] if table.rowid else [quote(name) for name in table.key]
    value = "||x'1f'||".join(f"ifnull(CAST({quote(name)} AS TEXT),'')" for name in columns)
    source = f"FROM {quote(table.name)}"
    rows: list[tuple[Any, ...]] = []
    size = 0
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(finders)}, CAST({value} AS BLOB) {source}")
        for row in cursor:
            rows.append(row)
            size += len(row[-1])
            if size >= BLOCK:
                yield _Rows(rows, connection, table, columns, finders)
                rows, size = [], 0
    if rows:
        yield _Rows(rows, connection, table, columns, finders)


@dataclass
class _Rows:
    """Rows whose values the database has strung together. Where something is found, the row is
    read again, value by value, within the same snapshot."""

    found: list[tuple[Any, ...]]
    connection: Any
    table: Table
    columns: list[str]
    finders: list[str]
    data: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.data = b"\x1e".join(row[-1] for row in self.found)

    def rows(self) -> Iterable[Rows]:
        yield self

    @cached_property
    def starts(self) -> list[int]:
        return list(accumulate((len(row[-1]) + 1 for row in self.found), initial=0))

    def place(self, start: int, end: int) -> Place | None:
        number = bisect_right(self.starts, start) - 1
        finder = self.found[number][:-1]
        found = self._read(
            ", ".join(f"CAST({quote(name)} AS BLOB)" for name in self.columns), finder
        )
        offset = self.starts[number]
        for name, value in zip(self.columns, found, strict=False):
            last = offset + len(value or b"")
            if offset <= start and end <= last:
                return Place(name, self._key(finder))
            offset = last + 1
        return None

    def _key(self, finder: tuple[Any, ...]) -> str:
        if not self.table.key:
            return ", ".join(map(str, finder))
        names = ", ".join(f"CAST({quote(name)} AS TEXT)" for name in self.table.key)
        uuids = {column.name for column in self.table.columns if column.family == UUID_TEXT}
        return ", ".join(
            _show_uuid(value) if name in uuids else str(value)
            for name, value in zip(self.table.key, self._read(names, finder), strict=False)
        )

    def _read(self, values: str, finder: tuple[Any, ...]) -> tuple[Any, ...]:
        where = " AND ".join(f"{name} IS %s" for name in self.finders)
        read = f"SELECT {values} FROM {quote(self.table.name)} WHERE "
        with self.connection.cursor() as cursor:
            cursor.execute(read.replace("%", "%%") + where, finder)
            return cursor.fetchone() or ()


def _show_uuid(value: Any) -> str:
    try:
        return str(UUID(hex=value))
    except (ValueError, TypeError, AttributeError):
        return str(value)
