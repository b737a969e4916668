"""What an engine of background work runs. A task is only a wake-up: what there is to deliver stands
in our own rows."""

import logging
import time
from datetime import datetime, timedelta

from django.tasks import task
from django.utils import timezone

from erasure.engines import is_behind, wake, wake_up
from erasure.stopping import is_stopping
from organizations.webhooks.delivering import count_due, deliver_due
from organizations.webhooks.models import Delivery

logger = logging.getLogger("sexton.webhooks")

BUDGET = 20.0
"""Seconds after which deliveries give way to other tasks, and ask for another turn."""


class DeliveriesFailed(Exception):
    """Deliveries that broke off. Says the error's type only: a database's message, which a task's
    row would keep, may quote an address."""


@wake_up
@task()
def deliver() -> int:
    """Deliver what is due; return how many tries that took."""
    if is_behind():
        # The backup that this database is may hold messages about people who are erased since.
        return 0
    until = time.monotonic() + BUDGET
    tries = 0
    try:
        while not is_stopping() and time.monotonic() < until:
            if not (some := deliver_due(clock=timezone.now)):
                break
            tries += some
        _wake_again()
    except Exception as error:
        logger.exception("deliveries failed")
        raise DeliveriesFailed(type(error).__name__) from None
    return tries


def see_to_due(now: datetime) -> int:
    """Wake the deliveries when something is due, and return how much is."""
    if due := count_due(now):
        wake(deliver)
    return due


def _wake_again() -> None:
    """Ask to be woken when the next try is due, if the engine can do that; otherwise the sweep
    does it."""
    soonest = Delivery.objects.soonest()
    if soonest is None:
        return
    now = timezone.now()
    backend = deliver.get_backend()
    if count_due(now):
        wake(deliver)
    elif backend.supports_defer:
        # Never in the past: what waits for an earlier event is woken by that event's end.
        at = max(soonest, now + timedelta(seconds=1))
        deliver.using(run_after=at).enqueue()
