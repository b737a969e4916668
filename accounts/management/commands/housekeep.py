"""``manage.py housekeep``: remove what has expired and nobody can use any more."""

import json as jsonlib
from argparse import ArgumentParser
from typing import Any

from django.utils import timezone

from accounts.chores import ANSWERS, SESSIONS
from erasure.management.shell import GatedCommand
from organizations.oauth.chores import TOKENS
from organizations.webhooks.chores import HISTORY


class Command(GatedCommand):
    help = (
        "Removes expired sessions, answers kept under an Idempotency-Key for more than a day, "
        "expired OAuth codes, tokens and authorizations, and the old history of webhooks, as every "
        "sweep does. Without --execute it only counts them. Exit codes: 0 done; 1 the database is "
        "older than its ledger, nothing was done; 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--execute", action="store_true", help="remove; irreversible")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, execute: bool, json: bool, **options: Any) -> None:
        now = timezone.now()
        # No transaction around them: a crash between two leaves the rest for the next run, and
        # nobody can use an expired row meanwhile.
        counts = {
            chore.name: chore.remove(now) if execute else chore.count(now)
            for chore in (SESSIONS, ANSWERS, TOKENS, HISTORY)
        }
        if json:
            self.stdout.write(jsonlib.dumps({"executed": execute, **counts}))
            return
        verb = "Removed" if execute else "Would remove"
        self.stdout.write(
            f"{verb} {counts['sessions']} expired sessions, {counts['answers']} old answers, "
            f"{counts['oauth_tokens']} expired OAuth codes and tokens and "
            f"{counts['webhook_history']} old webhook messages."
        )
        if not execute:
            self.stdout.write("Nothing was changed. Run it again with --execute to remove them.")
