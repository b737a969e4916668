"""The bytes behind a database's tables, deleted rows included: what a thief of the disk reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db import DatabaseError, connections, transaction

from erasure.stores import Item, Note
from erasure.tables import quote, read_tables
from erasure.unpacking import CHUNK, read_chunks


def read_raw(note: Note) -> Iterator[Item]:
    """Yield SQLite's files byte by byte, and what PostgreSQL keeps behind its tables as far as the
    role may see it."""
    for alias in connections:
        connection = connections[alias]
        if connection.vendor == "sqlite":
            yield from _read_sqlite_files(connection, note)
        elif connection.vendor == "postgresql":
            yield from _read_statistics(connection)
            yield from _read_large_objects(connection, note)
            yield from _read_relation_files(connection, note)
            note(f"database {alias}: write-ahead log, replicas and backups")


def sqlite_files(connection: Any) -> list[Path]:
    """Return the files of an SQLite database that exist; none when it lives in memory."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA database_list")
        main = next(path for _, name, path in cursor.fetchall() if name == "main")
    if not main:
        return []
    files = (Path(main + suffix) for suffix in ("", "-wal", "-journal"))
    return [file for file in files if file.exists()]


def _read_sqlite_files(connection: Any, note: Note) -> Iterator[Item]:
    files = sqlite_files(connection)
    if not files:
        note(f"database {connection.alias}: it lives in memory and has no file")
    for path in files:
        try:
            with path.open("rb") as file:
                yield Item("file of the database", path.name, "", read_chunks(file))
        except FileNotFoundError:
            continue


def _read_statistics(connection: Any) -> Iterator[Item]:
    """Yield the samples of columns that ANALYZE keeps for the planner: values of real rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, tablename, attname, "
            "concat(most_common_vals::text, histogram_bounds::text, most_common_elems::text) "
            "FROM pg_stats WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        rows = cursor.fetchall()
    for _, table, column, sample in rows:
        yield Item(f"planner statistics of {table}", column, "until ANALYZE", [sample.encode()])


def _read_large_objects(connection: Any, note: Note) -> Iterator[Item]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT oid FROM pg_largeobject_metadata ORDER BY oid")
        oids = [oid for (oid,) in cursor.fetchall()]
    for oid in oids:
        try:
            with transaction.atomic(using=connection.alias):
                yield Item("large object", "content", str(oid), _read_large_object(connection, oid))
        except DatabaseError:
            note(f"large object {oid}: no right to read it")


def _read_large_object(connection: Any, oid: int) -> Iterator[bytes]:
    offset = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT lo_get(%s, %s, %s)", [oid, offset, CHUNK])
            chunk = bytes(cursor.fetchone()[0])
            if not chunk:
                return
            yield chunk
            offset += CHUNK


def _read_relation_files(connection: Any, note: Note) -> Iterator[Item]:
    """Yield heap, TOAST and index files of each table, for a role that may read server files."""
    with connection.cursor() as cursor:
        cursor.execute(MAY_READ_FILES)
        if not cursor.fetchone()[0]:
            note(
                f"database {connection.alias}: the files behind its tables "
                "(only a role that may execute pg_read_binary_file can read them)"
            )
            return
        # What lies in the buffers only is not in the file yet.
        cursor.execute("SELECT pg_has_role('pg_checkpoint', 'MEMBER')")
        if cursor.fetchone()[0]:
            cursor.execute("CHECKPOINT")
    for table in read_tables(connection):
        quoted = ".".join(map(quote, (table.schema, table.name)))
        with connection.cursor() as cursor:
            cursor.execute(RELATIONS, [quoted])
            relations = cursor.fetchall()
        for name, path, size in relations:
            yield Item(
                f"file behind {table}", name, path, _read_server_file(connection, path, size)
            )


MAY_READ_FILES = (
    "SELECT has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE')"
)
RELATIONS = """
WITH t AS (
    SELECT unnest(ARRAY[oid, reltoastrelid]) AS oid FROM pg_class WHERE oid = %s::regclass
), r AS (
    SELECT oid FROM t UNION SELECT indexrelid FROM pg_index WHERE indrelid IN (SELECT oid FROM t)
)
SELECT c.relname, pg_relation_filepath(c.oid), pg_relation_size(c.oid)
FROM r JOIN pg_class c USING (oid)
"""
SEGMENT = 1 << 30


def _read_server_file(connection: Any, path: str, size: int) -> Iterator[bytes]:
    with connection.cursor() as cursor:
        for offset in range(0, size, CHUNK):
            number, within = divmod(offset, SEGMENT)
            part = f"{path}.{number}" if number else path
            cursor.execute("SELECT pg_read_binary_file(%s, %s, %s, true)", [part, within, CHUNK])
            if (chunk := cursor.fetchone()[0]) is not None:
                yield bytes(chunk)
