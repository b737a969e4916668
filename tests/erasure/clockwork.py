"""What the tests of clocks and brakes share: deletions of every age, and the rows of tasks."""

from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django_tasks_db.models import DBTaskResult
from uuid_utils.compat import uuid7

from accounts.models import User
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from erasure.models import DeletionRequest
from erasure.receipts import sign_many
from erasure.tasks import purge
from tests.factories import SessionFactory, UserFactory, give_key

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def delete_user(*, due_since: timedelta = HOUR) -> User:
    """Create a user with a key and a session whose soft delete has been due for so long; a
    negative time is still to come."""
    user = UserFactory()
    give_key(user)
    SessionFactory(user=user)
    actor = Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)
    soft_delete_own_account(actor=actor, user_id=user.pk, now=timezone.now())
    DeletionRequest.objects.filter(subject_id=user.pk).update(due_at=timezone.now() - due_since)
    return user


def request_of(user: Any) -> DeletionRequest:
    found: DeletionRequest = DeletionRequest.objects.get(subject_id=user.pk)
    return found


def exists(user: Any) -> bool:
    return bool(User.objects.filter(pk=user.pk).exists())


def finished(kind: str = "user", *, ago: timedelta, **fields: Any) -> DeletionRequest:
    """Write the request of an erasure that was completed so long ago."""
    at = timezone.now() - ago
    values = {
        "subject_kind": kind,
        "subject_id": uuid7(),
        "state": "completed",
        "channel": "test",
        "requested_by_kind": "system",
        "requested_at": at,
        "due_at": at,
        "finished_at": at,
        "counts": {"accounts.User": 1, "apikeys.ApiKey": 2},
    }
    made: DeletionRequest = DeletionRequest.objects.create(**{**values, **fields})
    if made.finished_at:
        [(made.signature, made.statement)] = sign_many([made])
        made.save()
    return made


def task_row(
    status: str, *, path: str = purge.module_path, **fields: Any
) -> DBTaskResult[Any, Any]:
    """Write a task's row as the engine keeps it."""
    values: dict[str, Any] = {
        "args_kwargs": {"args": [], "kwargs": {}},
        "task_path": path,
        "backend_name": "default",
        "status": status,
        "exception_class_path": "",
        "traceback": "",
        "run_after": datetime(9999, 1, 1, tzinfo=timezone.get_default_timezone()),
    }
    return DBTaskResult.objects.create(**{**values, **fields})


def ready_purges() -> int:
    return DBTaskResult.objects.filter(status="READY", task_path=purge.module_path).count()
