"""Which engine runs background work, and the one way to ask it for something.

The engine is Django's setting ``TASKS``. A task is only a wake-up: what there is to do, and whether
it has been done, stands in our own rows, and a sweep asks again for whatever got lost.
"""

from functools import partial
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import transaction
from django.tasks import Task, task_backends

from erasure import gate

URGENT = 10

_wake_ups: set[str] = set()


def wake_up[T: "Task[..., Any]"](task: T) -> T:
    """Declare, as a decorator above ``@task``, that a task is only a wake-up: run twice or begun
    and broken off, it does no harm. When its worker is killed a sweep has it run again."""
    _wake_ups.add(task.module_path)
    return task


def known_wake_ups() -> list[str]:
    """Return the paths of the tasks that may be run again."""
    return sorted(_wake_ups)


def wake(task: "Task[..., Any]", *args: str, urgent: bool = False) -> None:
    """Ask for a task, to run when the caller's transaction has committed.

    The database's engine takes it as an INSERT in that very transaction. Any other engine is told
    after the commit, and if it cannot be reached then, that is logged and the next sweep asks
    again.
    """
    backend = task.get_backend()
    if urgent and backend.supports_priority:
        task = task.using(priority=URGENT)
    if is_database(backend):
        task.enqueue(*args)
    else:
        transaction.on_commit(partial(task.enqueue, *args), robust=True)


def wake_purge() -> None:
    """Ask for a purge, because something has become due just now: a hold or a pause has ended."""
    # Tasks import the purge, and the purge what calls this.
    from erasure.tasks import purge

    wake(purge)


def wake_drain(deletion_id: UUID) -> None:
    """Ask for the erasure of one large subject, which a request has begun and cannot wait for."""
    from erasure.tasks import drain

    wake(drain, str(deletion_id))


def is_behind() -> bool:
    """Whether the database is older than its ledger, so that nothing may be done with it."""
    return bool(gate.look())


def is_database(backend: Any = None) -> bool:
    """Whether tasks are rows of the database, so that a worker of ours must run them."""
    if not apps.is_installed("django_tasks_db"):
        return False
    from django_tasks_db import DatabaseBackend

    return isinstance(backend or task_backends["default"], DatabaseBackend)
