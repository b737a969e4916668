"""The rows that the database's engine keeps of its tasks: those left over are taken up again, those
that are done are removed."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db.models import Q

from erasure.engines import is_database, known_wake_ups

logger = logging.getLogger("sexton.erasure")

STUCK = timedelta(minutes=15)
"""After so long a running wake-up belongs to a worker that was killed: a purge gives way after a
minute. One that lives after all is only woken twice."""

TRIES = 5
KEPT = timedelta(days=1)
FAILED_KEPT = timedelta(days=14)
CHUNK = 1000


class WorkerLost(Exception):
    """Why a task failed whose worker never said how it ended."""


def lost_after() -> timedelta:
    """Return the time after which a running task of any other app counts as lost: the setting
    TASKS_LOST_AFTER, a day."""
    found: timedelta = getattr(settings, "TASKS_LOST_AFTER", timedelta(days=1))
    return found


def count_ready(path: str) -> int:
    """Return how many tasks of this path wait to be run."""
    return _rows().filter(status="READY", task_path=path).count() if is_database() else 0


def count_stuck(now: datetime) -> int:
    return _stuck(now).count() if is_database() else 0


def revive_stuck(now: datetime) -> int:
    """Make the wake-ups of killed workers ready again; return how many.

    The engine itself leaves them running for ever. One that was begun five times takes its worker
    along, and is given up.
    """
    if not is_database():
        return 0
    revived = 0
    for pk, workers in list(_stuck(now).values_list("pk", "worker_ids")):
        # Checked again by the UPDATE: of two sweeps one gets the row.
        mine = _stuck(now).filter(pk=pk)
        if len(workers) < TRIES:
            revived += mine.update(status="READY", started_at=None)
        else:
            _give_up(mine, now)
    return revived


def count_lost(now: datetime) -> int:
    return _lost(now).count() if is_database() else 0


def fail_lost(now: datetime) -> int:
    """Mark as failed what other apps' tasks have left running for too long; return how many.

    Nobody but their app knows whether they may run twice, so they are not run again.
    """
    if not is_database():
        return 0
    paths = sorted(set(_lost(now).values_list("task_path", flat=True)))
    if failed := _give_up(_lost(now), now):
        logger.error("tasks were lost with their worker", extra={"tasks": failed, "paths": paths})
    return failed


def _give_up(rows: Any, now: datetime) -> int:
    lost = f"{WorkerLost.__module__}.{WorkerLost.__qualname__}"
    return int(rows.update(status="FAILED", finished_at=now, exception_class_path=lost))


def count_finished(now: datetime) -> int:
    return _finished(now).count() if is_database() else 0


def remove_finished(now: datetime) -> int:
    """Remove the rows of finished tasks: after a day, failed ones after two weeks."""
    if not is_database():
        return 0
    removed = 0
    while chunk := list(_finished(now).order_by().values_list("pk", flat=True)[:CHUNK]):
        removed += _rows().filter(pk__in=chunk).delete()[0]
    return removed


def _stuck(now: datetime) -> Any:
    rows = _rows().filter(status="RUNNING", started_at__lte=now - STUCK)
    return rows.filter(task_path__in=known_wake_ups())


def _lost(now: datetime) -> Any:
    rows = _rows().filter(status="RUNNING", started_at__lte=now - lost_after())
    return rows.exclude(task_path__in=known_wake_ups())


def _finished(now: datetime) -> Any:
    done = Q(status="SUCCESSFUL", finished_at__lte=now - KEPT)
    failed = Q(status="FAILED", finished_at__lte=now - FAILED_KEPT)
    return _rows().filter(done | failed)


def _rows() -> Any:
    return apps.get_model("django_tasks_database.DBTaskResult")._default_manager.all()
