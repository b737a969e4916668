"""What is left on disk behind the tables, read byte by byte."""

import sqlite3
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError

from erasure import physical
from erasure.rawbytes import sqlite_files
from erasure.residue import search
from tests.admin.desk import days_ago, delete_softly
from tests.bystanders import charlie_untouched
from tests.commands.shell import run_json
from tests.databases import Switch
from tests.factories import SessionFactory, UserFactory

MARK = "canary-physical@example.org"


def plant() -> None:
    """Commit a user with the mark in rows, index and overflow pages."""
    with transaction.atomic():
        user = UserFactory(email=MARK, name=f"Name {MARK}")
        SessionFactory(user=user, session_data=MARK * 500)


def remove() -> None:
    from accounts.models import User

    with transaction.atomic():
        User.objects.get(email=MARK).delete()


def bytes_on_disk() -> bytes:
    return b"".join(file.read_bytes() for file in sqlite_files(connection))


def is_sqlite() -> bool:
    return connection.vendor == "sqlite"


@pytest.mark.django_db(transaction=True)
def test_sqlite_keeps_no_byte_of_what_was_deleted() -> None:
    if not is_sqlite():
        return
    with charlie_untouched():
        plant()
        assert MARK.encode() in bytes_on_disk()
        remove()
        # The positive control: without the cut the log still holds it all.
        assert MARK.encode() in bytes_on_disk()
        done = physical.clean(["accounts.User"])
        assert done == physical.Physical(truncated=True)
        assert MARK.encode() not in bytes_on_disk()
        assert not search([MARK], raw=True)


@pytest.mark.django_db(transaction=True)
def test_a_cut_with_nothing_deleted_takes_away_what_an_earlier_run_had_to_leave() -> None:
    if not is_sqlite():
        return
    plant()
    file = sqlite_files(connection)[0]
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM accounts_user").fetchone()
    remove()
    busy = physical.truncate_wal(patience=0)
    assert not busy.truncated
    assert busy.left == (
        "a reader is busy: old pages stay in the write-ahead log until the next try",
    )
    assert MARK.encode() in bytes_on_disk()
    reader.close()
    assert physical.truncate_wal().truncated
    assert MARK.encode() not in bytes_on_disk()


@pytest.mark.django_db(transaction=True)
def test_a_busy_reader_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_sqlite():
        return
    plant()
    reader = sqlite3.connect(sqlite_files(connection)[0], isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM accounts_user").fetchone()
    remove()
    pauses: list[float] = []

    def leave(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            reader.close()

    monkeypatch.setattr(physical, "sleep", leave)
    assert physical.truncate_wal(patience=60).truncated
    assert len(pauses) == 3
    assert MARK.encode() not in bytes_on_disk()


@pytest.mark.django_db(transaction=True)
def test_an_insecure_setting_is_named() -> None:
    if not is_sqlite():
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA secure_delete=FAST")
        left = physical.truncate_wal().left
        cursor.execute("PRAGMA secure_delete=ON")
    assert left == ("secure_delete is not ON: freed pages keep their old contents",)


@pytest.mark.django_db(transaction=True)
def test_the_log_of_a_database_in_another_mode_needs_no_cut(tmp_path: Path, switch: Switch) -> None:
    if not is_sqlite():
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=DELETE")
        assert physical.truncate_wal().truncated
        cursor.execute("PRAGMA journal_mode=WAL")


@pytest.mark.django_db(transaction=True)
def test_vacuum_draws_the_planners_samples_anew_and_says_what_stays() -> None:
    if is_sqlite():
        assert physical.vacuum(["accounts.User"]) == physical.Physical()
        return
    with charlie_untouched():
        plant()
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE accounts_user")
        remove()
        statistics = "planner statistics of accounts_user"
        assert statistics in {hit.where for hit in search([MARK], raw=True)}
        done = physical.clean(["accounts.User", "accounts.Session", "accounts.User"])
        # Holds are overwritten by erasures, which leaves dead rows as well.
        assert {"accounts_session", "accounts_user", "erasure_legalhold"} <= set(done.tables)
        assert len(done.tables) == len(set(done.tables)) < 8
        assert done.left[0] == "write-ahead log, replicas and backups, until they are recycled"
        assert statistics not in {hit.where for hit in search([MARK], raw=True)}


@pytest.mark.django_db(transaction=True)
def test_the_planner_forgets_an_empty_table_too() -> None:
    if is_sqlite():
        return
    plant()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_user")
    remove()
    done = physical.vacuum(["accounts.User"])
    left = {hit.where for hit in search([MARK], raw=True)}
    version: int = connection.pg_version  # type: ignore[attr-defined]
    if version >= 180000:
        assert "planner statistics of accounts_user" not in left
    else:
        assert "the planner's samples of accounts_user, which is empty now" in done.left


@pytest.mark.django_db(transaction=True)
def test_a_rewrite_leaves_no_byte_in_tables_and_indexes() -> None:
    if is_sqlite():
        return
    with charlie_untouched():
        plant()
        remove()
        behind = {hit.where for hit in search([MARK], raw=True)}
        assert "file behind accounts_user" in behind
        done = physical.vacuum(["accounts.User", "accounts.Session"], rewrite=True)
        assert len(done.left) == 1
        assert not search([MARK], raw=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("leaves", [True, False], ids=["who leaves in time", "who stays"])
def test_a_rewrite_waits_for_who_may_still_see_the_rows(
    leaves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_sqlite():
        return
    monkeypatch.setattr(physical, "PATIENCE", 60 if leaves else 0)
    with charlie_untouched():
        plant()
        other = connection.copy("other")
        try:
            with other.cursor() as cursor:
                cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                # A snapshot, and no lock on what is to be written again.
                cursor.execute("SELECT 1")
            remove()
            # The first look is not what finds out: a connection being opened is in no view.
            monkeypatch.setattr(physical, "_find_older_snapshot", lambda cursor: False)
            if leaves:
                monkeypatch.setattr(physical, "sleep", lambda seconds: other.close())
            done = physical.vacuum(["accounts.User", "accounts.Session"], rewrite=True)
        finally:
            other.close()
        behind = {hit.where for hit in search([MARK], raw=True)}
        assert ("file behind accounts_user" in behind) is not leaves
        assert any("may still want to see" in it for it in done.left) is not leaves


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", [(), ("--physical",), ("--physical", "rewrite")], ids=" ".join)
def test_a_purge_takes_the_bytes_along_when_it_is_told(how: tuple[str, ...]) -> None:
    if is_sqlite():
        return
    with charlie_untouched():
        delete_softly(email=MARK, at=days_ago(90))
        code, said = run_json("purge_accounts", "--execute", *how)
        assert (code, len(said["subjects"])) == (0, 1)
        behind = {hit.where for hit in search([MARK], raw=True)}
    assert ("file behind accounts_user" in behind) is ("rewrite" not in how)
    assert len(said["left_on_disk"]) == {(): 0, ("--physical",): 2}.get(how, 1)


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_nothing_can_be_cleaned() -> None:
    with transaction.atomic(), pytest.raises(TransactionManagementError):
        physical.clean(["accounts.User"])
