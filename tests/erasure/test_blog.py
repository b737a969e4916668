"""``erasure`` beside ``audit`` alone: a blog with Django's own users, in processes of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from erasure.subjects import number_of, spell_number
from tests.databases import VENDORS, start_postgres

ROOT = Path(__file__).parents[2]
PATIENCE = 300


@pytest.fixture(scope="module", params=VENDORS)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('blog') / 'blog.sqlite3'}"
    else:
        yield from postgres()


def postgres() -> Iterator[str]:
    server, name = start_postgres(), f"blog_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    base, _, query = server.partition("?")
    yield f"{base.rpartition('/')[0]}/{name}?{query}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def run(folder: Path, database: str, *arguments: str) -> str:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", *arguments],
        cwd=ROOT,
        env={
            **environment,
            "BLOG_VAR": str(folder),
            "DATABASE_URL": database,
            "DJANGO_SETTINGS_MODULE": "tests.blog.settings",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def told(database: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened on a tour of the blog, made once for all tests of one database."""
    folder = tmp_path_factory.mktemp("var")
    # It checks the project as well, and would fail.
    run(folder, database, "django", "migrate", "--verbosity", "0")
    found: dict[str, Any] = json.loads(run(folder, database, "tests.blog.tour", str(folder)))
    return {**found, "folder": folder}


ROWS = {
    "auth.User": 1,
    "blog.Author": 1,
    "blog.Comment": 4,
    "blog.Post": 1,
    "blog.Upload": 1,
}


def test_none_of_our_other_rooms_was_imported(told: dict[str, Any]) -> None:
    assert told["ours"] == []


def test_the_preview_tells_all_that_will_go(told: dict[str, Any]) -> None:
    plan = told["plan"]
    assert plan["removed"] == {**ROWS, "sessions.Session": 1}
    assert plan["detached"] == {"blog.Post": 1}
    assert plan["anonymised"] == {"admin.LogEntry": 1}
    assert told["dry_run"]["plan"] == plan
    assert told["purge_dry_run"]["subjects"][0]["rows"] == {**ROWS, "sessions.Session": 2}
    assert {"blog.Upload", "auth.User", "audit.AuditEvent"} <= set(told["map"])


def test_a_deletion_can_be_taken_back_and_the_desk_shows_it(told: dict[str, Any]) -> None:
    assert (told["login_while_deleted"], told["login_when_restored"]) == (False, True)
    assert set(told["desk_before"] + told["desk_after"]) == {200}
    assert {tuple(to) for _, to in told["mails"]} == {("Alice@example.com",)}


def test_the_export_holds_the_rows_and_the_file(told: dict[str, Any]) -> None:
    assert "data/blog.post.json" in told["exported"]
    assert [name for name in told["exported"] if name.startswith("files/")] == [
        f"files/blog.upload/{pk}/file/Alice.txt" for pk in [2]
    ]


def test_the_purge_takes_the_author_and_leaves_the_bystander_alone(told: dict[str, Any]) -> None:
    assert told["purge"]["subjects"][0]["rows"] == {**ROWS, "sessions.Session": 2}
    assert told["purge_again"]["subjects"] == []
    assert told["sweep"]["failed"] == {}
    assert told["state"] == "completed"
    assert (told["file_before"], told["file_after"]) == (True, False)
    assert len(told["gone"]) == sum(ROWS.values())
    assert told["changed"] == ["blog.Post 3"], "his post, of which she was the editor"
    assert told["log"] == ["erased"]
    assert json.loads(told["residue"])["found"] is False
    assert told["comments_left"] == ["Left no address."]
    assert told["users_left"] == ["staff"]


def test_the_ledger_knows_and_the_receipt_verifies_offline(told: dict[str, Any]) -> None:
    assert told["ledger"][-2:] == ["intent", "done"]
    assert told["keys_served"]
    file = str(told["folder"] / "receipt.jws")
    nowhere = "postgres://nobody@127.0.0.1:1/nothing"
    shown = json.loads(run(told["folder"], nowhere, "django", "verify_receipt", file, "--json"))
    assert shown["valid"]
    assert shown["claims"]["sub"] == f"author:{told['subject']}"
    assert shown["claims"]["removed"] == {**ROWS, "sessions.Session": 2}


def test_a_number_becomes_an_id_of_one_kind_only() -> None:
    author, shop = spell_number("author", 5), spell_number("shop", 5)
    assert author != shop
    assert author.version == 8
    assert number_of("author", author) == 5
    assert number_of("author", shop) > 2**64, "a key that no row has"
    for wrong in (-1, 2**62):
        with pytest.raises(ValueError, match="no key"):
            spell_number("author", wrong)
