"""Checkpoints leave the machine, at least once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.db.models.expressions import RawSQL
from django.test import override_settings
from django.utils import timezone

from audit import notes, publishing, signers
from audit.models import Checkpoint, EventDetail, Publication, Tile, TreeHead
from audit.publishing import Publisher, count_behind, publish, register_publishers
from audit.sealing import seal
from audit.tasks import seal_and_publish, seal_audit_log
from audit.tiles import HASH
from audit.verifying import Kept, verify
from erasure import checkpoints
from erasure.checkpoints import publishers, read_kept
from erasure.clocks import sweep
from erasure.health import check_audit
from erasure.ledger import _open
from erasure.ledgerfile import write_safely
from erasure.worker import Sealer
from tests.audit.logs import events, make_people, verdict, write_log
from tests.commands.shell import run
from tests.databases import triggers_off

pytestmark = pytest.mark.django_db


def write(count: int = 3) -> None:
    write_log(make_people(1), count)


@pytest.fixture(params=["file", "storage"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A ledger to keep checkpoints beside; returns their folder."""
    _open.cache_clear()
    settings.AUDIT_PUBLISH_EVERY = timedelta()
    settings.ERASURE_LEDGER = str(tmp_path / "erasures.jsonl")
    if request.param == "storage":
        settings.STORAGES = {
            **settings.STORAGES,
            "ledger": {
                "BACKEND": "django.core.files.storage.FileSystemStorage",
                "OPTIONS": {"location": str(tmp_path)},
            },
        }
        settings.ERASURE_LEDGER = "ledger"
    yield tmp_path / "checkpoints"
    _open.cache_clear()


def test_they_go_to_where_the_ledger_lies_and_are_read_again(ledger: Path) -> None:
    write()
    assert seal_and_publish()["unpublished"] == []
    write()
    seal_and_publish()
    seal_and_publish()
    files = sorted(ledger.glob("*.txt"))
    assert [it.name[:16] for it in files] == ["000000000000003-", "000000000000006-"]
    for file, row in zip(files, Checkpoint.objects.all(), strict=True):
        assert notes.open_note(file.read_text(), signers.verifiers()).size == row.size
        assert file.read_text() == row.note
    assert [note for _, note in read_kept()] == [it.read_text() for it in files]
    code, out = run("verify_audit_log")
    assert (code, "No checkpoint from elsewhere" in out) == (0, False)
    with triggers_off():
        Checkpoint.objects.filter(size=6).delete()
        code, out = run("verify_audit_log", "--no-kept", "--json")
        assert (code, '"code": "beyond"' in out) == (1, True)
        code, out = run("verify_audit_log", "--since", str(files[1]))
        assert (code, out.splitlines()[-1][:4]) == (1, "BAD:")


def cut(size: int) -> None:
    """Bring a log of one tile back to an earlier size, as a superuser or an older backup does."""
    with triggers_off():
        gone = events().filter(sealed_seq__gte=size)
        EventDetail.objects.filter(event_id__in=list(gone.values_list("pk", flat=True))).delete()
        gone.delete()
        Checkpoint.objects.filter(size__gt=size).delete()
        Tile.objects.update(hashes=bytes(Tile.objects.get().hashes)[: size * HASH])
        TreeHead.objects.update(size=size)
        Publication.objects.update(size=size)


def verdict_with_kept() -> tuple[str, int | None] | None:
    return verdict(*(Kept(*it) for it in read_kept()))


def test_a_log_that_has_grown_to_the_same_size_again_overwrites_no_checkpoint(ledger: Path) -> None:
    write()
    seal_and_publish()
    write()
    seal_and_publish()
    before = {it: it.read_text() for it in ledger.glob("*.txt")}
    cut(3)
    assert verdict_with_kept() == ("truncated", 3)
    write()
    assert seal_and_publish()["size"] == 6
    assert verdict_with_kept() == ("root", 3)
    after = {it: it.read_text() for it in ledger.glob("*.txt")}
    assert len(after) == 3
    assert before.items() <= after.items()
    assert sorted(note for _, note in read_kept()) == sorted(after.values())


