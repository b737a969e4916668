"""The rows that the database's engine keeps of its tasks: those left over are taken up again, those
that are done are removed."""

from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db.models import Q

from erasure.engines import is_database

STUCK = timedelta(minutes=15)
"""After so long a running task of ours belongs to a worker that was killed: a purge gives way after
a minute. One that lives after all is only woken twice."""

TRIES = 5
KEPT = timedelta(days=1)
FAILED_KEPT = timedelta(days=14)
CHUNK = 1000
OURS = Q(task_path__startswith="erasure.") | Q(task_path__startswith="organizations.")


def count_ready(path: str) -> int:
    """Return how many tasks of this path wait to be run."""
    return _rows().filter(status="READY", task_path=path).count() if is_database() else 0


def count_stuck(now: datetime) -> int:
    return _stuck(now).count() if is_database() else 0


def revive_stuck(now: datetime) -> int:
    """Make the tasks of killed workers ready again; return how many.

    The engine itself leaves them running for ever. One that was begun five times takes its worker
    along, and is given up.
    """
    if not is_database():
        return 0
    revived = 0
    for pk, workers in list(_stuck(now).values_list("pk", "worker_ids")):
        status = "READY" if len(workers) < TRIES else "FAILED"
        finished = now if status == "FAILED" else None
        # Checked again by the UPDATE: of two sweeps one gets the row.
        revived += (
            _stuck(now).filter(pk=pk).update(status=status, started_at=None, finished_at=finished)
        )
    return revived


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
    return _rows().filter(OURS, status="RUNNING", started_at__lte=now - STUCK)


def _finished(now: datetime) -> Any:
    done = Q(status="SUCCESSFUL", finished_at__lte=now - KEPT)
    failed = Q(status="FAILED", finished_at__lte=now - FAILED_KEPT)
    return _rows().filter(done | failed)


def _rows() -> Any:
    return apps.get_model("django_tasks_database.DBTaskResult")._default_manager.all()
