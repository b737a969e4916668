"""The sweep: it wakes what is due, takes up what was left lying, and says what it would do."""

import json
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from uuid_utils.compat import uuid7

from accounts.models import Session
from audit.actors import Actor
from erasure import clocks, engines, stopping, taskrows, worker
from erasure.clocks import claim_sweep, sweep
from erasure.engines import known_wake_ups
from erasure.holds import release_hold
from erasure.models import DeletionRequest, DoomedFile, Heartbeat, LegalHold
from erasure.tasks import purge
from erasure.worker import run_task
from tests.bystanders import charlie_untouched, read_rows
from tests.contracts.transcript import place_hold
from tests.erasure.clockwork import (
    DAY,
    HOUR,
    MINUTE,
    delete_user,
    exists,
    ready_purges,
    request_of,
    task_row,
)
from tests.factories import SessionFactory

pytestmark = pytest.mark.django_db


def run(*args: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("sweep", *args, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def sweep_now() -> clocks.Sweep:
    return sweep(now=timezone.now(), execute=True)


def test_what_is_due_is_woken_and_nothing_else() -> None:
    with charlie_untouched():
        delete_user()
        waiting, held = delete_user(due_since=-DAY), delete_user()
        place_hold("user", held.pk)
        assert sweep_now().done["purge"] == {"due": 1, "stalled": 0, "woken": 1}
    assert ready_purges() == 1
    # A wake-up erases nothing by itself.
    assert exists(waiting)
    assert exists(held)


def test_nothing_due_wakes_nobody() -> None:
    delete_user(due_since=-DAY)
    assert sweep_now().done["purge"]["woken"] == 0
    assert ready_purges() == 0


def test_what_a_dead_worker_left_is_woken() -> None:
    user = delete_user()
    lapsed = timezone.now() - MINUTE
    DeletionRequest.objects.filter(pk=request_of(user).pk).update(
        state="running", lease_until=lapsed, lease_token=uuid7()
    )
    assert sweep_now().done["purge"] == {"due": 1, "stalled": 1, "woken": 1}


def test_who_waits_already_is_not_woken_twice() -> None:
    delete_user()
    sweep_now()
    assert sweep_now().done["purge"]["woken"] == 0
    assert ready_purges() == 1


def test_many_wake_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "SHARE", 2)
    for _ in range(5):
        delete_user()
    assert sweep_now().done["purge"]["woken"] == 3
    monkeypatch.setattr(clocks, "WAKE_UPS", 4)
    monkeypatch.setattr(clocks, "SHARE", 1)
    assert sweep_now().done["purge"]["woken"] == 1


def test_the_woken_task_erases_what_is_due_and_leaves_charlie_alone() -> None:
    with charlie_untouched():
        users = [delete_user() for _ in range(3)]
        assert purge.call() == {"erased": 3, "failed": 0}
    assert not any(map(exists, users))


@pytest.mark.django_db(transaction=True)
def test_a_purge_that_breaks_off_keeps_no_message_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**facts: Any) -> None:
        raise RuntimeError("alice@example.com")

    monkeypatch.setattr("erasure.tasks.purge_due", fail)
    engines.wake(purge)
    assert run_task("test")
    row = DBTaskResult.objects.get()
    assert row.status == "FAILED"
    assert "RuntimeError" in row.traceback
    assert "alice" not in row.traceback


def test_a_dry_run_counts_the_same_and_changes_nothing() -> None:
    delete_user()
    task_row("RUNNING", path="erasure.notices.send_notice", started_at=timezone.now() - HOUR)
    task_row("SUCCESSFUL", finished_at=timezone.now() - 2 * DAY)
    SessionFactory(expire_date=timezone.now() - HOUR)
    before = read_rows()
    code, out = run("--json")
    assert read_rows() == before
    done = json.loads(run("--json", "--execute")[1])
    ends = {name: done[name] for name in ("totals", "ledger", "audit")}
    planned = {**json.loads(out), "executed": True, **ends}
    assert code == 0
    assert planned == done
    assert done["tasks"] == {"revived": 1, "lost": 0, "removed": 1}


