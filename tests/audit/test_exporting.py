"""Exports and proofs that hold without the database, and fall when they are touched."""

import json
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import Client, override_settings
from django.utils import timezone

from audit import exporting, notes, offline
from audit.actors import Actor
from audit.events import Reference, record
from audit.exporting import export
from audit.forgetting import forget_events, redact_person
from audit.merkle import EMPTY_ROOT
from audit.models import AuditEvent, Checkpoint, EventDetail, Tile, TreeHead
from audit.proving import NotSealed, prove
from audit.querying import Wanted
from audit.sealing import Sealed
from audit.signers import signer, verifiers
from audit.tiles import Tiles
from audit.verifying import verify
from erasure import signing
from tests.audit.logs import at, elsewhere, make_people, newest, seal_all, write_log
from tests.audit.test_vouching import forge
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import finished

pytestmark = pytest.mark.django_db


def save(path: Path, *args: Any, **kwargs: Any) -> Path:
    path.write_text("".join(export(*args, **kwargs)))
    return path


def check(path: Path, *since: str) -> offline.Checked:
    return offline.check(path, verifiers(), since)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def erase_logs_of(person: UUID) -> int:
    """Erase a person's values and say so, both unsealed; return how many there were."""
    with transaction.atomic():
        erased = redact_person(person)
        record(
            "user.logs_erased",
            actor=Actor.system("test"),
            subject=Reference("user", person),
            now=timezone.now(),
        )
    return erased


def key() -> str:
    return str(signer().verifier)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.jsonl"


def test_a_whole_export_holds(file: Path) -> None:
    write_log(make_people(4), 30)
    old = seal_all(batch=13).note
    write_log(make_people(1), 7)
    seal_all()
    done = check(save(file, with_details=True), old)
    assert (done.events, done.values, done.erased) == (37, 16 + 7 + 4 + 2, 0)
    assert done.checkpoint.size == 37
    assert check(save(file), old).values == 0


def test_a_part_of_it_holds_and_shows_nothing_of_the_rest(file: Path) -> None:
    people = make_people(4)
    write_log(people, 600)
    seal_all()
    record(
        "alone",
        actor=Actor.system("test"),
        subject=Reference("user", people[0]),
        now=timezone.now(),
    )
    write_log(people, 50)
    seal_all()
    for wanted, events in ((Wanted(action="alone"), 1), (Wanted(actor_id=people[1]), 163)):
        done = check(save(file, wanted))
        assert (done.events, done.checkpoint.size) == (events, 651)
    save(file, Wanted(action="alone"))
    assert len(lines_of(file)) == 4
    assert "user.seen" not in file.read_text()
    assert check(save(file, Wanted(action="nothing"))).events == 0


def test_whatever_is_changed_in_an_export_is_found(file: Path) -> None:
    write_log(make_people(4), 40)
    seal_all()
    good = lines_of(save(file, with_details=True))

    def bad(change: Any) -> str:
        lines = json.loads(json.dumps(good))
        change(lines)
        with pytest.raises(offline.Bad) as found:
            check(write_lines(file, lines))
        return str(found.value)

    assert check(write_lines(file, good)).events == 40
    assert "was signed" in bad(lambda it: it[3]["event"].update(action="other"))
    assert "another address" in bad(lambda it: it[2]["details"]["address"].update(value="x"))
    assert "nothing says why" in bad(lambda it: it[2].pop("details"))
    assert "position 6 is missing" in bad(lambda it: it.pop(7))
    assert "ends after 39" in bad(lambda it: it.pop())
    assert "changed after it was signed" in bad(
        lambda it: it[0].update(checkpoint=it[0]["checkpoint"].replace("\n40\n", "\n39\n"))
    )
    assert "None of the keys" in bad(
        lambda it: it[0].update(checkpoint=it[0]["checkpoint"].replace("localhost", "other"))
    )
    assert "cannot be read" in bad(lambda it: it[4].pop("event"))
    assert "neither" in bad(lambda it: it[0].update(form="other"))


