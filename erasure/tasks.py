"""What an engine of background work runs. A task is only a wake-up: run twice, late or never, it
changes nothing, for what there is to do stands in the deletion requests."""

import logging
import time

from django.tasks import task
from django.utils import timezone

from audit.actors import Actor
from erasure.engines import wake
from erasure.executor import purge_due
from erasure.stopping import is_stopping

logger = logging.getLogger("sexton.erasure")

SLICE = 500
"""Subjects of one round. Between two of them a worker that was asked to end does so."""

BUDGET = 60.0
"""Seconds after which a purge gives way to other tasks, such as mails, and asks for another."""


class PurgeFailed(Exception):
    """A purge that ended early. Says the error's type only: a database's message, which a task's
    row would keep, may quote a person's data."""


@task
def purge() -> dict[str, int]:
    """Erase what is due; return how many subjects were erased and how many failed."""
    erased = failed = 0
    until = time.monotonic() + BUDGET
    while True:
        try:
            report = purge_due(actor=Actor.system("purge"), clock=timezone.now, limit=SLICE)
        except Exception as error:
            logger.exception("purge failed")
            raise PurgeFailed(type(error).__name__) from None
        erased += len(report.erased)
        failed += len(report.failed)
        if len(report.erased) + len(report.failed) < SLICE:
            break
        if is_stopping() or time.monotonic() > until:
            wake(purge)
            break
    return {"erased": erased, "failed": failed}
