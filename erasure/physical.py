"""What a purge leaves on disk behind the tables, and how to take that away too.

SQLite: nothing, once the write-ahead log has been folded into the file and cut. PostgreSQL: dead
rows until VACUUM, and their bytes until the space is used again or the table is rewritten; the
write-ahead log, replicas and backups are out of the database's reach. docs/operations.md says until
when.
"""

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.transaction import TransactionManagementError

from erasure.closure import steps_of
from erasure.policies import Anonymise
from erasure.subjects import kind_names
from erasure.tables import quote

logger = logging.getLogger("sexton.erasure")

PATIENCE = 5.0
"""Seconds to wait for readers who still look at old pages of SQLite's log."""


@dataclass(frozen=True)
class Physical:
    """What was done about old bytes. ``left`` says in words what is still on disk."""

    tables: tuple[str, ...] = ()
    truncated: bool = False
    left: tuple[str, ...] = ()


def clean(labels: Collection[str], *, rewrite: bool = False) -> Physical:
    """Take away the bytes that a purge has left, on whichever database this is.

    ``labels`` name the models whose rows went. Call it after the commit, outside any transaction.
    """
    vendor = connections[DEFAULT_DB_ALIAS].vendor
    if vendor == "postgresql":
        return vacuum(labels, rewrite=rewrite)
    if vendor == "sqlite":
        return truncate_wal()
    return Physical(left=(f"a database of the kind {vendor} is not cleaned",))


def truncate_wal(*, patience: float = PATIENCE) -> Physical:
    """SQLite: fold the log into the file and cut it to nothing, so that no old page is left.

    Worth calling even when a purge had nothing to do: an earlier run may have met a busy reader.
    Such a reader is waited for, ``patience`` seconds in all; if one stays, ``left`` says so and
    the next call tries again. Does nothing on another database.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "sqlite":
        return Physical()
    _forbid_transaction(connection)
    left = _find_insecure_sqlite(connection)
    until = monotonic() + patience
    pause = 0.01
    while not (truncated := _truncate_once(connection)) and monotonic() < until:
        sleep(pause)
        pause = min(pause * 2, 0.5)
    if not truncated:
        logger.warning("the write-ahead log could not be cut: a reader is busy")
        left.append("a reader is busy: old pages stay in the write-ahead log until the next try")
    return Physical(truncated=truncated, left=tuple(left))


def vacuum(labels: Collection[str], *, rewrite: bool = False) -> Physical:
    """PostgreSQL: vacuum and analyze the tables of these models, and of those whose rows an
    erasure overwrites.

    Dead rows become free space, whose bytes stay until something else is written there; the
    planner's samples of the columns are drawn anew. With ``rewrite`` each table and its indexes
    are written again without them, under a lock that stops every reader and writer meanwhile; who
    may still want to see dead rows is waited for, ``PATIENCE`` seconds in all.
    Does nothing on another database.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        return Physical()
    _forbid_transaction(connection)
    tables = sorted(_find_tables(labels))
    with connection.cursor() as cursor:
        older = _find_older_snapshot(cursor)
        if rewrite:
            until = monotonic() + PATIENCE
            older = sum([_rewrite(connection, cursor, table, until) for table in tables]) > 0
        else:
            for table in tables:
                cursor.execute(f"VACUUM (ANALYZE) {quote(table)}")
        sampled = [table for table in tables if not _forget_samples(connection, cursor, table)]
    left = ["write-ahead log, replicas and backups, until they are recycled"]
    if not rewrite:
        left.append("bytes in free space of tables and indexes, until it is used again")
    left += [f"the planner's samples of {table}, which is empty now" for table in sampled]
    if older:
        left.append("dead rows that an older transaction, or a replica, may still want to see")
    return Physical(tables=tuple(tables), left=tuple(left))


def _find_tables(labels: Collection[str]) -> set[str]:
    """Return the tables whose dead rows may hold something: an overwritten row leaves its former
    self behind, too."""
    models = {apps.get_model(label) for label in labels}
    if models:
        steps = (step for kind in kind_names() for step in steps_of(kind))
        models |= {step.model for step in steps if isinstance(step.fate, Anonymise)}
    return {model._meta.db_table for model in models}


def _truncate_once(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchone()[0] != "wal":
            # A rollback journal is removed with each commit.
            return True
        # The busy time-out belongs to the statement's own wait and would hold the database up.
        cursor.execute("PRAGMA busy_timeout")
        before = cursor.fetchone()[0]
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, _, _ = cursor.fetchone()
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {int(before)}")
    return not busy


def _find_insecure_sqlite(connection: Any) -> list[str]:
    """Return what is wrong with the settings that the promise rests on. 1 is ON; 2 is FAST, which
    leaves whole freed pages as they were."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA secure_delete")
        secure = cursor.fetchone()[0]
    if secure == 1:
        return []
    return ["secure_delete is not ON: freed pages keep their old contents"]


def _rewrite(connection: Any, cursor: Any, table: str, until: float) -> int:
    """Write a table and its indexes again; return how many dead rows were copied because somebody
    may still want to see them. Somebody is waited for until then, by the monotonic clock.

    Who they are cannot always be seen: a connection that is being opened counts for every database
    and stands in no view yet. So the rewrite itself is asked what it left.
    """
    kept: list[int] = []

    def hear(notice: Any) -> None:
        # The words depend on the server's language; the function that says them does not.
        if notice.source_function == "copy_table_data":
            kept.extend(int(it) for it in re.findall(r"[0-9]+", notice.message_detail or "")[:1])

    connection.connection.add_notice_handler(hear)
    try:
        while True:
            kept.clear()
            cursor.execute(f"VACUUM (FULL, ANALYZE, VERBOSE) {quote(table)}")
            if not sum(kept) or monotonic() > until:
                return sum(kept)
            sleep(0.2)
    finally:
        connection.connection.remove_notice_handler(hear)


def _find_older_snapshot(cursor: Any) -> bool:
    """Whether somebody's snapshot is older than this moment, so that VACUUM may spare rows."""
    cursor.execute(
        "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND (datname = current_database() OR datname IS NULL) AND backend_xmin IS NOT NULL "
        "AND age(backend_xmin) > 0) "
        "OR EXISTS (SELECT 1 FROM pg_replication_slots WHERE xmin IS NOT NULL) "
        "OR EXISTS (SELECT 1 FROM pg_prepared_xacts)"
    )
    return bool(cursor.fetchone()[0])


def _forget_samples(connection: Any, cursor: Any, table: str) -> bool:
    """Clear the samples of an empty table, which ANALYZE leaves as they were. False when they stay:
    before version 18 only a superuser can remove them."""
    cursor.execute(f"SELECT EXISTS (SELECT 1 FROM {quote(table)})")
    if cursor.fetchone()[0]:
        return True
    samples = (
        "FROM pg_stats s JOIN pg_class c ON c.oid = to_regclass(%s) "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE s.schemaname = n.nspname AND s.tablename = c.relname"
    )
    if connection.pg_version >= 180000:
        cursor.execute(
            "SELECT pg_clear_attribute_stats(schemaname, tablename, attname, inherited) " + samples,
            [quote(table)],
        )
        return True
    cursor.execute(f"SELECT EXISTS (SELECT 1 {samples})", [quote(table)])
    return not cursor.fetchone()[0]


def _forbid_transaction(connection: Any) -> None:
    if connection.in_atomic_block or not connection.get_autocommit():
        raise TransactionManagementError("Old bytes can be cleaned outside a transaction only.")
