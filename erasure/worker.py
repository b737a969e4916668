"""The worker: one process that runs tasks of the database's engine and sweeps at every interval.

Any number of them share one database. A task's row is claimed with SKIP LOCKED, a subject's under
its own lock, and of all workers one sweeps in each interval. SIGTERM ends a worker after the
transaction it is in; SIGKILL costs nothing but the lease that another one has to wait for.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connections
from django.utils import timezone
from django.utils.crypto import get_random_string

from audit.tasks import seal_and_publish
from erasure.clocks import claim_sweep, sweep
from erasure.engines import is_behind, is_database
from erasure.stopping import is_stopping, wait

logger = logging.getLogger("sexton.worker")

ALIAS = "default"
PATIENCE = 5.0
"""Seconds to wait before a database that cannot be reached is asked again."""


def work(
    *,
    every: timedelta,
    poll: float,
    once: bool = False,
    clock: Callable[[], datetime] = timezone.now,
) -> int:
    """Sweep and run tasks until asked to end; with ``once``, until there is nothing left.

    Returns how many tasks were run. A database that goes away is waited for.
    """
    name = get_random_string(32)
    ran = 0
    sealer = Sealer()
    if once:
        sweep(now=clock(), execute=True)
    while not is_stopping():
        try:
            if not once and claim_sweep(now=clock(), every=every):
                sweep(now=clock(), execute=True)
            sealer.run()
            found = run_task(name)
        except (OperationalError, InterfaceError):
            if once:
                raise
            logger.exception("the database does not answer")
            connections.close_all()
            wait(PATIENCE)
            continue
        ran += found
        if not found and once:
            break
        if not found:
            close_old_connections()
            wait(poll)
    return ran


class Sealer:
    """Seals the audit log every AUDIT_SEAL_EVERY, between two tasks."""

    def __init__(self) -> None:
        every: timedelta = getattr(settings, "AUDIT_SEAL_EVERY", timedelta(seconds=10))
        self.every = every.total_seconds()
        self.last = time.monotonic()

    def run(self) -> None:
        """Seal if it is time. A log that cannot be sealed keeps no other work from being done."""
        if time.monotonic() - self.last < self.every or is_behind():
            return
        self.last = time.monotonic()
        try:
            seal_and_publish()
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            logger.exception("the audit log cannot be sealed")


def run_task(worker: str) -> bool:
    """Run the next task of the database's engine, if any; return whether there was one."""
    if not is_database() or not _is_any_ready() or is_behind():
        return False
    from django_tasks_db.management.commands.db_worker import Worker

    # The engine's own loop, for one turn: it claims the row, runs the task and notes how it ended.
    Worker(
        queue_names=["*"],
        excluded_queue_names=[],
        interval=0,
        batch=True,
        backend_name=ALIAS,
        startup_delay=False,
        max_tasks=1,
        worker_id=worker,
    ).run()
    return True


def _is_any_ready() -> bool:
    """Look without a lock first: an idle worker must not hold up SQLite's only writer."""
    from django_tasks_db.models import DBTaskResult

    return DBTaskResult.objects.ready().filter(backend_name=ALIAS).exists()
