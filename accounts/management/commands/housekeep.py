"""``manage.py housekeep``: remove what has expired and nobody can use any more."""

import json as jsonlib
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts.models import Session
from contracts.idempotency import forget_old_answers, old_answers


class Command(BaseCommand):
    help = (
        "Removes expired sessions, and answers kept under an Idempotency-Key for more than a day. "
        "Without --execute it only counts them."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--execute", action="store_true", help="remove; irreversible")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, execute: bool, json: bool, **options: Any) -> None:
        now = timezone.now()
        counts = _remove(now) if execute else _count(now)
        if json:
            self.stdout.write(jsonlib.dumps({"executed": execute, **counts}))
            return
        verb = "Removed" if execute else "Would remove"
        self.stdout.write(
            f"{verb} {counts['sessions']} expired sessions and {counts['answers']} old answers."
        )
        if not execute:
            self.stdout.write("Nothing was changed. Run it again with --execute to remove them.")


def _count(now: datetime) -> dict[str, int]:
    return {
        "sessions": Session.objects.filter(expire_date__lte=now).count(),
        "answers": old_answers(now=now).count(),
    }


def _remove(now: datetime) -> dict[str, int]:
    # Two statements, no transaction around them: a crash between them leaves the rest for the
    # next run, and nobody can use an expired row meanwhile.
    sessions, _ = Session.objects.filter(expire_date__lte=now).delete()
    return {"sessions": sessions, "answers": forget_old_answers(now=now)}