def test_what_was_erased_and_forgotten_lawfully_is_accounted_for(file: Path) -> None:
    people = make_people(3)
    write_log(people, 40)
    old = seal_all().note
    erased = redact_person(people[0])
    record(
        "user.erased",
        actor=Actor.system("test"),
        subject=Reference("user", people[0]),
        now=timezone.now(),
    )
    gone = AuditEvent.objects.filter(sealed_seq__in=[3, 4, 20]).values_list("pk", flat=True)
    forget_events(list(gone))
    seal_all()
    done = check(save(file, with_details=True), old)
    assert (done.events, done.checkpoint.size) == (39, 42)
    assert 0 < done.erased <= erased
    lines = lines_of(file)
    index = next(n for n, it in enumerate(lines) if "skip" in it)
    assert [it[:2] for it in lines[index]["skip"]] != [[0, 3], [2, 1]]
    told = next(it for it in lines if it.get("event", {}).get("action") == "audit.forgotten")
    assert told["event"]["facts"]["positions"] == [[3, 4], [20, 20]]


def test_what_was_forgotten_a_moment_ago_is_accounted_for(file: Path) -> None:
    write_log(make_people(3), 20, start=timezone.now() - timedelta(days=2000))
    seal_all()
    write_log(make_people(3), 10)
    run("prune_audit_log", "--older-than", "1095", "--execute")
    assert AuditEvent.objects.filter(sealed_seq=None).exists()
    done = check(save(file, with_details=True))
    assert (done.events, done.checkpoint.size, done.events_pending) == (11, 31, 0)
    assert "pending" not in lines_of(file)[0]


def test_what_was_erased_a_moment_ago_is_accounted_for(file: Path) -> None:
    people = make_people(3)
    write_log(people, 20)
    seal_all()
    erased = erase_logs_of(people[0])
    done = check(save(file, with_details=True))
    assert (done.erased, done.values_pending) == (erased, 0)
    assert erased > 0


@pytest.mark.django_db(transaction=True)
def test_what_is_erased_while_the_export_is_read_is_in_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 5)
    people = make_people(3)
    write_log(people, 40)
    seal_all()
    values = EventDetail.objects.count()
    lines = export(with_details=True)
    begun = [next(lines) for _ in range(8)]

    def erase() -> None:
        erase_logs_of(people[0])
        forget_events([at(position).pk for position in (3, 20, 30)])
        seal_all()

    elsewhere(erase)
    file.write_text("".join([*begun, *lines]))
    done = check(file)
    assert (done.events, done.values, done.erased) == (40, values, 0)
    later = check(save(file, with_details=True))
    assert (later.events, later.checkpoint.size) == (39, 42)
    assert later.values + later.erased < values


@pytest.mark.django_db(transaction=True)
def test_an_export_waits_for_a_sealer_that_is_at_work(file: Path) -> None:
    people = make_people(3)
    write_log(people, 8)
    seal_all()
    is_locked = threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                TreeHead.objects.select_for_update().get()
                is_locked.set()
                time.sleep(0.5)
        finally:
            connection.close()

    erase_logs_of(people[0])
    sealer = threading.Thread(target=hold)
    sealer.start()
    assert is_locked.wait(60)
    done = check(save(file, with_details=True))
    sealer.join(60)
    assert (done.checkpoint.size, done.values_pending) == (9, 0)


def test_without_a_seal_what_is_gone_is_told_to_be_under_way(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = make_people(3)
    write_log(people, 40)
    seal_all()
    erased = erase_logs_of(people[0])
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "PATIENCE", 0)
        patch.setattr(exporting, "seal", lambda **_: Sealed(is_busy=True))
        done = check(save(file, with_details=True))
        assert (done.checkpoint.size, done.values_pending) == (40, erased)
        told = AuditEvent.objects.get(action="user.logs_erased")
        forget_events([told.pk, at(4).pk, at(8).pk])
        done = check(save(file, with_details=True))
    assert (done.events_pending, done.values_pending, done.erased) == (3, erased, 0)
    assert offline.main([str(file), "--key", key()]) == offline.OPEN == 3
    out, err = capsys.readouterr()
    assert out.startswith("Good so far: 38 of 41 events")
    assert err.startswith(f"Under way: 3 events and {erased} personal values are gone")
    assert offline.main([str(save(file, with_details=True)), "--key", key()]) == 0


