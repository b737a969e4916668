"""``manage.py verify_audit_log``: whether the log is still what was sealed.

Exit codes: 0 it is; 1 it is not, and the first bad record is named; 2 wrong usage.
"""

import json as jsonlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.management.shell import spell_count
from audit.notes import find_note
from audit.publishing import read_archives
from audit.verifying import Kept, Report, verify

BAD, MISUSED = 1, 2


class Command(BaseCommand):
    help = (
        "Check every audit event, the Merkle tree, the signatures and what was erased, also "
        "against older checkpoints: those beside the ledger, and those that you have kept."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            metavar="CHECKPOINT",
            type=Path,
            action="append",
            default=[],
            help="a file that holds a checkpoint from earlier; may be given several times",
        )
        parser.add_argument(
            "--no-kept", action="store_true", help="leave out the checkpoints beside the ledger"
        )
        parser.add_argument(
            "--most",
            metavar="N",
            type=int,
            default=1,
            help="how many bad records to name before it ends (default: the first alone)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self, *, since: Sequence[Path], no_kept: bool, most: int, json: bool, **options: Any
    ) -> None:
        if most < 1:
            raise CommandError("--most takes a number from 1 on.", returncode=MISUSED)
        kept = [*_read(since), *([] if no_kept else (Kept(*it) for it in read_archives()))]
        report = verify(kept, most=most)
        if json:
            told = asdict(report)
            first = next(iter(told["faults"]), None)
            self.stdout.write(jsonlib.dumps({**told, "kept": len(report.kept), "fault": first}))
        else:
            self.stdout.write("\n".join(tell(report)))
        if report.fault:
            raise SystemExit(BAD)


def tell(report: Report) -> Iterator[str]:
    """Yield a report in words."""
    events, values = _count(report.events, report.values)
    checkpoints = spell_count(report.checkpoints, "checkpoint")
    yield f"{events}, {values} and {checkpoints} looked at in {report.seconds:.1f} s."
    if report.forgotten or report.erased:
        yield "Lawfully gone: {}, {}.".format(*_count(report.forgotten, report.erased))
    if report.unsealed:
        yield f"Not sealed: {spell_count(report.unsealed, 'event')}."
    if not report.kept:
        yield "No checkpoint from elsewhere was at hand: a log that was written anew would pass."
    yield from (f"BAD: {it.text}" for it in report.faults)
    if not report.faults:
        yield f"Good: {report.size} sealed events are what was sealed."


def _count(events: int, values: int) -> tuple[str, str]:
    return spell_count(events, "event"), spell_count(values, "personal value")


def _read(files: Sequence[Path]) -> Iterator[Kept]:
    for file in files:
        try:
            yield Kept(str(file), find_note(file.read_text()))
        except (OSError, ValueError) as error:
            raise CommandError(f"{file}: {error}", returncode=MISUSED) from error