def test_the_shell_names_each_step() -> None:
    delete_user()
    code, out = run("--dry-run")
    assert code == 0
    assert "purge: 1 due, 0 stalled, 1 woken\n" in out
    assert out.endswith("Nothing was changed. Run it again with --execute to do it.\n")


def test_a_step_that_fails_is_named_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(now: Any, execute: bool) -> clocks.Facts:
        raise ValueError("alice@example.com")

    monkeypatch.setattr(clocks, "STEPS", {"first": fail, **clocks.STEPS})
    delete_user()
    code, out = run("--execute", "--json")
    assert code == 1
    assert json.loads(out)["failed"] == {"first": "ValueError"}
    assert ready_purges() == 1
    assert Heartbeat.objects.get(name="sweep").facts["failed"] == {"first": "ValueError"}


def test_wrong_usage_is_refused() -> None:
    with pytest.raises(CommandError):
        run("--execute", "--dry-run")


def test_it_leaves_a_heartbeat_and_a_dry_run_none() -> None:
    run()
    assert not Heartbeat.objects.filter(name="sweep").exists()
    before = timezone.now()
    run("--execute")
    assert Heartbeat.objects.get(name="sweep").at >= before


def test_the_task_of_a_killed_worker_is_taken_up_again() -> None:
    stuck = task_row("RUNNING", started_at=timezone.now() - taskrows.STUCK, worker_ids=["dead"])
    fresh = task_row("RUNNING", started_at=timezone.now() - MINUTE)
    strangers = task_row("RUNNING", path="blog.tasks.export", started_at=timezone.now() - HOUR)
    assert sweep_now().done["tasks"] == {"revived": 1, "lost": 0, "removed": 0}
    for row in (stuck, fresh, strangers):
        row.refresh_from_db()
    assert (stuck.status, stuck.started_at) == ("READY", None)
    assert (fresh.status, strangers.status) == ("RUNNING", "RUNNING")


def test_a_task_that_takes_every_worker_along_is_given_up() -> None:
    workers = [f"dead-{n}" for n in range(taskrows.TRIES)]
    stuck = task_row("RUNNING", started_at=timezone.now() - HOUR, worker_ids=workers)
    sweep_now()
    stuck.refresh_from_db()
    assert stuck.status == "FAILED"
    assert stuck.finished_at is not None
    assert stuck.exception_class_path == "erasure.taskrows.WorkerLost"


