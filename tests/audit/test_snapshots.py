"""What is read in a snapshot is of one moment, and nobody waits for it."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.actors import Actor
from audit.events import record
from audit.models import AuditEvent
from audit.snapshots import snapshot
from tests.audit.logs import elsewhere

pytestmark = pytest.mark.django_db(transaction=True)


def write() -> None:
    record("one", actor=Actor.system("test"), subject=None, now=timezone.now())


def count() -> int:
    return AuditEvent.objects.count()


def test_what_is_committed_meanwhile_is_seen_afterwards_only() -> None:
    write()
    with snapshot():
        # The moment is the beginning, not the first read.
        elsewhere(write)
        assert count() == 1
        elsewhere(write)
        with transaction.atomic():
            assert count() == 1
        assert [it.action for it in AuditEvent.objects.iterator()] == ["one"]
    assert count() == 3
    write()
    elsewhere(write)
    assert count() == 5


def test_postgresql_ends_a_snapshot_that_nobody_reads_from() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such setting")
    with snapshot(), connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("5min",)
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("0",)


def test_nothing_is_written_in_a_snapshot() -> None:
    with pytest.raises(DatabaseError, match=r"read-?only"), snapshot():
        write()
    write()
    assert count() == 1
    assert not connection.in_atomic_block


def test_a_snapshot_ends_however_it_is_left() -> None:
    def stream() -> Iterator[AuditEvent]:
        rows: Any = AuditEvent.objects.iterator(chunk_size=1)
        with snapshot(), closing(rows):
            yield from rows

    def fail() -> None:
        with snapshot():
            assert count() == 3
            elsewhere(write)
            raise ZeroDivisionError

    write()
    write()
    stopped: Any = stream()
    next(stopped)
    elsewhere(write)
    stopped.close()
    assert not connection.in_atomic_block
    with pytest.raises(ZeroDivisionError):
        fail()
    assert count() == 4
    write()
    assert count() == 5


def test_the_next_transaction_is_like_any_other() -> None:
    """On SQLite it takes the lock at once, on PostgreSQL each statement sees what is committed."""
    with snapshot():
        assert count() == 0
    with transaction.atomic():
        assert count() == 0
        if connection.vendor == "postgresql":
            elsewhere(write)
            assert count() == 1
        else:
            assert getattr(connection, "transaction_mode", "") == "IMMEDIATE"
        write()


def test_in_a_transaction_it_changes_nothing() -> None:
    with transaction.atomic(), snapshot():
        write()
        assert count() == 1
    assert count() == 1
