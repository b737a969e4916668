"""The ledger as a file and in a storage: appended whole, on disk before the rows go, read back."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from erasure.exceptions import LedgerUnavailable
from erasure.executor import erase_locked
from erasure.ledger import Entry, Ledger, NoLedger, born_text, open_ledger
from erasure.ledgerfile import FileLedger
from erasure.ledgerstorage import StorageLedger
from erasure.subjects import lock_subject
from tests.bystanders import charlie_untouched
from tests.deployment.shell import ROOT, environment
from tests.factories import UserFactory
from tests.ledgers import a_ledger, entry

ALIAS = "ledger-of-the-tests"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger" / "erasures.jsonl"


@pytest.fixture
def file(path: Path) -> FileLedger:
    return FileLedger(path)


@pytest.fixture(params=["file", "storage"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    storages = {ALIAS: {**backend, "OPTIONS": {"location": str(tmp_path / "bucket")}}}
    with override_settings(STORAGES=storages):
        yield FileLedger(tmp_path / "l.jsonl") if request.param == "file" else StorageLedger(ALIAS)


def told(ledger: Ledger, position: int = 0) -> list[Entry]:
    return [each for _, each in ledger.read(position)]


def test_what_is_written_is_read_back(ledger: Ledger) -> None:
    first, second, third = entry(), entry(), entry("restored", kind="organization", born="")
    ledger.intend([first, second])
    ledger.finish([first])
    ledger.finish([second], "void")
    ledger.intend([third])
    assert told(ledger) == [
        first,
        second,
        first._replace(state="done"),
        second._replace(state="void"),
        third,
    ]


def test_a_reader_goes_on_from_where_it_was(ledger: Ledger) -> None:
    ledger.intend([entry(), entry()])
    position = max(reached for reached, _ in ledger.read())
    assert position == ledger.end()
    late = entry()
    ledger.intend([late])
    # A storage may repeat what lies shortly before: clocks differ.
    assert told(ledger, position)[-1] == late
    if isinstance(ledger, FileLedger):
        assert told(ledger, position) == [late]


def test_a_ledger_names_itself_once(ledger: Ledger) -> None:
    assert ledger.identity == ""
    identity = ledger.create()
    assert UUID(identity)
    ledger.intend([entry()])
    assert ledger.create() == ledger.identity == identity


def test_an_empty_batch_makes_no_ledger(ledger: Ledger) -> None:
    ledger.intend([])
    ledger.finish([])
    assert (ledger.identity, ledger.end(), told(ledger)) == ("", 0, [])


def test_a_line_is_json_and_holds_opaque_ids_only(file: FileLedger, path: Path) -> None:
    made = entry()
    file.intend([made])
    line = json.loads(path.read_text().splitlines()[1])
    assert line.pop("sum")
    assert line == {
        "state": "intent",
        "id": str(made.id),
        "at": made.at.isoformat(),
        "kind": "user",
        "subject": str(made.subject_id),
        "born": made.born,
        "deletion": str(made.deletion_id),
        "generation": 1,
    }


def test_the_file_is_its_owners_alone(file: FileLedger, path: Path) -> None:
    file.create()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["erasures.jsonl"]


def test_a_torn_line_costs_nobody_elses(file: FileLedger, path: Path) -> None:
    whole, torn, later = entry(), entry(), entry()
    file.intend([whole])
    size = file.end()
    file.intend([torn])
    for cut in range(size + 1, path.stat().st_size - 1):
        with path.open("r+b") as raw:
            raw.truncate(cut)
        assert told(file) == [whole], "a line without its end is not there yet"
        file.intend([later])
        assert told(file) == [whole, later]
        with path.open("r+b") as raw:
            raw.truncate(size)
        file.intend([torn])


def test_a_damaged_line_is_left_out(file: FileLedger, path: Path) -> None:
    file.intend([entry(), entry()])
    lines = path.read_bytes().splitlines(keepends=True)
    for place in range(len(lines[1]) - 1):
        bad = bytearray(lines[1])
        bad[place] ^= 1
        path.write_bytes(lines[0] + bytes(bad) + lines[2])
        assert len(told(file)) == (0 if bad[place] == 10 and place == 0 else 1)


def test_a_full_disk_leaves_nothing_half_written(
    file: FileLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.intend([entry()])
    before = path.read_bytes()
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        if len(data) < 500:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:100])

    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(LedgerUnavailable):
        file.intend([entry(), entry(), entry()])
    assert path.read_bytes() == before


def test_a_batch_waits_for_the_disk_once_and_its_end_never(
    file: FileLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.create()
    waits: list[int] = []
    fsync = os.fsync

    def wait(descriptor: int) -> None:
        waits.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    batch = [entry() for _ in range(500)]
    file.intend(batch)
    assert len(waits) == 1
    file.finish(batch)
    assert len(waits) == 1


def test_a_new_ledger_and_its_folder_are_on_disk_before_it_is_used(
    file: FileLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    file.create()
    assert len(synced) == 2
    assert Path(synced[0]).name.startswith(".erasures.jsonl.")
    assert synced[1] == str(path.parent)


APPEND_MANY = """
import sys, django
django.setup()
from pathlib import Path
from erasure.ledgerfile import FileLedger
from tests.ledgers import entry
ledger = FileLedger(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    ledger.intend([entry(generation=int(sys.argv[2])) for _ in range(5)])
"""


def test_processes_append_beside_each_other(path: Path) -> None:
    env = environment(DJANGO_SETTINGS_MODULE="config.settings")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND_MANY, str(path), str(number)],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, 5)
    ]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=120)
        assert worker.returncode == 0
    entries = told(FileLedger(path))
    assert len(entries) == 800
    assert len({each.id for each in entries}) == 800
    # Batches stay together: five in a row are always of one writer.
    assert all(len({e.generation for e in entries[n : n + 5]}) == 1 for n in range(0, 800, 5))


def test_a_ledger_that_vanishes_is_not_begun_anew(file: FileLedger, path: Path) -> None:
    file.intend([entry()])
    path.unlink()
    with pytest.raises(LedgerUnavailable):
        file.intend([entry()])
    assert not path.exists()
    FileLedger(path).create()
    with pytest.raises(LedgerUnavailable):
        file.intend([entry()])


def test_a_ledger_that_lost_its_end_says_so(file: FileLedger) -> None:
    file.intend([entry()])
    with pytest.raises(LedgerUnavailable):
        told(file, file.end() + 1)


def test_a_folder_in_the_files_place_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable):
        FileLedger(tmp_path).intend([entry()])


def test_objects_are_named_by_time_and_never_written_twice(tmp_path: Path) -> None:
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    storages = {ALIAS: {**backend, "OPTIONS": {"location": str(tmp_path)}}}
    with override_settings(STORAGES=storages):
        ledger = StorageLedger(ALIAS)
        written: dict[str, str] = {}
        for _ in range(3):
            ledger.intend([entry()])
            found = {str(each.relative_to(tmp_path)): each for each in tmp_path.rglob("*.jsonl")}
            assert all(found[name].read_text() == text for name, text in written.items())
            new = sorted(found.keys() - written.keys())
            assert len(new) == 1
            assert new > sorted(written)[-1:]
            assert new[0].startswith(f"{datetime.now(UTC):%Y/%m}")
            written[new[0]] = found[new[0]].read_text()


def test_no_ledger_takes_everything_and_keeps_nothing() -> None:
    with override_settings(ERASURE_LEDGER=""):
        ledger = open_ledger()
    assert isinstance(ledger, NoLedger)
    assert not ledger
    ledger.intend([entry()])
    ledger.finish([entry()])
    assert (told(ledger), ledger.end(), ledger.create(), ledger.has_grown(0)) == ([], 0, "", False)


def test_the_setting_names_a_file_or_a_storage(tmp_path: Path) -> None:
    storages = {ALIAS: {"BACKEND": "django.core.files.storage.InMemoryStorage"}}
    with override_settings(STORAGES=storages, ERASURE_LEDGER=ALIAS):
        ledger = open_ledger()
        assert str(ledger) == f"storage {ALIAS}"
        ledger.intend([entry()])
        assert len(told(ledger)) == 1
    with override_settings(ERASURE_LEDGER=str(tmp_path / "x")):
        assert str(open_ledger()) == str(tmp_path / "x")


def erase(user: User) -> None:
    subject = Reference("user", user.pk)
    with transaction.atomic():
        instance = lock_subject(subject)
        assert instance is not None
        erase_locked(
            actor=Actor.system("test"), subject=subject, instance=instance, now=timezone.now()
        )


@pytest.mark.django_db(transaction=True)
def test_an_erasure_is_in_the_ledger_before_its_rows_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = UserFactory()
    seen: list[tuple[bool, bool]] = []
    fsync = os.fsync
    with a_ledger(tmp_path) as ledger, charlie_untouched():
        ledger.create()

        def look(descriptor: int) -> None:
            fsync(descriptor)
            on_disk = str(alice.pk) in (tmp_path / "ledger" / "erasures.jsonl").read_text()
            seen.append((on_disk, User.objects.filter(pk=alice.pk).exists()))

        monkeypatch.setattr(os, "fsync", look)
        erase(alice)
        assert seen == [(True, True)]
        assert not User.objects.filter(pk=alice.pk).exists()
        assert [(e.state, e.subject_id, e.born) for e in told(ledger)] == [
            ("intent", alice.pk, born_text(alice.date_joined)),
            ("done", alice.pk, born_text(alice.date_joined)),
        ]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_erased_when_the_ledger_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    alice = UserFactory()
    with a_ledger(tmp_path) as ledger, charlie_untouched():
        ledger.create()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(LedgerUnavailable):
                erase(alice)
        assert User.objects.filter(pk=alice.pk).exists()
        assert "done" not in [each.state for each in told(ledger)]
        erase(alice)
        assert not User.objects.filter(pk=alice.pk).exists()
