"""The real thing in processes of its own: the demo's world behind the production server."""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import requests

from tests.databases import start_postgres

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 300
"""Seconds for what takes one or two: this never decides, save on a machine that has stalled."""

UNTHROTTLED = {
    "THROTTLE_CREDENTIAL": "1000000/min",
    "THROTTLE_FAILED_AUTHENTICATION": "1000000/min",
}
MANAGE = [sys.executable, str(ROOT / "manage.py")]
DEMO = ("demo", "--no-serve", "--json")


@dataclass
class Live:
    """A running service: its address, the demo world in it, and a way to look into its database."""

    base: str
    world: dict[str, Any]
    database_url: str
    env: dict[str, str]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if self.database_url.startswith("sqlite"):
            with closing(sqlite3.connect(self.database_url.removeprefix("sqlite:///"))) as file:
                return file.execute(sql).fetchall()
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(sql.encode()).fetchall()


@dataclass
class Made:
    """A demo world that is not served, for copies: its database, what lies beside it, and what the
    demo printed."""

    database_url: str
    folder: Path
    world: dict[str, Any]


_made: dict[str, Made] = {}
_until_the_end = ExitStack()


@contextmanager
def empty_database(vendor: str, folder: Path, *, like: str = "") -> Iterator[str]:
    """Yield the URL of a database that nobody else uses, on PostgreSQL a copy of another's."""
    if vendor == "sqlite":
        yield f"sqlite:///{folder / 'live.sqlite3'}"
        return
    server = start_postgres()
    name = f"live_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(server, autocommit=True) as admin:
        template = like.partition("?")[0].rpartition("/")[2] or "template1"
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        base, _, query = server.partition("?")
        try:
            yield f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
        finally:
            admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def make_world(vendor: str) -> Made:
    """Return a demo world, which the first one who asks in this process makes."""
    if vendor not in _made:
        folder = Path(_until_the_end.enter_context(TemporaryDirectory(prefix="sexton-world-")))
        url = _until_the_end.enter_context(empty_database(vendor, folder))
        env = {**os.environ, "DATABASE_URL": url, "VAR_DIR": str(folder)}
        told = run_manage(env, *DEMO)
        _made[vendor] = Made(url, folder, json.loads(told))
    return _made[vendor]


def forget_worlds() -> None:
    """Remove what ``make_world`` made."""
    _made.clear()
    _until_the_end.close()


@contextmanager
def serve(vendor: str, folder: Path, **settings: str) -> Iterator[Live]:
    """Serve the demo's world from a database of its own with two worker processes.

    ``settings`` are environment variables of the service.
    """
    # A ledger elsewhere is to know the world from its first line on.
    made = None if "ERASURE_LEDGER" in settings else make_world(vendor)
    if made:
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
    with empty_database(vendor, folder, like=made.database_url if made else "") as url:
        env = {**os.environ, "DATABASE_URL": url, "VAR_DIR": str(folder), **settings}
        port = free_port()
        world = made.world if made else json.loads(run_manage(env, *DEMO))
        command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-log"]
        command += ["--workers", "2", "--blocking-threads", "8", "--port", str(port)]
        # It forgets to stop a worker that is still starting.
        command += ["--workers-kill-timeout", "5"]
        log = (folder / "server.log").open("w")
        server = subprocess.Popen(
            [*command, "config.wsgi:application"], cwd=ROOT, env=env, stdout=log, stderr=log
        )
        try:
            base = f"http://127.0.0.1:{port}"
            live = Live(base, {**world, "base_url": base}, url, env)
            wait_for(live.base, server)
            yield live
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            log.close()


def run_manage(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [*MANAGE, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.returncode} {done.stderr}"
    return done.stdout


def wait_for(base: str, server: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended"
        try:
            if requests.get(f"{base}/readyz", timeout=PATIENCE).status_code == 200:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError("the server did not become ready")


def free_port() -> int:
    """Return a port that nobody listens on, below those that clients' sockets are given: one of
    those could be taken again before the server comes up."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
