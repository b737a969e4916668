"""An image of a database, put back again and again within moments."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol

import psycopg


class Image(Protocol):
    def keep(self) -> None: ...
    def restore(self) -> None: ...
    def settle(self) -> None: ...
    def living(self) -> set[str]: ...


class FileImage:
    """SQLite: a copy of the file, and of the log beside it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.file = Path(url.removeprefix("sqlite:///"))
        self.copy = folder / "image"

    def keep(self) -> None:
        self.copy.mkdir()
        for one in self._files():
            shutil.copy(one, self.copy)

    def restore(self) -> None:
        for one in self._files():
            one.unlink()
        for one in self.copy.iterdir():
            shutil.copy(one, self.file.parent)

    def settle(self) -> None:
        """Nothing of a dead process is left to wait for."""

    def living(self) -> set[str]:
        with closing(sqlite3.connect(self.file)) as connection:
            rows = connection.execute(LIVING).fetchall()
        return {key.replace("-", "") for (key,) in rows}

    def _files(self) -> list[Path]:
        return list(self.file.parent.glob(f"{self.file.name}*"))


class SchemaImage:
    """PostgreSQL: a second schema with a copy of every table."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tables: list[str] = []

    def keep(self) -> None:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            self.tables = [name for (name,) in rows]
            connection.execute("CREATE SCHEMA image")
            for name in self.tables:
                connection.execute(f'CREATE TABLE image."{name}" AS TABLE public."{name}"'.encode())

            # A mark that is put back like this tells of a backup; without one the ledger is new.
            connection.execute("DELETE FROM image.erasure_ledgermark")

    def restore(self) -> None:
        with psycopg.connect(self.url) as connection:
            # Neither triggers nor constraints: what is put back fits together.
            connection.execute("SET session_replication_role = replica")
            for name in self.tables:
                connection.execute(
                    f'DELETE FROM public."{name}"; '
                    f'INSERT INTO public."{name}" SELECT * FROM image."{name}"'.encode()
                )

    def settle(self) -> None:
        """End what the server still does for a process that is dead."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            deadline = time.monotonic() + 300
            while connection.execute(END).fetchall():
                assert time.monotonic() < deadline, "a session does not end"
                time.sleep(0.01)

    def living(self) -> set[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(LIVING.encode()).fetchall()
        return {key.replace("-", "") for (key,) in rows}


LIVING = (
    "SELECT CAST(id AS text) FROM accounts_user"
    " UNION ALL SELECT CAST(id AS text) FROM organizations_organization"
)

END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)


def image_of(vendor: str, url: str, folder: Path) -> Image:
    return FileImage(url, folder) if vendor == "sqlite" else SchemaImage(url)