def test_an_erasure_that_goes_on_is_told_to_be_under_way(file: Path) -> None:
    alice, bob, charlie = make_people(3)
    write_log([alice, bob, charlie], 40)
    seal_all()
    erased = redact_person(alice)
    with pytest.raises(offline.Bad, match="nothing says why"):
        check(save(file, with_details=True))
    finished(
        ago=timedelta(),
        subject_id=alice,
        state="running",
        finished_at=None,
        cursor={"begun": True, "intent": "1"},
    )
    done = check(save(file, with_details=True))
    assert (done.values_pending, done.erased) == (erased, 0)
    assert lines_of(file)[0]["pending"] == {"people": [str(alice)], "positions": [], "bare": []}
    # It is nobody's business but theirs who see the whole log.
    assert "pending" not in lines_of(save(file, Wanted(actor_id=bob)))[0]
    assert check(save(file)).values_pending == 0
    with triggers_off():
        EventDetail.objects.filter(person_id=charlie).delete()
    with pytest.raises(offline.Bad, match="nothing says why"):
        check(save(file, with_details=True))


def test_what_cannot_be_sealed_does_not_keep_the_rest_from_being_exported(file: Path) -> None:
    write_log(make_people(2), 6)
    seal_all()
    forge("user.erased", make_people(1)[0])
    forge("audit.forgotten", positions=[[0, 3]])
    assert check(save(file)).events == 6
    # What nobody vouches for accounts for nothing.
    assert "pending" not in lines_of(file)[0]
    write_log(make_people(2), 2)
    tile = Tile.objects.get()
    with triggers_off():
        Tile.objects.update(hashes=bytes(32) + bytes(tile.hashes)[32:])
    assert check(save(file)).events == 6
    with override_settings(AUDIT_SIGNING_KEY="none"):
        assert len(list(export())) == 7


@pytest.mark.django_db(transaction=True)
def test_whoever_stops_reading_leaves_no_transaction_behind() -> None:
    write_log(make_people(2), 6)
    lines = export()
    assert [next(lines) for _ in range(3)]
    lines.close()
    assert not connection.in_atomic_block
    elsewhere(lambda: write_log(make_people(2), 2))
    assert seal_all().note


def sign_root(size: int, root: bytes = bytes(32)) -> str:
    """Return a checkpoint by the log's own key: by default one of another history."""
    own = signer()
    return own.sign(notes.Checkpoint(own.name, size, root, timezone.now()))


def root_at(size: int) -> bytes:
    return Tiles().range(size).root()


def is_bad(path: Path, *since: str) -> bool:
    with pytest.raises(offline.Bad, match=r"^The first [0-9]+ events are not those of the older"):
        check(path, *since)
    return True


def test_an_older_checkpoint_of_another_history_is_found(file: Path) -> None:
    write_log(make_people(4), 20)
    seal_all(batch=7)
    for wanted in (Wanted(), Wanted(action="user.changed"), Wanted(action="nothing")):
        save(file, wanted)
        genuine = list(Checkpoint.objects.values_list("size", "note"))
        assert [size for size, _ in genuine] == [7, 14, 20]
        assert check(file, *(note for _, note in genuine)).not_compared == []
        assert all(is_bad(file, sign_root(size)) for size, _ in genuine)
        assert is_bad(file, sign_root(0))
        assert check(file, sign_root(0, EMPTY_ROOT)).not_compared == []


