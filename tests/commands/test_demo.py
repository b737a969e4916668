"""The demo's world, through the shell: complete, the same twice, and worthless in production."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from contracts import ids
from tests.databases import VENDORS
from tests.deployment.shell import PRODUCTION, ROOT, environment, manage, python
from tests.live.servers import PATIENCE, empty_database, free_port

DEMO_KEY = re.compile(r"sk-demo-[0-9A-Za-z]{36}")
PEOPLE = {"alice", "bob", "charlie", "dana", "operator"}
OWNERS = {"acme": ["alice"], "borealis": ["bob", "charlie"], "northwind": ["charlie"]}

TRY_CREDENTIALS = """
import asyncio, json, sys, django
django.setup()
from django.contrib.auth import aauthenticate, authenticate
from django.test import Client
password, key = sys.argv[1:]
answer = Client().delete(
    "/account", secure=True, headers={"host": "sexton.example", "authorization": f"Bearer {key}"}
)
known = authenticate(username="alice", password=password)
waited_for = asyncio.run(aauthenticate(username="alice", password=password))
assert known == waited_for
print(json.dumps([answer.status_code, known is not None]))
"""


@pytest.fixture(params=VENDORS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_database(request.param, tmp_path) as url:
        yield url


@dataclass(frozen=True)
class Demo:
    """A database in which the demo ran once, and what it printed."""

    url: str
    printed: str

    @property
    def world(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.printed)
        return told


@pytest.fixture(scope="module", params=VENDORS)
def made(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Demo]:
    """Shared by the tests that change nothing."""
    with empty_database(request.param, tmp_path_factory.mktemp("demo")) as url:
        done = demo(url)
        assert (done.returncode, done.stderr) == (0, "")
        yield Demo(url, done.stdout)


def script(code: str, *args: str, **variables: str) -> str:
    variables.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    done = python("-c", code, *args, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout


def demo(url: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return manage("demo", "--no-serve", "--json", *args, **{"DATABASE_URL": url, **variables})


def world(url: str, *args: str) -> dict[str, Any]:
    done = demo(url, *args)
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def secrets_of(world: dict[str, Any]) -> set[str]:
    users = world["users"].values()
    own = {user["password"] for user in users} | {user["api_key"] for user in users}
    return own | {world["keys"]["platform"]}


def dump(url: str) -> Any:
    return json.loads(script(DUMP, DATABASE_URL=url))


DUMP = """
import json, django
django.setup()
from django.db import connection
tables = connection.introspection.table_names()
with connection.cursor() as cursor:
    for table in tables:
        cursor.execute(f'SELECT * FROM "{table}"')
        tables[tables.index(table)] = [table, sorted(map(repr, cursor.fetchall()))]
