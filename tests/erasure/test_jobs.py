"""A purge by several processes on PostgreSQL, and by one on SQLite."""

from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from audit.models import AuditEvent
from erasure import jobs as jobs_module
from erasure import pacing, purging
from erasure.models import DeletionRequest
from erasure.pacing import Pace
from erasure.purging import purge_due
from tests.bystanders import charlie_untouched
from tests.erasure.leaving import DAY, NOW, SYSTEM, due_person, gone

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_many_hands_share_the_work_and_count_nothing_twice(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process has two threads, two processes one each."""
    monkeypatch.setattr(pacing, "SLOW", 600)
    monkeypatch.setattr(Pace, "observe", lambda self, done, seconds: setattr(self, "size", 5))
    monkeypatch.setattr(purging, "CANARY", 3)
    done: list[Any] = []
    with charlie_untouched():
        people = [due_person(sessions=number % 3) for number in range(40)]
        report = purge_due(
            actor=SYSTEM,
            clock=timezone.now,
            jobs=jobs,
            on_progress=lambda some, _: done.extend(it.subject.id for it in some),
        )
    assert (report.erased, report.failed, report.stopped) == (40, {}, "")
    assert sorted(done) == sorted(user.pk for user in people)
    assert all(map(gone, people))
    counted = DeletionRequest.objects.filter(state="completed").values_list("counts", flat=True)
    assert sum(sum(counts.values()) for counts in counted) == report.total
    assert AuditEvent.objects.filter(action="user.erased").count() == 40


def test_where_one_process_must_do_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite has one writer, and a limit of rows is watched by one."""
    asked: list[int] = []
    inside: Any = purging
    real = inside.gather_crew

    def gather_crew(jobs: int, **options: Any) -> Any:
        asked.append(jobs)
        return real(1, **options)

    monkeypatch.setattr(purging, "gather_crew", gather_crew)

    def clock() -> datetime:
        return NOW + DAY

    purge_due(actor=SYSTEM, clock=clock, jobs=3)
    purge_due(actor=SYSTEM, clock=clock, jobs=3, max_rows=10)
    assert asked == [3 if connection.vendor == "postgresql" else 1, 1]


def test_what_one_thread_cannot_cope_with_ends_the_run_and_leaves_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A failure of the engine itself, not of a subject."""
    inside: Any = jobs_module
    monkeypatch.setattr(inside, "work_off", _break)
    due_person()
    with pytest.raises(ZeroDivisionError):
        purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            mine = "datname = current_database() AND pid <> pg_backend_pid()"
            cursor.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}")
            assert cursor.fetchone() == (0,)


def _break(*args: Any, **options: Any) -> None:
    raise ZeroDivisionError
