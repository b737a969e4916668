"""Every table of a database as its own catalogue lists it, and its contents in blocks of bytes.

The catalogue and not the models: a table that no model knows holds personal data just as well.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple, Protocol
from uuid import UUID

BLOCK = 1 << 20
"""Bytes that are looked at in one go; only a single larger row makes a larger block."""

TEXT = "text"
UUIDS = "uuid"
UUID_TEXT = "uuid in text"
"""SQLite's form of one. Any other text fits as well."""
NUMBER = "number"
TIME = "time"
TRUTH = "truth"
OTHER = "other"


class Column(NamedTuple):
    """A column and the family of its type: what decides whether an identifier fits into it."""

    name: str
    family: str
    raw: bool = True
    """Whether the database can send it as the very bytes that are looked for."""


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    readable: bool = True
    rowid: str = ""
    """What SQLite calls a row's number in this table; empty without one."""

    def __str__(self) -> str:
        return self.name if self.schema in ("", "public") else f"{self.schema}.{self.name}"


class Place(NamedTuple):
    column: str
    key: str


class Block(Protocol):
    """Some rows of a table as one run of bytes, which can say where in it something lies."""

    data: bytes

    def place(self, start: int, end: int) -> Place | None:
        """Return column and key of what lies between; None when no single value holds it."""


Wanted = Callable[[Column], bool]


def read_tables(connection: Any) -> list[Table]:
    """Return every table, in order of schema and name. Raises NotSearchable."""
    if connection.vendor == "postgresql":
        return _read_postgres_tables(connection)
    if connection.vendor == "sqlite":
        return _read_sqlite_tables(connection)
    raise NotSearchable(f"a database of the kind {connection.vendor}")


def read_blocks(connection: Any, table: Table, wanted: Wanted) -> Iterator[Block]:
    """Yield the contents of a table's wanted columns, row after row; memory stays flat."""
    if not any(map(wanted, table.columns)):
        return iter(())
    if connection.vendor == "postgresql":
        return _read_postgres_blocks(connection, table, wanted)
    return _read_sqlite_blocks(connection, table, wanted)


def quote(name: str) -> str:
    """Return a name from the catalogue as SQL. Django's own quoting trusts in tame names."""
    return '"' + name.replace('"', '""') + '"'


class NotSearchable(Exception):
    """What a search cannot look into, in words that follow "Not searched:"."""


# --- PostgreSQL -------------------------------------------------------------------------------

# Tables, partitions and materialised views; a partitioned table's rows lie in its partitions.
POSTGRES_TABLES = """
SELECT n.nspname, c.relname, a.attname, coalesce(e.typname, b.typname, t.typname),
       a.attnum = ANY(i.indkey), has_column_privilege(c.oid, a.attnum, 'SELECT')
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'm') AND c.relispopulated AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%'
ORDER BY n.nspname, c.relname, a.attnum
"""
POSTGRES_FAMILIES = {
    **dict.fromkeys(
        ("text", "varchar", "bpchar", "name", "citext", "json", "jsonb", "xml", "bytea"), TEXT
    ),
    "uuid": UUIDS,
    **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8", "oid"), NUMBER),
    **dict.fromkeys(("date", "timestamp", "timestamptz", "time", "timetz", "interval"), TIME),
    "bool": TRUTH,
}
COPY_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
COPY_HEADER = len(COPY_SIGNATURE) + 8
LENGTH = struct.Struct("!i")
NULL = -1


def _read_postgres_tables(connection: Any) -> list[Table]:
    with connection.cursor() as cursor:
        cursor.execute(POSTGRES_TABLES.replace("%", "%%"), [])
        rows = cursor.fetchall()
    tables: dict[tuple[str, str], list[Any]] = {}
    for schema, name, *column in rows:
        tables.setdefault((schema, name), []).append(column)
    return [
        Table(
            schema,
            name,
            tuple(_postgres_column(column, type_name) for column, type_name, *_ in columns),
            tuple(column for column, _, is_key, _ in columns if is_key),
            all(may_read for *_, may_read in columns),
        )
        for (schema, name), columns in tables.items()
    ]


