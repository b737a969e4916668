"""Dump, erase, restore under a running service, replay: gone again, and nobody readable meanwhile.

Clients ask for the erased without a pause, from before the restore until after the replay. The
control shows that they would have seen them: with no ledger, they do.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.servers import ROOT, Live, run_manage, serve
from tests.proofs import backups
from tests.proofs.sizes import BACKUPS

WAYS: dict[str, tuple[str, Callable[[Live, Path], backups.Restore]]] = {
    "sqlite-into-the-file": ("sqlite", backups.write_into_file),
    "postgresql-template": ("postgresql", backups.copy_as_template),
    "postgresql-in-place": ("postgresql", backups.load_in_place),
    "postgresql-dump": ("postgresql", backups.dump_and_load),
}
every_way = pytest.mark.parametrize("way", WAYS)

MAKE = """
import json, sys, django
django.setup()
from tests.factories import SessionFactory, UserFactory, give_key
people = []
for number in range(int(sys.argv[1])):
    user = UserFactory(username=f"erased{number}")
    SessionFactory(user=user, session_key=f"erased{number}")
    people.append({"id": str(user.pk), "key": give_key(user)})
print(json.dumps(people))
"""
ERASE = """
import json, sys, django
from datetime import timedelta
django.setup()
from django.core.management import call_command
from django.utils import timezone
from accounts.models import User
from erasure.models import DeletionRequest
ids, now = json.load(sys.stdin), timezone.now()
User.objects.filter(pk__in=ids).update(is_active=False, is_deleted=True, deleted_at=now)
DeletionRequest.objects.bulk_create(
    DeletionRequest(
        subject_kind="user", subject_id=pk, channel="test", requested_by_kind="user",
        requested_at=now - timedelta(days=20), due_at=now - timedelta(days=1),
    )
    for pk in ids
)
call_command("purge_accounts", execute=True)
"""
FAST = {"THROTTLE_CREDENTIAL": "100000/sec", "THROTTLE_FAILED_AUTHENTICATION": "100000/sec"}


@dataclass
class Readers:
    """Clients that ask for people without a pause, and what they were answered."""

    base: str
    keys: list[str]
    seen: list[tuple[int, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def read(self, keys: list[str]) -> None:
        session = requests.Session()
        while not self.stop.is_set():
            for key in keys:
                try:
                    self.seen.append(ask(self.base, key, session))
                except requests.RequestException:
                    session = requests.Session()

    @property
    def shown(self) -> list[str]:
        return [text for status, text in self.seen if status == 200]


def ask(base: str, key: str, session: Any = requests) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"}
    answer = session.get(f"{base}/v1/api-keys", headers=headers, timeout=60)
    return answer.status_code, answer.text


def statuses(base: str, keys: list[str]) -> set[int]:
    return {ask(base, key)[0] for key in keys}


@contextmanager
def reading(base: str, keys: list[str]) -> Iterator[Readers]:
    readers = Readers(base, keys)
    threads = [threading.Thread(target=readers.read, args=(keys[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield readers
    finally:
        readers.stop.set()
        for thread in threads:
            thread.join(120)


def run_code(live: Live, code: str, *arguments: str, given: str = "") -> str:
    env = {**live.env, "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=env,
        input=given,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(live: Live, ids: list[str]) -> int:
    names = ", ".join(f"'{pk.replace('-', '')}'" for pk in ids)
    key = "replace(CAST(id AS text), '-', '')"
    return int(live.rows(f"SELECT count(*) FROM accounts_user WHERE {key} IN ({names})")[0][0])


def all_rows_of(live: Live, table: str) -> set[Any]:
    return set(live.rows(f"SELECT * FROM {table}"))


@BACKUPS
@every_way
def test_a_restored_backup_brings_nobody_back(way: str, size: int, tmp_path: Path) -> None:
    vendor, back_up = WAYS[way]
    ledger = tmp_path / "ledger" / "erasures.jsonl"
    with serve(vendor, tmp_path, ERASURE_LEDGER=str(ledger), **FAST) as live:
        people = json.loads(run_code(live, MAKE, str(size)))
        ids, keys = [it["id"] for it in people], [it["key"] for it in people]
        charlie = live.world["users"]["charlie"]["api_key"]
        assert statuses(live.base, [*keys, charlie]) == {200}

        restore = back_up(live, tmp_path)
        run_code(live, ERASE, given=json.dumps(ids))
        assert rows_of(live, ids) == 0
        others = all_rows_of(live, "accounts_user")
        with reading(live.base, keys) as readers:
            restore()
            assert rows_of(live, ids) == size, "they are in the database again"
            assert statuses(live.base, [*keys, charlie]) == {503}
            ready = requests.get(f"{live.base}/readyz", timeout=60)
            assert ready.status_code == 503
            assert "manage.py replay_erasures --execute" in ready.text
            done = json.loads(run_manage(live.env, "replay_erasures", "--execute", "--json"))
            assert len(done["erased"]) == size
            assert (done["failed"], done["current"]) == ([], True)
            assert statuses(live.base, keys) == {401}
        assert readers.shown == [], "somebody who was erased could be read"
        assert {503} <= {status for status, _ in readers.seen}
        assert rows_of(live, ids) == 0
        assert ask(live.base, charlie)[0] == 200
        assert all_rows_of(live, "accounts_user") == others
        again = json.loads(run_manage(live.env, "replay_erasures", "--execute", "--json"))
        assert again["erased"] == []


@pytest.mark.parametrize("way", ["sqlite-into-the-file", "postgresql-in-place"])
def test_without_a_ledger_they_would_be_read(way: str, tmp_path: Path) -> None:
    vendor, back_up = WAYS[way]
    with serve(vendor, tmp_path, **FAST) as live:
        people = json.loads(run_code(live, MAKE, "4"))
        ids, keys = [it["id"] for it in people], [it["key"] for it in people]
        assert statuses(live.base, keys) == {200}
        restore = back_up(live, tmp_path)
        run_code(live, ERASE, given=json.dumps(ids))
        with reading(live.base, keys) as readers:
            restore()
            assert statuses(live.base, keys) == {200}
        assert readers.shown
