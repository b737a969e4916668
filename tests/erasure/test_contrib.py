"""What becomes of rows in the tables of Django's own apps and of other packages."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.models import DeletedUser, User
from apikeys.models import ApiKey
from erasure.closure import closure_of
from tests.bystanders import charlie_untouched
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def log(by: User, about: Any, model: type[Any] = User) -> LogEntry:
    entry: LogEntry = LogEntry.objects.create(
        user_id=by.pk,
        content_type=ContentType.objects.get_for_model(model, for_concrete_model=False),
        object_id=str(about),
        object_repr="Alice Liddell",
        action_flag=2,
        change_message="Changed alice@example.com.",
    )
    return entry


def enqueue(*quoted: UUID, status: str = "READY") -> UUID:
    task: Any = DBTaskResult.objects.create(
        args_kwargs={"args": [str(one) for one in quoted], "kwargs": {}},
        task_path="tests.nothing",
        queue_name="default",
        backend_name="default",
        run_after=timezone.now(),
        status=status,
    )
    pk: UUID = task.pk
    return pk


def test_the_admins_log_forgets_the_name_and_keeps_the_deed() -> None:
    with charlie_untouched():
        alice, staff = UserFactory(), UserFactory()
        about = [log(staff, alice.pk), log(staff, alice.pk, DeletedUser)]
        others = [log(staff, UUID(int=5)), log(staff, alice.pk, ApiKey)]
        mine = log(alice, staff.pk)
        tally = closure_of("user").carry_out([alice.pk])
    assert tally.anonymised[alice.pk] == {"admin.LogEntry": 2}
    assert tally.removed[alice.pk]["admin.LogEntry"] == 1
    assert not LogEntry.objects.filter(pk=mine.pk).exists()
    for entry in LogEntry.objects.filter(pk__in=[one.pk for one in about]):
        assert (entry.object_repr, entry.change_message) == ("erased", "")
        assert (entry.user_id, entry.object_id) == (staff.pk, str(alice.pk))
    for entry in LogEntry.objects.filter(pk__in=[one.pk for one in others]):
        assert entry.object_repr == "Alice Liddell"


def test_tasks_that_quote_the_subject_go_but_for_those_that_run() -> None:
    with charlie_untouched():
        alice, bob = UserFactory(), UserFactory()
        gone = [enqueue(alice.pk), enqueue(bob.pk, alice.pk, alice.pk, status="SUCCESSFUL")]
        left = [enqueue(bob.pk), enqueue(), enqueue(alice.pk, status="RUNNING")]
        tally = closure_of("user").carry_out([alice.pk])
    assert tally.removed[alice.pk]["django_tasks_database.DBTaskResult"] == 2
    assert set(DBTaskResult.objects.values_list("pk", flat=True)) >= set(left)
    assert not DBTaskResult.objects.filter(pk__in=gone).exists()


def test_a_task_that_quotes_two_subjects_is_counted_once() -> None:
    alice, bob = sorted((UserFactory(), UserFactory()), key=lambda user: user.pk)
    enqueue(bob.pk, alice.pk)
    tally = closure_of("user").carry_out([alice.pk, bob.pk])
    assert tally.removed[alice.pk]["django_tasks_database.DBTaskResult"] == 1
    assert tally.removed[bob.pk] == {"accounts.User": 1}
