"""``manage.py verify_erasure``: exit codes, what it prints, and what it never prints."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEvent
from erasure import receipts, signing
from erasure.links import spell_deletion
from erasure.models import DeletionRequest
from tests.commands.shell import run
from tests.factories import UserFactory

MARK = "Ann.Canary@example.org"


def verify(*args: str) -> tuple[int, str]:
    out = io.StringIO()
    code = 0
    try:
        call_command("verify_erasure", *args, stdout=out)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, out.getvalue()


@pytest.mark.django_db
def test_nothing_left_exits_0_and_says_how_much_was_read() -> None:
    code, text = verify(MARK)
    assert code == 0
    assert text.splitlines()[-1].startswith("Nothing found of 1 identifier in ")


@pytest.mark.django_db
def test_a_hit_exits_1_and_says_where_without_the_value() -> None:
    user = UserFactory(email=MARK)
    code, text = verify("nobody@example.org", MARK)
    assert code == 1
    assert f"Identifier 2 in accounts_user, email: {user.pk} (plain)" in text
    assert MARK.lower() not in text.lower()


@pytest.mark.django_db
def test_many_hits_of_a_column_are_one_line() -> None:
    UserFactory.create_batch(12, name="Ann Canary")
    _, text = verify("Ann Canary")
    (line,) = [line for line in text.splitlines() if "accounts_user, name" in line]
    assert line.endswith(" and 2 more")
    assert text.count("\n") < 10


@pytest.mark.django_db
def test_json_is_one_object() -> None:
    user = UserFactory(email=MARK)
    code, text = verify(MARK, "--json")
    facts: dict[str, Any] = json.loads(text)
    assert code == 1
    assert facts["found"] is True
    assert facts["hits"] == [
        {
            "identifier": 1,
            "where": "accounts_user",
            "column": "email",
            "key": str(user.pk),
            "form": "plain",
        }
    ]
    assert facts["tables"] > 10
    assert any("every process keeps one" in what for what in facts["not_searched"])


@pytest.mark.django_db
def test_what_is_kept_as_declared_is_listed_and_exits_0() -> None:
    user = UserFactory.build()
    AuditEvent.objects.create(
        at=user.date_joined,
        action="user.erased",
        actor_kind="system",
        channel="test",
        subject_kind="user",
        subject_id=user.pk,
    )
    code, text = verify(str(user.pk))
    assert code == 0
    assert "Kept, as declared: 1 in audit_auditevent, subject_id. Shows that" in text
    assert json.loads(verify(str(user.pk), "--json")[1])["kept"][0]["column"] == "subject_id"


@pytest.mark.django_db
def test_identifiers_come_from_a_file_or_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    UserFactory(email=MARK)
    names = tmp_path / "names"
    names.write_text(f"nobody@example.org\n\n  {MARK}\n")
    assert verify("--from", str(names))[0] == 1
    assert "Identifier 2 in" in verify("--from", str(names))[1]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{MARK}\n"))
    assert verify("--from", "-")[0] == 1


@pytest.mark.django_db
def test_a_table_can_be_skipped() -> None:
    UserFactory(email=MARK)
    assert verify(MARK, "--skip", "accounts_user")[0] == 0


@pytest.mark.parametrize("args", [[], ["bob"], ["--from", "/nowhere/at/all"]])
def test_wrong_usage_exits_2(args: list[str]) -> None:
    with pytest.raises(CommandError) as refused:
        call_command("verify_erasure", *args)
    assert refused.value.returncode == 2


@pytest.mark.django_db
def test_raw_reads_the_files_of_the_database_too() -> None:
    _, text = verify(MARK, "--raw", "--json")
    without = json.loads(verify(MARK, "--json")[1])
    assert json.loads(text)["bytes"] > without["bytes"]


@pytest.mark.django_db
def test_a_terminal_sees_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    verify(MARK)
    assert "done" in capsys.readouterr().err


def erased() -> DeletionRequest:
    user = UserFactory(email=MARK)
    assert run("erase_user", MARK, "--execute", "--no-search")[0] == 0
    found: DeletionRequest = DeletionRequest.objects.get(subject_id=user.pk)
    return found


@pytest.mark.django_db
@pytest.mark.parametrize("spell", [lambda pk: str(pk), spell_deletion], ids=["uuid", "del"])
def test_the_receipt_of_a_deletion_states_the_result(spell: Any) -> None:
    request = erased()
    code, text = verify(MARK, "--skip", "auth_group", "--deletion", spell(request.pk))
    assert code == 0
    assert text.endswith(f"The receipt of {spell_deletion(request.pk)} states this now.\n")
    request.refresh_from_db()
    stated = receipts.verify(receipts.receipt_of(request), signing.key_set()["keys"])
    assert stated["residual_search"]["hits"] == 0
    assert stated["residual_search"]["identifiers"] == 2
    assert "table auth_group: left out" in stated["residual_search"]["not_searched"]
    UserFactory(email=MARK)
    code, text = verify("--json", MARK, "--deletion", spell(request.pk))
    assert (code, json.loads(text)["deletion"]) == (1, spell_deletion(request.pk))
    request.refresh_from_db()
    assert request.searched["hits"] == 1


@pytest.mark.django_db
@pytest.mark.parametrize("fault", ["none", "open", "changed"])
def test_a_deletion_without_a_genuine_receipt_is_refused_before_the_search(fault: str) -> None:
    request = erased()
    mine = DeletionRequest.objects.filter(pk=request.pk)
    if fault == "changed":
        mine.update(counts={})
    if fault == "open":
        mine.update(state="running", finished_at=None, signature=None, statement="")
    name = "del_00000000000000000000000000" if fault == "none" else str(request.pk)
    code, said = run("verify_erasure", MARK, "--deletion", name)
    assert code == 2
    wanted = {"none": "There is no deletion", "open": "has no receipt", "changed": "not verify"}
    assert wanted[fault] in said
    assert mine.get().searched == {}
