"""What an engine of background work runs. A task is only a wake-up: what there is to do stands in
the orders."""

import time
from datetime import timedelta

from django.tasks import task
from django.utils import timezone

from erasure.engines import wake, wake_up
from erasure.stopping import is_stopping
from organizations.billing.carrying import carry_out_due

BUDGET = 60.0
"""Seconds after which it gives way to other tasks, such as purges, and asks for another."""


@wake_up
@task
def settle_orders() -> dict[str, int]:
    """Carry out what is due; return how many orders were confirmed and how many failed."""
    until = time.monotonic() + BUDGET
    done = carry_out_due(
        clock=timezone.now, goes_on=lambda: not is_stopping() and time.monotonic() < until
    )
    if done.is_cut_short:
        wake(settle_orders)
    elif done.next_at is not None:
        _wake_again(done.next_at - timezone.now())
    return {"confirmed": done.confirmed, "failed": done.failed}


def _wake_again(after: timedelta) -> None:
    """Ask for another try when its time comes, where the engine can wait; else the sweep does."""
    backend = settle_orders.get_backend()
    if backend.supports_defer:
        wake(settle_orders.using(run_after=timezone.now() + after))