print(json.dumps(tables))
"""


def test_json_is_the_documented_object_and_nothing_else(made: Demo) -> None:
    told = made.world
    parts = {"base_url", "users", "organizations", "managed_users", "keys", "applications"}
    assert told.keys() == parts
    assert told["base_url"] == "http://127.0.0.1:8000"
    assert told["users"].keys() == PEOPLE
    for name, user in told["users"].items():
        assert user.keys() == {"id", "username", "email", "password", "api_key"}
        assert (user["username"], user["email"]) == (name, f"{name}@example.com")
        assert ids.decode(ids.USER, user["id"])
        assert DEMO_KEY.fullmatch(user["api_key"])
        assert len(user["password"]) >= 12
    assert {name: it["owners"] for name, it in told["organizations"].items()} == OWNERS
    for name, organization in told["organizations"].items():
        assert organization.keys() == {"id", "slug", "owners"}
        assert organization["slug"] == name
        assert ids.decode_uuid(organization["id"])
    assert told["managed_users"].keys() == {"erin", "frank", "grace"}
    for name, user in told["managed_users"].items():
        assert user.keys() == {"id", "username"}
        assert user["username"] == name
        assert ids.decode(ids.USER, user["id"])
    assert told["keys"].keys() == {"platform", "operator"}
    assert DEMO_KEY.fullmatch(told["keys"]["platform"])
    assert told["keys"]["operator"] == told["users"]["operator"]["api_key"]
    assert told["applications"].keys() == {"report", "planner"}
    for application in told["applications"].values():
        assert ids.decode(ids.APPLICATION, application["client_id"])
        assert application["client_secret"].startswith("ocs-demo-")
    assert len(secrets_of(told)) == 2 * len(PEOPLE) + 1


def test_a_second_run_prints_the_same_world_and_changes_nothing(made: Demo) -> None:
    rows = dump(made.url)
    assert demo(made.url).stdout == made.printed
    assert dump(made.url) == rows


def test_reset_starts_over_with_other_secrets(empty: str) -> None:
    first, second = world(empty), world(empty, "--reset")
    assert not secrets_of(first) & secrets_of(second)
    assert second["users"].keys() == PEOPLE
    assert world(empty) == second


def test_a_log_that_starts_over_is_not_held_against_the_one_before(
    empty: str, tmp_path: Path
) -> None:
    place = {"DATABASE_URL": empty, "ERASURE_LEDGER": str(tmp_path / "ledger" / "erasures.jsonl")}
    for args in ((), ("--reset",)):
        assert demo(empty, *args, **place).returncode == 0
        assert manage("seal_audit_log", **place).returncode == 0
        done = manage("verify_audit_log", **place)
        assert (done.returncode, done.stderr) == (0, "")
    kept = [path.parent.name.partition("-")[0] for path in tmp_path.glob("ledger/*/*.txt")]
    assert kept == ["checkpoints"] * 2, "the old ones stay"


def test_demo_credentials_open_the_demo_and_no_production(made: Demo) -> None:
    alice = made.world["users"]["alice"]
    tried = (TRY_CREDENTIALS, alice["password"], alice["api_key"])
    production = {**PRODUCTION, "DATABASE_URL": made.url}
    assert json.loads(script(*tried, **production)) == [401, False]
    # The same two in development, so that the test would notice credentials that never worked.
    # Alice may not go, since acme would be without an owner: 400 asks for her confirmation.
    local = {"DATABASE_URL": made.url, "ALLOWED_HOSTS": "sexton.example"}
    assert json.loads(script(*tried, **local)) == [400, True]
    # That sign-in has not turned the password into one that production knows.
    assert json.loads(script(*tried, **production)) == [401, False]


def test_a_database_with_strangers_is_refused_and_left_as_it_was(empty: str) -> None:
    assert manage("migrate", "-v0", DATABASE_URL=empty).returncode == 0
    create = ("createsuperuser", "--no-input", "--username=boss", "--email=boss@example.com")
    assert manage(*create, DATABASE_URL=empty).returncode == 0
    before = dump(empty)
    for args in [(), ("--reset",)]:
        refused = demo(empty, *args)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "This database holds 1 users that the demo did not make." in refused.stderr
        assert "Nothing was changed." in refused.stderr
    assert dump(empty) == before


def test_production_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "production.sqlite3"
    refused = demo(f"sqlite:///{file}", **{**PRODUCTION, "DATABASE_URL": f"sqlite:///{file}"})
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The demo does not run with ENVIRONMENT=production." in refused.stderr
    assert tables_of(file) == []


def test_a_taken_port_is_a_clear_error_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "demo.sqlite3"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = manage("demo", "--port", port, DATABASE_URL=f"sqlite:///{file}")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"Port {port} is taken. Choose another with --port." in refused.stderr
    assert tables_of(file) == []


def tables_of(file: Path) -> list[Any]:
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT name FROM sqlite_master").fetchall()


def test_the_text_for_people_shows_every_credential_and_a_line_for_each_contract(
    made: Demo,
) -> None:
    text = manage("demo", "--no-serve", "--port", "8123", DATABASE_URL=made.url).stdout
    for secret in secrets_of(made.world):
        assert secret in text
    base = "http://127.0.0.1:8123"
    for path in ("account", "v1/user/", "users/", "organizations/", "user/"):
        assert f"curl -i -X DELETE {base}/{path}" in text


def test_the_demo_serves_the_world_that_it_printed_until_it_is_interrupted(
    made: Demo,
) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "manage.py", "demo", "--json", "--port", str(port)],
        cwd=ROOT,
        env=environment(DATABASE_URL=made.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            base = f"http://127.0.0.1:{port}"
            assert answer(f"{base}/healthz", wait=PATIENCE) == 200
            assert answer(f"{base}/readyz") == 200
            assert answer(f"{base}/account", method="DELETE") == 401
        finally:
            os.kill(server.pid, signal.SIGINT)
            out, err = server.communicate(timeout=PATIENCE)
    assert json.loads(out) == {**made.world, "base_url": base}
    assert f"Serving on {base}" in err


def answer(url: str, *, method: str = "GET", wait: float = 0) -> int:
    """Return the status of an answer, waiting so many seconds for the server to come up."""
    end = monotonic() + wait
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method)) as got:
                return int(got.status)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code
        except OSError:
            if monotonic() > end:
                raise
            sleep(0.1)
