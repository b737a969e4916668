"""``manage.py worker``: background work, for as long as it runs."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from erasure.clocks import sweep_every
from erasure.engines import is_database
from erasure.stopping import listen
from erasure.worker import work


class Command(BaseCommand):
    help = (
        "Runs background tasks, and a sweep at every interval, until SIGTERM or SIGINT ends it "
        "in order. Several workers share one PostgreSQL. Exit codes: 0 ended in order, 2 wrong "
        "usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--sweep-seconds", type=_seconds, help="between two sweeps (ERASURE_SWEEP_SECONDS)"
        )
        parser.add_argument(
            "--poll", type=_seconds, default=1.0, help="seconds between two looks for tasks (1)"
        )
        parser.add_argument(
            "--once", action="store_true", help="sweep, run what is there, and end; for cron"
        )

    def handle(
        self,
        *args: Any,
        sweep_seconds: float | None,
        poll: float,
        once: bool,
        **options: Any,
    ) -> None:
        listen()
        every = timedelta(seconds=sweep_seconds) if sweep_seconds else sweep_every()
        if not is_database():
            self.stderr.write("Tasks run under another engine (setting TASKS); only sweeping here.")
        self.stderr.write("Working. SIGTERM ends it in order.")
        ran = work(every=every, poll=poll, once=once)
        self.stderr.write(f"Ended in order after {ran} tasks.")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 1e6:
        raise ArgumentTypeError("must be a number of seconds above 0")
    return seconds