def test_what_other_apps_left_running_fails_and_is_not_run_again(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it may run twice only its app knows. The engine would leave it running for ever."""
    now = timezone.now()
    lost = task_row("RUNNING", path="blog.tasks.export", started_at=now - DAY, worker_ids=["dead"])
    young = task_row("RUNNING", path="blog.tasks.export", started_at=now - DAY + MINUTE)
    ready = task_row("READY", path="blog.tasks.export")
    assert sweep_now().done["tasks"] == {"revived": 0, "lost": 1, "removed": 0}
    for row in (lost, young, ready):
        row.refresh_from_db()
    assert (lost.status, young.status, ready.status) == ("FAILED", "RUNNING", "READY")
    assert lost.exception_class_path == "erasure.taskrows.WorkerLost"
    [said] = [it for it in caplog.records if it.msg == "tasks were lost with their worker"]
    assert vars(said)["paths"] == ["blog.tasks.export"]
    settings.TASKS_LOST_AFTER = HOUR
    assert sweep_now().done["tasks"]["lost"] == 1


def test_every_task_of_ours_is_declared_to_be_a_wake_up() -> None:
    """Whoever adds a task decides: one that may run twice is declared by ``wake_up``."""
    mine = {"erasure", "accounts", "organizations", "apikeys", "audit", "contracts"}
    root = Path(__file__).parent.parent.parent
    found = set()
    for app in mine:
        for file in (root / app).rglob("*.py"):
            module = ".".join(file.relative_to(root).with_suffix("").parts)
            for name in re.findall(r"^@task\b[^\n]*\ndef (\w+)", file.read_text(), re.MULTILINE):
                found.add(f"{module}.{name}")
    assert found == set(known_wake_ups())


def test_finished_tasks_are_removed_after_their_time() -> None:
    now = timezone.now()
    task_row("SUCCESSFUL", finished_at=now - 2 * DAY)
    task_row("FAILED", finished_at=now - 15 * DAY)
    kept = {
        task_row("SUCCESSFUL", finished_at=now - HOUR).pk,
        task_row("FAILED", finished_at=now - 2 * DAY).pk,
        task_row("READY").pk,
    }
    assert sweep_now().done["tasks"]["removed"] == 2
    assert set(DBTaskResult.objects.values_list("pk", flat=True)) == kept


def test_expired_sessions_go_and_living_ones_stay() -> None:
    with charlie_untouched():
        SessionFactory(expire_date=timezone.now() - HOUR)
        assert sweep_now().done["chores"]["sessions"] == 1
    assert Session.objects.count() == 1


def test_of_many_workers_one_sweeps_in_each_interval() -> None:
    now, every = timezone.now(), timedelta(minutes=5)
    assert claim_sweep(now=now, every=every)
    assert not claim_sweep(now=now + MINUTE, every=every)
    assert claim_sweep(now=now + every, every=every)


def test_another_engine_is_told_after_the_commit(
    settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    user = delete_user()
    DBTaskResult.objects.all().delete()
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    with charlie_untouched():
        with django_capture_on_commit_callbacks() as callbacks:
            assert sweep_now().done["purge"]["woken"] == 1
        assert exists(user)
        for callback in callbacks:
            callback()
    assert not exists(user)
    assert not DBTaskResult.objects.exists()


def test_asked_to_end_a_sweep_says_not_that_it_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    delete_user()
    monkeypatch.setattr(stopping, "_asked", True)
    assert sweep_now().done == {}
    assert ready_purges() == 0
    assert not Heartbeat.objects.filter(name="sweep").exists()


def test_a_database_older_than_its_ledger_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    delete_user()
    for module in (clocks, worker):
        monkeypatch.setattr(module, "is_behind", lambda: True)
    task_row("READY")
    before = read_rows()
    code, out = run("--execute", "--json")
    assert code == 1
    assert json.loads(out) == {"executed": True, "failed": {"ledger": "DatabaseBehind"}}
    assert not run_task("test")
    assert read_rows() == before


def test_whose_erasure_is_near_is_warned_once(
    mailoutbox: Any, django_capture_on_commit_callbacks: Any
) -> None:
    with charlie_untouched(), django_capture_on_commit_callbacks(execute=True):
        near, far = delete_user(due_since=-DAY), delete_user(due_since=-9 * DAY)
        DeletionRequest.objects.filter(subject_id__in=[near.pk, far.pk]).update(
            requested_at=timezone.now() - 10 * DAY
        )
        mailoutbox.clear()
        assert sweep(now=timezone.now(), execute=False).done["warnings"] == {"warned": 1}
        assert not mailoutbox
        assert sweep_now().done["warnings"] == {"warned": 1}
        assert sweep_now().done["warnings"] == {"warned": 0}
    assert [mail.to for mail in mailoutbox] == [[near.email]]
    assert request_of(near).warned_at is not None


def test_many_warnings_are_spread_over_sweeps(
    mailoutbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        delete_user(due_since=-DAY)
    DeletionRequest.objects.update(requested_at=timezone.now() - 10 * DAY)
    monkeypatch.setattr(clocks, "WARNINGS", 2)
    assert [sweep_now().done["warnings"]["warned"] for _ in range(3)] == [2, 1, 0]


def test_the_end_of_a_hold_wakes_the_purge() -> None:
    user = delete_user()
    place_hold("user", user.pk)
    sweep_now()
    assert ready_purges() == 0
    release_hold(actor=Actor.system("test"), hold_id=LegalHold.objects.get().pk, now=timezone.now())
    assert ready_purges() == 1
    purge.call()
    assert not exists(user)


def test_files_that_outlived_their_rows_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    DoomedFile.objects.create(field="blog.Post.image", name="a.png", noted_at=timezone.now())
    monkeypatch.setattr(clocks, "remove_noted", lambda: DoomedFile.objects.all().delete()[0])
    assert sweep(now=timezone.now(), execute=False).done["files"] == {"removed": 1}
    assert sweep_now().done["files"] == {"removed": 1}
    assert sweep_now().done["files"] == {"removed": 0}
