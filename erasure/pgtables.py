"""The tables of a PostgreSQL database, and their values in blocks of bytes.

Small rows are strung together by the database itself, a stretch of pages at a time: sending
millions of rows one by one costs far more than looking at them. Only where something is found are
the rows of that stretch asked for. Large rows come one by one.
"""

import struct
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, batched
from typing import Any
from uuid import UUID

from django.db import DataError, InternalError, OperationalError, transaction

from erasure.tables import (
    BLOCK,
    NUMBER,
    OTHER,
    TEXT,
    TIME,
    TRUTH,
    UUIDS,
    Block,
    Column,
    Place,
    Rows,
    Table,
    Wanted,
    quote,
)

# Tables, partitions and materialised views; a partitioned table's rows lie in its partitions.
# Tables, partitions and materialised views; a partitioned table's rows lie in its partitions.
TABLES = """
SELECT n.nspname, c.relname, a.attname, coalesce(e.typname, b.typname, t.typname),
       t.typcategory = 'A', a.attnum = ANY(i.indkey),
       CASE WHEN c.relkind = 'f' THEN 'its rows lie on another server'
            WHEN NOT has_column_privilege(c.oid, a.attnum, 'SELECT') THEN 'no right to read it'
            WHEN row_security_active(c.oid) THEN 'row security hides rows of it' ELSE '' END,
       CASE WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_relation_size(c.reltoastrelid) END
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'm', 'f') AND c.relispopulated AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%'
ORDER BY n.nspname, c.relname, a.attnum
"""
FAMILIES = {
    **dict.fromkeys(
        ("text", "varchar", "bpchar", "name", "citext", "json", "jsonb", "xml", "bytea"), TEXT
    ),
    "uuid": UUIDS,
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "oid"), NUMBER),
    **dict.fromkeys(("date", "timestamp", "timestamptz", "time", "timetz", "interval"), TIME),
    "bool": TRUTH,
}
COUNT_PAGES = """
SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::integer
"""
PAGES = 256
"""Of a table, strung together at a time: two megabytes of rows."""
LITTLE = 16 << 20
"""Bytes beside a table, in which its large values lie, that may come along with a stretch."""
ARGUMENTS = 90
"""Of a function; PostgreSQL allows a hundred."""
COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
COPY_HEADER = len(COPY_SIGNATURE) + 8
LENGTH = struct.Struct("!i")


def read_tables(connection: Any) -> list[Table]:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)
        rows = cursor.fetchall()
    tables: dict[tuple[str, str], list[Any]] = {}
    for schema, name, *column in rows:
        tables.setdefault((schema, name), []).append(column)
    return [
        Table(
            schema,
            name,
            tuple(_column(name, type_name, is_list) for name, type_name, is_list, *_ in columns),
            tuple(name for name, _, _, is_key, *_ in columns if is_key),
            unread=next((why for *_, why, _ in columns if why), ""),
            packed=columns[0][-1] <= LITTLE,
        )
        for (schema, name), columns in tables.items()
    ]


def _column(name: str, type_name: str, is_list: bool) -> Column:
    family = FAMILIES.get(type_name, OTHER)
    is_raw = family in (TEXT, UUIDS)
    form = f"{type_name} list" if is_list else type_name
    return Column(name, family, raw=is_raw, form=form if is_raw else OTHER)


def read_blocks(
    connection: Any, table: Table, wanted: Wanted, uuids: Collection[UUID]
) -> Iterator[Block]:
    columns = [column for column in table.columns if wanted(column)]
    if not table.packed or any(column.form == "bytea list" for column in columns):
        yield from _read_rows(connection, table, wanted)
        return
    texts = {column for column in columns if column.form != "uuid"}
    if texts:
        yield from _read_stretches(connection, table, texts.__contains__)
    # A UUID is equal or it is not: the database finds it without sending anything.
    keys = {column for column in columns if column.form == "uuid"}
    if keys and uuids:
        listed = ", ".join(f"'{uuid}'" for uuid in uuids)
        found = (f"{quote(column.name)} = ANY(ARRAY[{listed}]::uuid[])" for column in keys)
        yield from _read_rows(connection, table, keys.__contains__, f" WHERE {' OR '.join(found)}")


# --- strung together by the database -----------------------------------------------------------


@dataclass(frozen=True)
class _Stretch:
    data: bytes
    connection: Any
    table: Table
    wanted: Wanted
    pages: tuple[int, int]

    def rows(self) -> Iterable[Rows]:
        return _read_rows(self.connection, self.table, self.wanted, _within(*self.pages))