def test_a_checkpoint_within_what_is_left_out_is_said_not_to_be_compared(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(make_people(4), 20)
    seal_all(batch=10)
    part = Wanted(action="nothing")
    for known in (sign_root(13), sign_root(13, root_at(13))):
        (remark,) = check(save(file, part), known).not_compared
        assert remark.startswith("the checkpoint of 13 events ends within what the file leaves out")
    assert check(save(file, part, kept=[13, 99]), sign_root(13, root_at(13))).not_compared == []
    assert is_bad(file, sign_root(13))
    # Not all checkpoints can be seen to: a log may have as many of them as events.
    monkeypatch.setattr(exporting, "COMPARABLE", 1)
    assert check(save(file, part), sign_root(8)).not_compared
    assert is_bad(save(file, part, kept=[8]), sign_root(8))


def test_a_newer_checkpoint_is_said_not_to_be_compared(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(make_people(4), 20)
    old = seal_all()
    proof = prove(at(3).pk)
    save(file)
    write_log(make_people(4), 5)
    larger = seal_all()
    (remark,) = check(file, old.note, larger.note).not_compared
    assert remark.startswith("the checkpoint of 25 events is newer than the file, which ends after")
    mail = file.with_name("mail")
    mail.write_text(f"Subject: checkpoint\r\n\r\nKeep this.\r\n\r\n{larger.note}")
    for text in (file.read_text(), json.dumps(proof)):
        file.write_text(text)
        assert offline.main([str(file), "--key", key(), "--since", str(mail)]) == offline.OPEN
        out, err = capsys.readouterr()
        assert (out[:12], err) == ("Good so far:", f"Not compared: {remark}.\n")


def test_a_proof_is_compared_with_older_checkpoints(file: Path) -> None:
    write_log(make_people(4), 20)
    old = seal_all()
    write_log(make_people(4), 30)
    seal_all()
    event = at(7).pk

    def save_proof(*kept: int) -> Path:
        file.write_text(json.dumps(prove(event, kept=kept)))
        return file

    assert is_bad(save_proof(), sign_root(50))
    (remark,) = check(file, newest().note, old.note).not_compared
    assert remark.startswith("the proof does not hold what it takes for the checkpoint of 20")
    for size in (1, 16, 20, 33, 49):
        save_proof(0, size, 50, 99)
        assert check(file, sign_root(size, root_at(size))).not_compared == []
        assert is_bad(file, sign_root(size))
    (proof,) = lines_of(save_proof(20))
    proof["grown_from"]["20"].pop()
    assert is_bad(write_lines(file, [proof]), old.note)


def test_the_shell_makes_files_that_a_kept_checkpoint_is_compared_with(file: Path) -> None:
    write_log(make_people(4), 20)
    seal_all()
    known, junk, proof = (file.with_name(it) for it in ("known", "junk", "proof"))
    known.write_text(f"Keep this.\n\n{sign_root(13, root_at(13))}")
    junk.write_text("nothing")
    event = str(at(7).pk)
    part = ("audit_log", "--action", "nothing", "--export")
    compare = ("--key", key(), "--since", str(known))
    run(*part, str(file))
    proof.write_text(run("audit_proof", event)[1])
    for path in (file, proof):
        assert run("verify_audit_export", str(path), *compare)[0] == 3
        assert run("verify_audit_export", str(path), "--key", key(), "--since", str(junk))[0] == 2
        path.unlink()
    run(*part, str(file), "--kept", str(known))
    proof.write_text(run("audit_proof", event, "--kept", str(known))[1])
    for path in (file, proof):
        assert run("verify_audit_export", str(path), *compare)[0] == 0
    known.write_text(sign_root(13))
    for path in (file, proof):
        assert run("verify_audit_export", str(path), *compare)[0] == 1
    assert run("audit_proof", event, "--kept", str(junk))[0] == 2
    assert run(*part, str(proof), "--kept", str(file.with_name("none")))[0] == 2


def test_an_event_is_proved_to_be_in_the_log(file: Path) -> None:
    write_log(make_people(4), 70)
    with pytest.raises(NotSealed):
        prove(AuditEvent.objects.first().pk)  # type: ignore[union-attr]
    seal_all()
    for event in AuditEvent.objects.filter(sealed_seq__in=[0, 1, 33, 69]):
        proof = prove(event.pk)
        file.write_text(json.dumps(proof))
        assert check(file).events == 1
        assert proof["event"]["id"] == str(event.pk)
        file.write_text(json.dumps({**proof, "position": proof["position"] ^ 1}))
        with pytest.raises(offline.Bad, match="not in the log"):
            check(file)


def test_the_keys_that_the_service_shows_are_those_that_checkpoints_are_signed_with(
    file: Path, client: Client, settings: Any
) -> None:
    """Also when they have a key of their own, and after it was replaced."""
    settings.AUDIT_SIGNING_KEY = json.dumps(signing.make_key())
    write_log(make_people(2), 8)
    old = seal_all()
    settings.RECEIPT_KEYS = json.dumps(signing.key_set())
    settings.AUDIT_SIGNING_KEY = json.dumps(signing.make_key())
    write_log(make_people(2), 8)
    seal_all()
    assert verify([old]).fault is None
    save(file)
    keys, note = file.with_name("jwks.json"), file.with_name("checkpoint.txt")
    keys.write_bytes(client.get("/.well-known/jwks.json").content)
    note.write_text(old.note)
    _, lines = run("seal_audit_log", "--show-keys")
    assert len(set(lines.splitlines())) == len(lines.splitlines()) == 3
    for key in (str(keys), lines.strip()):
        assert offline.main([str(file), "--key", key, "--since", str(note)]) == 0


def test_a_log_that_got_another_name_goes_on(file: Path, settings: Any) -> None:
    write_log(make_people(2), 8)
    old = seal_all()
    before, proof = file.with_name("before.jsonl"), file.with_name("proof.json")
    proof.write_text(json.dumps(prove(AuditEvent.objects.latest("id").pk)))
    save(before)
    _, old_lines = run("seal_audit_log", "--show-keys")

    settings.AUDIT_ORIGIN, settings.AUDIT_FORMER_ORIGINS = "new.example/audit", ["localhost/audit"]
    write_log(make_people(2), 8)
    code, out = run("seal_audit_log")
    assert (code, out) == (0, "8 events sealed, 16 in all.\n")
    assert newest().note.startswith("new.example/audit\n")
    assert verify([old, newest()]).fault is None
    note = file.with_name("checkpoint.txt")
    note.write_text(old.note)
    assert run("verify_audit_log", "--since", str(note))[0] == 0
    save(file)
    _, lines = run("seal_audit_log", "--show-keys")
    assert [it.partition("+")[0] for it in lines.split()] == [
        "new.example/audit",
        "localhost/audit",
    ]
    for whole in (file, before, proof):
        assert offline.main([str(whole), "--key", lines.strip()]) == 0
    assert offline.main([str(file), "--key", lines.strip(), "--since", str(note)]) == 0
    # Whoever has the old keys alone checks with them what was signed under the old name.
    for whole in (before, proof):
        assert offline.main([str(whole), "--key", old_lines.strip()]) == 0


def test_a_name_that_nobody_knows_is_told_with_the_setting_that_is_missing(
    file: Path, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(make_people(2), 8)
    kept = seal_all()
    save(file)
    settings.AUDIT_ORIGIN = "new.example/audit"
    write_log(make_people(1), 1)
    told = (
        "None of the keys at hand has signed it: it is for the origin localhost/audit, and they "
        "are for new.example/audit. A former name of the log belongs into AUDIT_FORMER_ORIGINS."
    )
    for code, out in (run("seal_audit_log"), run("verify_audit_log")):
        assert (code, told in out) == (1, True)
    assert [(it.code, told in it.text) for it in verify([kept]).faults] == [("signature", True)]
    _, lines = run("seal_audit_log", "--show-keys")
    assert offline.main([str(file), "--key", lines.strip()]) == 1
    assert told in capsys.readouterr().err


def test_the_shell_writes_and_checks_them(file: Path) -> None:
    people = make_people(2)
    write_log(people, 8)
    old = seal_all()
    code, out = run("audit_log", "--about", str(people[0]), "--limit", "2")
    assert (len(out.splitlines()), code) == (2, 0)
    for option, moment in (
        ("--since", "0001-01-01T00:00+01:00"),
        ("--until", "9999-12-31T23:59:59-01:00"),
        ("--since", "yesterday"),
    ):
        # No command writes out a stack trace at what somebody has mistyped.
        code, out = run("audit_log", option, moment)
        assert (code, "must be a time" in out) == (1, True)
    _, out = run("audit_log", "--json", "--action", "user.", "--since", "2020-01-01")
    assert {json.loads(line)["action"] for line in out.splitlines()} == {
        "user.seen",
        "user.changed",
    }
    assert run("audit_log", "--export", str(file), "--with-details")[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    _, keys = run("seal_audit_log", "--show-keys")
    _, out = run("audit_proof", str(AuditEvent.objects.latest("id").pk))
    proof = file.with_name("proof.json")
    proof.write_text(out)
    note = file.with_name("checkpoint.txt")
    note.write_text(old.note)
    assert run("verify_audit_export", str(proof), "--key", keys.strip())[0] == 0
    # With nothing but the interpreter and the one library that knows Ed25519.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.modules['django'] = None; from audit.offline import main; "
            "sys.exit(main())",
            str(file),
            "--key",
            keys.strip(),
            "--since",
            str(note),
        ],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Good: 8 of 8 events")
    file.write_text(file.read_text().replace("user.seen", "user.sean"))
    assert offline.main([str(file), "--key", keys.strip()]) == 1
    assert offline.main([str(file), "--key", "nothing"]) == 2
    assert Checkpoint.objects.count() == 1