def _postgres_column(name: str, type_name: str) -> Column:
    family = POSTGRES_FAMILIES.get(type_name, OTHER)
    return Column(name, family, raw=family in (TEXT, UUIDS))


def _read_postgres_blocks(connection: Any, table: Table, wanted: Wanted) -> Iterator[Block]:
    keys = [column for column in table.columns if column.name in table.key]
    columns = keys + [one for one in table.columns if one not in keys and wanted(one)]
    selected = [quote(one.name) + ("" if one.raw else "::text") for one in columns]
    if not keys:
        # Of a row without a primary key its place in the table says which one it is.
        keys, columns = [Column("ctid", OTHER)], [Column("ctid", OTHER), *columns]
        selected = ["ctid::text", *selected]
    searched = [wanted(column) for column in columns]
    # Names come from the catalogue and are quoted.
    source = f"SELECT {', '.join(selected)} FROM ONLY {quote(table.schema)}.{quote(table.name)}"  # noqa: S608
    rows: list[bytes] = []
    size = 0
    statement = f"COPY ({source}) TO STDOUT (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for message in copy:
            rows.append(message)
            size += len(message)
            if size >= BLOCK:
                yield _PostgresBlock(rows, columns, searched, len(keys))
                rows, size = [], 0
    if rows:
        yield _PostgresBlock(rows, columns, searched, len(keys))


class _PostgresBlock:
    """Rows in the binary format of COPY: each value between its length and the next one."""

    def __init__(
        self, rows: list[bytes], columns: Sequence[Column], searched: list[bool], keys: int
    ) -> None:
        self.rows, self.columns, self.searched, self.keys = rows, columns, searched, keys
        self.data = b"".join(rows)

    @cached_property
    def starts(self) -> list[int]:
        return list(accumulate(map(len, self.rows), initial=0))

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


# --- SQLite -----------------------------------------------------------------------------------

ROWIDS = ("rowid", "_rowid_", "oid")


def _read_sqlite_tables(connection: Any) -> list[Table]:
    with connection.cursor() as cursor:
        # Shadow tables are what virtual ones, such as those of full-text search, consist of.
        cursor.execute(
            "SELECT name, wr FROM pragma_table_list "
            "WHERE type IN ('table', 'shadow') AND schema = 'main' ORDER BY name"
        )
        tables = cursor.fetchall()
        return [_read_sqlite_table(cursor, name, bool(wr)) for name, wr in tables]


def _read_sqlite_table(cursor: Any, name: str, without_rowid: bool) -> Table:
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


def _read_sqlite_blocks(connection: Any, table: Table, wanted: Wanted) -> Iterator[Block]:
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
                yield _SqliteBlock(rows, connection, table, columns, finders)
                rows, size = [], 0
    if rows:
        yield _SqliteBlock(rows, connection, table, columns, finders)


@dataclass
class _SqliteBlock:
    """Rows whose values the database has strung together. Where something is found, the row is
    read again, value by value, within the same snapshot."""

    rows: list[tuple[Any, ...]]
    connection: Any
    table: Table
    columns: list[str]
    finders: list[str]
    data: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.data = b"\x1e".join(row[-1] for row in self.rows)

    @cached_property
    def starts(self) -> list[int]:
        return list(accumulate((len(row[-1]) + 1 for row in self.rows), initial=0))

    def place(self, start: int, end: int) -> Place | None:
        number = bisect_right(self.starts, start) - 1
        finder = self.rows[number][:-1]
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
        read = f"SELECT {values} FROM {quote(self.table.name)} WHERE "  # noqa: S608
        with self.connection.cursor() as cursor:
            cursor.execute(read.replace("%", "%%") + where, finder)
            return cursor.fetchone() or ()


def _show_uuid(value: Any) -> str:
    try:
        return str(UUID(hex=value))
    except (ValueError, TypeError, AttributeError):
        return str(value)
