"""What a verifier finds with a file, the public keys and checkpoints that were kept; and proofs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from audit import exporting, notes, offline
from audit.merkle import EMPTY_ROOT
from audit.models import AuditEvent, Checkpoint
from audit.proving import NotSealed, prove
from audit.querying import Wanted
from audit.signers import signer
from audit.tiles import Tiles
from audit.verifying import verify
from erasure import signing
from tests.audit.files import check, key, lines_of, save, write_lines
from tests.audit.logs import at, make_people, newest, seal_all, write_log
from tests.commands.shell import run

pytestmark = pytest.mark.django_db


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
    for given in (str(keys), lines.strip()):
        assert offline.main([str(file), "--key", given, "--since", str(note)]) == 0


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
