"""``manage.py sweep``: see to it that what is due happens."""

import json as jsonlib
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from erasure.clocks import Sweep, sweep


class Command(BaseCommand):
    help = (
        "Wakes the purge for whatever is due or was left by a dead worker, removes what has "
        "outlived its retention, and tidies up. Without --execute it only says what it would do. "
        "Exit codes: 0 all well, 1 some steps failed and are named, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--execute", action="store_true", help="do it")
        mode.add_argument("--dry-run", action="store_true", help="change nothing (the default)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, execute: bool, json: bool, **options: Any) -> None:
        result = sweep(now=timezone.now(), execute=execute)
        self.stdout.write(jsonlib.dumps(result.as_facts()) if json else describe(result))
        if result.failed:
            raise SystemExit(1)


def describe(result: Sweep) -> str:
    """Return a sweep as lines for people, one for each step."""
    lines = [
        f"{step}: " + (", ".join(f"{n} {what}" for what, n in facts.items()) or "nothing")
        for step, facts in result.done.items()
    ]
    lines += [f"FAILED {step}: {error}" for step, error in result.failed.items()]
    if not result.executed:
        lines.append("Nothing was changed. Run it again with --execute to do it.")
    return "\n".join(lines)
