"""The ways in which a backup comes back under a running service."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from tests.databases import start_postgres
from tests.live.servers import Live

Restore = Callable[[], None]


def write_into_file(live: Live, folder: Path) -> Restore:
    """SQLite's own backup, written back into the file that the service has open."""
    file, copy = live.database_url.removeprefix("sqlite:///"), folder / "backup.sqlite3"
    _copy(file, str(copy))
    return lambda: _copy(str(copy), file)


def copy_as_template(live: Live, folder: Path) -> Restore:
    """PostgreSQL: a copy of the database, which takes its place by its name."""
    name = urlsplit(live.database_url).path[1:]
    backup = f"{name}_backup"
    _clone(name, backup)

    def restore() -> None:
        with psycopg.connect(start_postgres(), autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
            server.execute(f'ALTER DATABASE "{backup}" RENAME TO "{name}"'.encode())
            server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())

    return restore


def load_in_place(live: Live, folder: Path) -> Restore:
    """PostgreSQL: every table emptied and filled in one transaction, connections untouched."""
    with psycopg.connect(live.database_url) as database:
        tables = [
            row[0]
            for row in database.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            )
        ]
        saved: dict[str, bytes] = {}
        for table in tables:
            with database.cursor().copy(f'COPY "{table}" TO STDOUT'.encode()) as copy:
                saved[table] = b"".join(bytes(block) for block in copy)

    def restore() -> None:
        with psycopg.connect(live.database_url) as database:
            database.execute("SET session_replication_role = replica")
            names = ", ".join(f'"{table}"' for table in tables)
            database.execute(f"TRUNCATE {names}".encode())
            for table in tables:
                with database.cursor().copy(f'COPY "{table}" FROM STDIN'.encode()) as copy:
                    copy.write(saved[table])

    return restore


def dump_and_load(live: Live, folder: Path) -> Restore:
    """PostgreSQL: pg_dump, and pg_restore --clean over the database in use, table by table."""
    dump, programs = folder / "backup.dump", find_programs()
    _run(programs / "pg_dump", "--format=custom", f"--file={dump}", live.database_url)
    return lambda: _run(
        programs / "pg_restore",
        "--clean",
        "--if-exists",
        "--exit-on-error",
        f"--dbname={live.database_url}",
        str(dump),
    )


def find_programs() -> Path:
    """Return where the programs of the server's own version are."""
    with psycopg.connect(start_postgres()) as server:
        row = server.execute("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetchone()
    assert row
    if (Path(row[0]) / "pg_dump").exists():
        return Path(row[0])
    found = shutil.which("pg_dump")
    assert found, "pg_dump of the server's version must be on the path"
    return Path(found).parent


def _copy(source: str, target: str) -> None:
    with (
        closing(sqlite3.connect(source, timeout=60)) as old,
        closing(sqlite3.connect(target, timeout=60)) as new,
    ):
        old.backup(new)


def _clone(name: str, copy: str) -> None:
    with psycopg.connect(start_postgres(), autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        server.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{name}"'.encode())
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())


def _run(program: Path, *arguments: str) -> None:
    done = subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
