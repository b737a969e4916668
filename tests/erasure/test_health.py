"""Readiness: red when erasure is left alone, and only then."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from erasure import health
from erasure.clocks import sweep, sweep_every
from erasure.models import DeletionRequest, Heartbeat, Pause
from tests.erasure.clockwork import DAY, MINUTE, delete_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _production(settings: Any) -> None:
    settings.ERASURE_SWEEP_EXPECTED = True


def ready() -> tuple[int, dict[str, str]]:
    response = Client().get("/readyz")
    body = response.json()
    assert body["status"] == ("ready" if response.status_code == 200 else "not ready")
    return response.status_code, body["checks"]


def grow_old() -> None:
    """Make the database look as if it had been migrated, and the first deletion asked for, long
    ago."""
    past = timezone.now() - DAY
    DeletionRequest.objects.update(requested_at=past)
    MigrationRecorder(connection).migration_qs.update(applied=past)


def swept(ago: Any) -> None:
    Heartbeat.objects.update_or_create(name="sweep", defaults={"at": timezone.now() - ago})


def test_all_well_is_said_in_one_word_for_each_check() -> None:
    sweep(now=timezone.now(), execute=True)
    status, checks = ready()
    assert status == 200
    assert set(checks.values()) == {"ok"}
    assert {"database", "migrations", "sweep", "pauses"} <= checks.keys()


def test_it_turns_red_when_nothing_has_swept_for_two_intervals() -> None:
    swept(2 * sweep_every() - MINUTE)
    assert ready()[0] == 200
    swept(2 * sweep_every() + MINUTE)
    status, checks = ready()
    assert status == 503
    assert checks["sweep"].startswith("last swept ")
    assert checks["sweep"].endswith("ago: run manage.py worker")


def test_a_sweep_makes_it_ready_again() -> None:
    swept(DAY)
    assert ready()[0] == 503
    sweep(now=timezone.now(), execute=True)
    assert ready()[0] == 200


def test_a_database_without_deletions_needs_no_sweep() -> None:
    grow_old()
    assert ready()[0] == 200


def test_one_that_never_swept_is_red_once_there_is_something_to_sweep_for() -> None:
    delete_user(due_since=-DAY)
    grow_old()
    status, checks = ready()
    assert (status, checks["sweep"]) == (503, "nothing has swept yet: run manage.py worker")


def test_a_young_deletion_gives_two_intervals_to_start_a_worker() -> None:
    grow_old()
    delete_user(due_since=-DAY)
    assert ready()[0] == 200


def test_so_does_an_upgrade() -> None:
    delete_user(due_since=-DAY)
    DeletionRequest.objects.update(requested_at=timezone.now() - DAY)
    assert ready()[0] == 200


def test_where_no_sweep_is_expected_it_only_warns(settings: Any) -> None:
    settings.ERASURE_SWEEP_EXPECTED = False
    swept(DAY)
    status, checks = ready()
    assert status == 200
    assert checks["sweep"].startswith("warning: last swept 1 day ago")


def test_steps_that_failed_are_a_warning() -> None:
    swept(MINUTE)
    Heartbeat.objects.update(facts={"failed": {"retention": "OSError", "chores": "ValueError"}})
    assert ready()[1]["sweep"] == "warning: steps that failed: chores, retention"


def test_brakes_are_a_warning_and_keep_their_reason_to_themselves() -> None:
    now = timezone.now()
    Pause.objects.create(reason="alice@example.com", placed_at=now, organization_id=uuid7())
    status, checks = ready()
    assert (status, checks["pauses"]) == (
        200,
        "warning: organizations whose erasures are paused: 1",
    )
    Pause.objects.create(reason="alice@example.com", placed_at=now)
    status, checks = ready()
    assert (status, checks["pauses"]) == (200, "warning: every erasure is paused")


def test_without_its_tables_nothing_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    MigrationRecorder(connection).migration_qs.filter(app="erasure").delete()
    monkeypatch.setattr(health, "find", pytest.fail)
    status, checks = ready()
    assert status == 503
    assert checks.keys() == {"database", "migrations"}
