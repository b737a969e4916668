"""The worker as a process of its own: it works, ends in order, and may be killed at any moment."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.models import User
from erasure import stopping, tasks, worker
from erasure.models import DeletionRequest, Heartbeat
from erasure.purging import CANARY
from erasure.tasks import purge
from tests.bystanders import charlie_untouched
from tests.databases import Switch
from tests.deployment.shell import ROOT, environment
from tests.erasure.clockwork import HOUR, delete_user, exists, ready_purges, request_of, task_row

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 60.0
EVERY = timedelta(minutes=5)


@pytest.fixture
def url(switch: Switch, vendor: str) -> str:
    return switch.url(vendor)


@contextmanager
def running(url: str, folder: Path, *args: str) -> Iterator["subprocess.Popen[str]"]:
    """Start a worker on the test's database; kill it at the end if it still lives."""
    with (folder / f"worker-{time.monotonic_ns()}.log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "worker", "--poll", "0.05", *args],
            cwd=ROOT,
            env=environment(DATABASE_URL=url),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )
        try:
            yield process
        except AssertionError as error:
            log.seek(0)
            error.add_note(log.read()[-4000:])
            raise
        finally:
            process.kill()
            process.wait()
            connection.close()


def until(happened: Callable[[], Any], process: "subprocess.Popen[str] | None" = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        assert process is None or process.poll() is None, "the worker ended"
        time.sleep(0.05)


def end(process: "subprocess.Popen[str]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE)


def let_time_pass() -> None:
    """Make the leases of killed workers lapse, as they do after some minutes."""
    past = timezone.now() - HOUR
    DeletionRequest.objects.filter(state="running").update(lease_until=past)
    DBTaskResult.objects.filter(status="RUNNING").update(started_at=past)
    Heartbeat.objects.update(at=past)


def has_swept() -> bool:
    recent = timezone.now() - HOUR / 2
    return bool(Heartbeat.objects.filter(name="sweep", at__gt=recent).exists())


def states() -> set[str]:
    due = DeletionRequest.objects.filter(due_at__lte=timezone.now())
    return set(due.values_list("state", flat=True))


def test_it_sweeps_erases_what_is_due_and_ends_in_order(url: str, tmp_path: Path) -> None:
    with charlie_untouched():
        users = [delete_user() for _ in range(3)]
        with running(url, tmp_path) as process:
            until(lambda: not any(map(exists, users)), process)
            assert end(process) == 0
    assert {request_of(user).state for user in users} == {"completed"}
    assert Heartbeat.objects.filter(name="sweep").exists()


def test_sigterm_ends_it_between_two_transactions(url: str, tmp_path: Path) -> None:
    with charlie_untouched():
        users = [delete_user() for _ in range(60)]
        with running(url, tmp_path) as process:
            until(lambda: "completed" in states(), process)
            assert end(process) == 0
    assert states() <= {"completed", "scheduled"}
    assert not DBTaskResult.objects.filter(status="RUNNING").exists()
    for user in users:
        assert exists(user) == (request_of(user).state == "scheduled")


def test_killed_it_leaves_nothing_that_another_cannot_finish(url: str, tmp_path: Path) -> None:
    with charlie_untouched():
        users = [delete_user() for _ in range(60)]
        with running(url, tmp_path) as process:
            until(lambda: "completed" in states(), process)
            process.send_signal(signal.SIGKILL)
            process.wait(PATIENCE)
        let_time_pass()
        with running(url, tmp_path) as process:
            # The first one may have been quick: the second must be up before it is asked to end.
            until(lambda: states() == {"completed"} and has_swept(), process)
            assert end(process) == 0
    assert not any(map(exists, users))
    for user in users:
        assert request_of(user).counts["accounts.User"] == 1


def test_two_workers_share_one_database(url: str, tmp_path: Path) -> None:
    with charlie_untouched():
        users = [delete_user() for _ in range(40)]
        with running(url, tmp_path) as one, running(url, tmp_path) as two:
            until(lambda: not any(map(exists, users)), one)
            assert (end(one), end(two)) == (0, 0)
    assert {request_of(user).counts["accounts.User"] for user in users} == {1}
    assert set(DBTaskResult.objects.values_list("status", flat=True)) == {"SUCCESSFUL"}


def test_once_does_what_there_is_and_returns() -> None:
    with charlie_untouched():
        users = [delete_user() for _ in range(3)]
        assert worker.work(every=EVERY, poll=0.01, once=True) > 0
    assert not any(map(exists, users))
    assert set(DBTaskResult.objects.values_list("status", flat=True)) == {"SUCCESSFUL"}


def test_a_purge_that_takes_long_gives_way_and_asks_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "BUDGET", -1.0)
    with charlie_untouched():
        users = [delete_user() for _ in range(CANARY + 2)]
        assert purge.call() == {"erased": CANARY, "failed": 0}
        assert ready_purges() == 1
        assert worker.work(every=EVERY, poll=0.01, once=True) > 1
    assert not any(map(exists, users))


def test_asked_to_end_it_begins_no_further_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    users = [delete_user() for _ in range(CANARY + 2)]
    monkeypatch.setattr(stopping, "_asked", True)
    assert purge.call() == {"erased": CANARY, "failed": 0}
    assert ready_purges() == 1
    assert sum(map(exists, users)) == 2
    assert worker.work(every=EVERY, poll=0.01) == 0


def test_a_database_that_goes_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def fail(name: str) -> bool:
        calls.append(name)
        raise OperationalError("gone")

    def end_it(seconds: float) -> None:
        if len(calls) > 2:
            monkeypatch.setattr(stopping, "_asked", True)

    monkeypatch.setattr(worker, "run_task", fail)
    monkeypatch.setattr(worker, "wait", end_it)
    assert worker.work(every=EVERY, poll=0.01) == 0
    assert len(calls) == 3


def test_every_queue_is_served() -> None:
    row = task_row("READY", queue_name="mails")
    assert worker.run_task("test")
    row.refresh_from_db()
    assert (row.status, row.return_value) == ("SUCCESSFUL", {"erased": 0, "failed": 0})
    assert not worker.run_task("test")


def test_it_wakes_no_reader_of_the_database_for_nothing(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        assert not worker.run_task("test")


@pytest.mark.parametrize("option", ["--poll", "--sweep-seconds"])
@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan"])
def test_wrong_usage_is_refused(option: str, value: str) -> None:
    with pytest.raises(CommandError):
        call_command("worker", f"{option}={value}")


def test_users_who_are_not_due_stay(url: str, tmp_path: Path) -> None:
    waiting = delete_user(due_since=-HOUR)
    with running(url, tmp_path, "--once") as process:
        assert process.wait(PATIENCE) == 0
    assert User.objects.filter(pk=waiting.pk).exists()