def test_of_old_checkpoints_those_are_read_that_the_log_does_not_hold(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        write()
        seal_and_publish()
    cut(3)
    for _ in range(3):
        write()
        seal_and_publish()
    monkeypatch.setattr(checkpoints, "KEPT", 1)
    sizes = [int(note.split("\n")[1]) for _, note in read_kept()]
    assert sizes == [6, 12], "the other six, and the newest"
    assert verdict_with_kept() == ("root", 3)


def test_a_size_that_is_no_number_holds_nothing_back(ledger: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    for size in (3, 6):
        write()
        assert seal_and_publish()["size"] == size
        Publication.objects.update(size=RawSQL("'x'", ()))
    assert len(list(ledger.glob("*.txt"))) == 2


def test_publishers_at_once_lose_no_checkpoint_of_the_same_size(ledger: Path) -> None:
    (publisher,) = publishers()
    notes = [f"log\n6\n{n % 4}\n" for n in range(16)]
    with ThreadPoolExecutor(len(notes)) as pool:
        list(pool.map(publisher.publish, [6] * len(notes), notes))
    assert {note for _, note in read_kept()} == set(notes)
    assert not [it for it in ledger.iterdir() if it.suffix != ".txt"]


def test_a_file_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_safely(file, "first")
    write_safely(file, "second")
    assert [(it, it.read_text()) for it in tmp_path.iterdir()] == [(file, "first")]


def test_a_checkpoint_that_was_mailed_is_taken_as_a_mail_program_saves_it(
    tmp_path: Path, settings: Any
) -> None:
    settings.AUDIT_MAILS = ["auditor@example.com"]
    write()
    seal_and_publish()
    write()
    seal_and_publish()
    # Once a day, however often something is sealed.
    (sent,) = mail.outbox
    assert sent.to == ["auditor@example.com"]
    file = tmp_path / "mail.txt"
    file.write_text(str(sent.body).replace("\n", "\r\n"), newline="")
    code, out = run("verify_audit_log", "--since", str(file))
    assert (code, out.splitlines()[-1]) == (0, "Good: 6 sealed events are what was sealed.")
    file.write_text("no checkpoint")
    assert run("verify_audit_log", "--since", str(file))[0] == 2
    assert run("verify_audit_log", "--since", str(tmp_path / "missing"))[0] == 2


def test_they_are_posted_to_webhooks(settings: Any) -> None:
    bodies: list[bytes] = []

    class Taker(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Taker)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        settings.AUDIT_WEBHOOKS = [f"http://127.0.0.1:{server.server_port}/"]
        write()
        assert seal_and_publish()["unpublished"] == []
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
    assert bodies == [Checkpoint.objects.get().note.encode()]


def test_a_publisher_that_fails_gets_the_newest_at_the_next_seal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []
    is_down = True

    def take(size: int, note: str) -> None:
        if is_down:
            raise OSError
        taken.append(size)

    monkeypatch.setattr(publishing, "_publishers", {})
    register_publishers("test", lambda: [Publisher("down", take), Publisher("up", _take_any)])
    write()
    assert seal_and_publish()["unpublished"] == ["down"]
    assert Publication.objects.get(name="down").error == "OSError"
    assert Publication.objects.get(name="up").size == 3
    assert check_audit(timezone.now()).text.startswith("warning: a checkpoint")
    write()
    is_down = False
    assert seal_audit_log.func()["unpublished"] == []
    assert taken == [6]
    assert check_audit(timezone.now()).text == "ok"
    assert publish(now=timezone.now()) == {}
    assert taken == [6]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that somebody was given who wants one a day."""
    sizes: list[int] = []

    def take(size: int, note: str) -> None:
        sizes.append(size)

    monkeypatch.setattr(publishing, "_publishers", {})
    register_publishers("test", lambda: [Publisher("taker", take, timedelta(days=1))])
    write()
    seal_and_publish()
    return sizes


GARBAGE = {
    "words": ("note", "'garbage'"),
    "another size": ("size", "7"),
    "nothing": ("note", "''"),
    "bytes": ("note", "X'ff'"),
    "bytes as text": ("note", "CAST(X'ff' AS TEXT)"),
    "a size that is none": ("size", "'x'"),
    "a part": ("size", "6.5"),
}
"""What somebody may write over the newest checkpoint, the last four where columns have no types."""


@pytest.mark.parametrize("name", GARBAGE)
def test_what_the_service_did_not_sign_leaves_nowhere_and_is_told(
    taken: list[int], name: str
) -> None:
    column, value = GARBAGE[name]
    if connection.vendor != "sqlite" and name in list(GARBAGE)[3:]:
        pytest.skip("columns have types there")
    write()
    now = timezone.now() + timedelta(days=2)
    seal(now=now)
    genuine = Checkpoint.objects.values("size", "at", "note").get(size=6)
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE audit_checkpoint SET {column} = {value} WHERE size = 6")
        assert list(publish(now=now)) == ["taker"]
        assert taken == [3]
        noted = Publication.objects.get()
        assert (noted.size, bool(noted.error), count_behind()) == (3, True, 1)
        cursor.execute("DELETE FROM audit_checkpoint WHERE size <> 3")
        Checkpoint.objects.create(**genuine)
    assert publish(now=now) == {}
    assert (taken, count_behind()) == ([3, 6], 0)


def test_a_size_that_is_ahead_of_the_log_is_told_and_holds_nothing_back(taken: list[int]) -> None:
    now = timezone.now()
    assert count_behind() == 0
    Publication.objects.update(size=10**12)
    assert check_audit(now).text.startswith("warning: a checkpoint")
    write()
    seal(now=now)
    assert publish(now=now) == {}
    assert taken == [3, 6]
    assert Publication.objects.get().size == 6
    assert check_audit(now).text == "ok"
    with triggers_off():
        Publication.objects.update(size=1)
        Checkpoint.objects.all().delete()
    assert count_behind() == 1
    assert publish(now=now) == {}


def test_a_size_that_is_behind_is_overtaken_at_its_time(taken: list[int]) -> None:
    now = timezone.now()
    Publication.objects.update(size=1, at=now - timedelta(hours=23))
    publish(now=now)
    assert taken == [3]
    publish(now=now + timedelta(hours=1))
    assert taken == [3, 3]
    publish(now=now + timedelta(days=9))
    assert taken == [3, 3]


def test_a_time_that_lies_ahead_holds_nothing_back(taken: list[int]) -> None:
    write()
    now = timezone.now()
    seal(now=now)
    Publication.objects.update(at=now + timedelta(days=1000))
    assert publish(now=now) == {}
    assert taken == [3, 6]
    assert Publication.objects.get().at == now


def test_a_time_that_is_none_holds_nothing_back(taken: list[int]) -> None:
    write()
    now = timezone.now()
    seal(now=now)
    never = "infinity" if connection.vendor == "postgresql" else "never"
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_publication SET at = %s", [never])
    assert publish(now=now) == {}
    assert taken == [3, 6]
    assert Publication.objects.get().at == now


def test_one_that_fails_while_its_time_lies_ahead_is_noted(taken: list[int]) -> None:
    write()
    now = timezone.now()
    seal(now=now)
    Publication.objects.update(at=now + timedelta(days=1000))

    def fail(size: int, note: str) -> None:
        raise OSError

    register_publishers("test", lambda: [Publisher("taker", fail)])
    assert publish(now=now) == {"taker": "OSError"}
    noted = Publication.objects.get()
    assert (noted.size, noted.error) == (3, "OSError")


def _take_any(size: int, note: str) -> None:
    pass


def test_a_sweep_seals_and_a_worker_does_so_more_often() -> None:
    write()
    now = timezone.now()
    assert sweep(now=now, execute=False).done["audit"] == {"sealed": 3}
    assert sweep(now=now, execute=True).done["audit"] == {"sealed": 3, "unpublished": 0}
    write()
    with override_settings(AUDIT_SEAL_EVERY=timedelta(hours=1)):
        Sealer().run()
    assert Checkpoint.objects.count() == 1
    with override_settings(AUDIT_SEAL_EVERY=timedelta()):
        Sealer().run()
    assert verify([Kept("x", Checkpoint.objects.all()[1].note)]).size == 6


def test_a_log_that_cannot_be_sealed_keeps_a_worker_from_nothing_else() -> None:
    write()
    seal(now=timezone.now())
    write()
    with triggers_off():
        Checkpoint.objects.update(note="")
    with override_settings(AUDIT_SEAL_EVERY=timedelta()):
        Sealer().run()
    assert run("seal_audit_log")[0] == 1
    assert run("seal_audit_log", "--dry-run")[1] == "3 events to be sealed.\n"
    later = timezone.now() + timedelta(hours=1)
    with override_settings(ERASURE_SWEEP_EXPECTED=True):
        assert check_audit(later).text == "warning: events of the audit log wait to be sealed"


def test_a_head_that_is_not_the_newest_checkpoints_is_told_at_once() -> None:
    now = timezone.now()
    assert check_audit(now).text == "ok"
    write()
    seal(now=now)
    assert check_audit(now).text == "ok"
    for change in (lambda: TreeHead.objects.update(size=2), TreeHead.objects.all().delete):
        change()
        assert check_audit(now).text == (
            "warning: nothing of the audit log can be sealed: run manage.py verify_audit_log"
        )
