"""``replay_erasures`` says what it would do, does it, and tells by its exit code how it went."""

import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from accounts.models import User
from erasure import gate, replay
from erasure.ledger import Ledger
from tests.bystanders import charlie_untouched
from tests.erasure.test_ledger import erase
from tests.factories import UserFactory
from tests.ledgers import Backup, a_ledger, entry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with a_ledger(tmp_path) as made:
        assert gate.look() == ""
        yield made


def run(*args: str) -> str:
    out = StringIO()
    call_command("replay_erasures", *args, stdout=out)
    return out.getvalue()


def restored() -> User:
    alice: User = UserFactory()
    backup = Backup()
    erase(alice)
    backup.restore()
    return alice


def test_without_execute_it_only_says_what_it_would_do(ledger: Ledger) -> None:
    alice = restored()
    said = run()
    assert f"Would erase again: user {alice.pk}" in said
    assert said.endswith("Nothing was changed. Run it again with --execute.\n")
    assert User.objects.filter(pk=alice.pk).exists()
    found = json.loads(run("--json"))
    assert (found["executed"], found["current"]) == (False, False)
    assert found["erased"][0]["id"] == str(alice.pk)


def test_with_execute_it_erases_and_opens_the_service(ledger: Ledger) -> None:
    with charlie_untouched():
        alice = restored()
        said = run("--execute")
        assert f"Erased again: user {alice.pk}" in said
        assert "The database is up to date with its ledger, and the service is open." in said
        assert not User.objects.filter(pk=alice.pk).exists()
        assert json.loads(run("--execute", "--json")) == {
            "executed": True,
            "erased": [],
            "restored": [],
            "put_aside": [],
            "failed": [],
            "current": True,
        }


@pytest.mark.parametrize(
    "command",
    [
        ("erase_user", "alice"),
        ("restore_account", "alice"),
        ("legal_hold", "list"),
        ("export_user", "alice"),
    ],
    ids=lambda command: command[0],
)
def test_other_commands_wait_for_it(ledger: Ledger, command: tuple[str, ...]) -> None:
    restored()
    with pytest.raises(CommandError, match="replay_erasures --execute"):
        call_command(*command)


def test_a_failure_is_named_and_exits_with_1(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alice = restored()

    def fail(**arguments: Any) -> None:
        raise RuntimeError(alice.email)

    monkeypatch.setattr(replay, "erase_locked", fail)
    out = StringIO()
    with pytest.raises(SystemExit) as caught:
        call_command("replay_erasures", "--execute", stdout=out)
    assert caught.value.code == 1
    assert f"FAILED user {alice.pk}: RuntimeError" in out.getvalue()
    assert "the service stays shut" in out.getvalue()
    assert alice.email not in out.getvalue()
    assert "Put aside, suspended: user" in run("--execute", "--put-aside")


def test_without_a_ledger_it_exits_with_2(settings: Any) -> None:
    settings.ERASURE_LEDGER = ""
    with pytest.raises(CommandError, match=r"No ledger is configured.") as caught:
        run("--execute")
    assert caught.value.returncode == 2


def test_a_foreign_ledger_exits_with_2_and_names_the_way_out(
    ledger: Ledger, tmp_path: Path
) -> None:
    with a_ledger(tmp_path / "other") as other:
        other.intend([entry()])
        with pytest.raises(CommandError, match="--adopt") as caught:
            run("--execute")
        assert caught.value.returncode == 2
        assert "up to date" in run("--execute", "--adopt")


def test_a_ledger_that_lost_its_end_exits_with_2_until_the_whole_is_read(
    ledger: Ledger, tmp_path: Path
) -> None:
    erase(UserFactory())
    run("--execute")
    file = tmp_path / "ledger" / "erasures.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    with pytest.raises(CommandError, match="has lost its end") as caught:
        run("--execute")
    assert caught.value.returncode == 2
    assert "up to date" in run("--execute", "--all")