def _read_stretches(connection: Any, table: Table, wanted: Wanted) -> Iterator[Block]:
    columns = _string_together([one for one in table.columns if wanted(one)])
    with connection.cursor() as cursor:
        cursor.execute(COUNT_PAGES, [_name(table)])
        pages = cursor.fetchone()[0]
    for first in range(0, pages, PAGES):
        stretch = first, first + PAGES
        try:
            data = _read_stretch(connection, f"SELECT {columns} FROM ONLY {_name(table)}", stretch)
        except (DataError, InternalError, OperationalError):
            # Compressed values that would make more than a gigabyte together.
            yield from _read_rows(connection, table, wanted, _within(*stretch))
        else:
            yield _Stretch(data, connection, table, wanted, stretch)


def _read_stretch(connection: Any, select: str, stretch: tuple[int, int]) -> bytes:
    from psycopg import Cursor

    with transaction.atomic(using=connection.alias), connection.wrap_database_errors:
        # Straight from psycopg: Django's own cursors may be such as send bytes as hexadecimal text.
        with Cursor(connection.connection) as cursor:
            found: Any = cursor.execute(select + _within(*stretch), binary=True).fetchone()
        return b"\x1e".join(part for part in found if part is not None)


def _string_together(columns: Sequence[Column]) -> str:
    """Return the expressions that make one text and one run of bytes out of many rows."""
    texts = [_as_text(one) for one in columns if one.form != "bytea"]
    while len(texts) > 1:
        texts = [f"concat_ws(E'\\x1f', {', '.join(some)})" for some in batched(texts, ARGUMENTS)]
    values = [quote(one.name) for one in columns if one.form == "bytea"]
    parts = [f"convert_to(string_agg({one}, E'\\x1e'), 'UTF8')" for one in texts]
    if values:
        joined = " || '\\x1f'::bytea || ".join(f"coalesce({one}, '')" for one in values)
        parts.append(f"string_agg({joined}, '\\x1e'::bytea)")
    return ", ".join(parts)


def _as_text(column: Column) -> str:
    name = quote(column.name)
    return f"array_to_string({name}, E'\\x1e')" if column.form.endswith("list") else f"{name}::text"


def _within(first: int, last: int) -> str:
    return f" WHERE ctid >= '({first},0)'::tid AND ctid < '({last},0)'::tid"


def _name(table: Table) -> str:
    return f"{quote(table.schema)}.{quote(table.name)}"


# --- row by row --------------------------------------------------------------------------------


def _read_rows(connection: Any, table: Table, wanted: Wanted, where: str = "") -> "Iterator[_Rows]":
    keys = [column for column in table.columns if column.name in table.key]
    columns = keys + [one for one in table.columns if one not in keys and wanted(one)]
    selected = [quote(one.name) + ("" if one.raw else "::text") for one in columns]
    if not keys:
        # Of a row without a primary key its place in the table says which one it is.
        keys, columns = [Column("ctid", OTHER)], [Column("ctid", OTHER), *columns]
        selected = ["ctid::text", *selected]
    searched = [wanted(column) for column in columns]
    source = f"SELECT {', '.join(selected)} FROM ONLY {_name(table)}{where}"
    rows: list[bytes] = []
    size = 0
    statement = f"COPY ({source}) TO STDOUT (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for message in copy:
            rows.append(message)
            size += len(message)
            if size >= BLOCK:
                yield _Rows(rows, columns, searched, len(keys))
                rows, size = [], 0
    if rows:
        yield _Rows(rows, columns, searched, len(keys))


class _Rows:
    """Rows in the binary format of COPY: each value between its length and the next one."""

    def __init__(
        self, rows: list[bytes], columns: Sequence[Column], searched: list[bool], keys: int
    ) -> None:
        self.sizes = [len(row) for row in rows]
        self.columns, self.searched, self.keys = columns, searched, keys
        self.data = b"".join(rows)

    def rows(self) -> Iterable[Rows]:
        yield self

    @cached_property
    def starts(self) -> list[int]:
        return list(accumulate(self.sizes, initial=0))

    def place(self, start: int, end: int) -> Place | None:
        offset = self.starts[bisect_right(self.starts, start) - 1]
        if self.data.startswith(COPY_SIGNATURE, offset):
            offset += COPY_HEADER
        values = self._values(offset)
        for (first, last), column, searched in zip(
            values, self.columns, self.searched, strict=True
        ):
            if searched and first <= start and end <= last:
                return Place(column.name, self._key(values))
        return None

    def _values(self, offset: int) -> list[tuple[int, int]]:
        offset += 2
        values = []
        for _ in self.columns:
            (length,) = LENGTH.unpack_from(self.data, offset)
            offset += LENGTH.size
            values.append((offset, offset + max(length, 0)))
            offset += max(length, 0)
        return values

    def _key(self, values: list[tuple[int, int]]) -> str:
        parts = []
        for (first, last), column in zip(values[: self.keys], self.columns, strict=False):
            value = self.data[first:last]
            is_uuid = column.family == UUIDS and len(value) == 16
            parts.append(str(UUID(bytes=value)) if is_uuid else value.decode(errors="replace"))
        return ", ".join(parts)
