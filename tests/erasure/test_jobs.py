"""A purge by several processes on PostgreSQL, and by one on SQLite."""

from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from audit.models import AuditEvent
from erasure import purging
from erasure.models import DeletionRequest
from erasure.purging import purge_due
from tests.bystanders import charlie_untouched
from tests.erasure.leaving import DAY, NOW, SYSTEM, due_person, gone

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_processes_share_the_work_and_count_nothing_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(purging, "CANARY", 3)
    done: list[Any] = []
    with charlie_untouched():
        people = [due_person(sessions=number % 3) for number in range(40)]
        report = purge_due(
            actor=SYSTEM,
            clock=timezone.now,
            jobs=2,
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
    real = inside.Crew

    def crew(jobs: int, **options: Any) -> Any:
        asked.append(jobs)
        return real(1, **options)

    monkeypatch.setattr(purging, "Crew", crew)

    def clock() -> datetime:
        return NOW + DAY

    purge_due(actor=SYSTEM, clock=clock, jobs=3)
    purge_due(actor=SYSTEM, clock=clock, jobs=3, max_rows=10)
    assert asked == [3 if connection.vendor == "postgresql" else 1, 1]
