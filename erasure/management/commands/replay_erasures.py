"""``manage.py replay_erasures``: bring a restored database up to date with its ledger."""

import json as jsonlib
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from erasure import gate
from erasure.exceptions import LedgerUnavailable
from erasure.management.progress import show_progress
from erasure.replay import ForeignLedger, NoLedgerConfigured, Replay, foresee, replay


class Command(BaseCommand):
    help = (
        "After a restore: erases again whoever the ledger says is erased, and cancels the deletion "
        "of whoever had come back. Load the backup completely before. Until it has run, the "
        "service answers 503. Without --execute it only says what it would do. Exit codes: 0 all "
        "well, 1 some subjects failed or the database must still not be read, 2 wrong usage, no "
        "ledger, or one that cannot be read."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--execute", action="store_true", help="erase; irreversible")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--all",
            action="store_true",
            help="read the whole ledger: after single tables were loaded, or when its end is lost",
        )
        parser.add_argument(
            "--put-aside",
            action="store_true",
            help="suspend whoever cannot be erased now, so that the service can open",
        )
        parser.add_argument(
            "--adopt",
            action="store_true",
            help="the database belonged to another ledger, which is lost: go on with this one",
        )

    def handle(self, *args: Any, execute: bool, json: bool, **options: Any) -> None:
        try:
            result = self._replay(options) if execute else self._foresee(options)
        except NoLedgerConfigured:
            raise CommandError("No ledger is configured.", returncode=2) from None
        except ForeignLedger as error:
            raise CommandError(
                f"The database belongs to the ledger {error}, which is not the one that "
                "ERASURE_LEDGER names. Put it there, or give it up with --adopt.",
                returncode=2,
            ) from None
        except LedgerUnavailable as error:
            raise CommandError(
                f"The ledger cannot be read: {error.reason}.", returncode=2
            ) from None
        self.stdout.write(jsonlib.dumps(result, default=str) if json else _describe(result))
        if result["failed"] or (execute and not result["current"]):
            raise SystemExit(1)

    def _foresee(self, options: dict[str, Any]) -> dict[str, Any]:
        found = foresee(from_start=options["all"])
        return {
            "executed": False,
            "erased": [_line(it.kind, it.subject_id, it.deletion_id) for it in found.erased],
            "restored": [_line(it.kind, it.subject_id, it.deletion_id) for it in found.restored],
            "put_aside": [_line(it.kind, it.subject_id, it.deletion_id) for it in found.aside],
            "failed": [],
            "current": not gate.look(is_thorough=True),
        }

    def _replay(self, options: dict[str, Any]) -> dict[str, Any]:
        with show_progress() as on_progress:
            done: Replay = replay(
                clock=timezone.now,
                from_start=options["all"],
                puts_aside=options["put_aside"],
                adopts=options["adopt"],
                on_progress=on_progress,
            )
        return {
            "executed": True,
            "erased": [
                {**_line(it.subject.kind, it.subject.id, it.deletion_id), "rows": it.counts}
                for it in done.erased
            ],
            "restored": [_line(it.kind, it.id) for it in done.restored],
            "put_aside": [_line(it.kind, it.id) for it in done.aside],
            "failed": [{**_line(it.kind, it.id), "error": why} for it, why in done.failed.items()],
            "current": done.is_current,
        }


def _line(kind: str, subject_id: Any, deletion_id: Any = None) -> dict[str, Any]:
    line = {"kind": kind, "id": subject_id}
    return {**line, "deletion": deletion_id} if deletion_id else line


def _describe(result: dict[str, Any]) -> str:
    executed = result["executed"]
    lines = [
        *_each("Erased again" if executed else "Would erase again", result["erased"]),
        *_each("Came back" if executed else "Would bring back", result["restored"]),
        *_each("Put aside, suspended", result["put_aside"]),
        *(f"FAILED {it['kind']} {it['id']}: {it['error']}" for it in result["failed"]),
        f"{len(result['erased'])} erased again, {len(result['restored'])} brought back, "
        f"{len(result['failed'])} failed."
        if executed
        else f"{len(result['erased'])} to erase again, {len(result['restored'])} to bring back.",
    ]
    if not executed:
        lines.append("Nothing was changed. Run it again with --execute.")
    elif result["current"]:
        lines.append("The database is up to date with its ledger, and the service is open.")
    else:
        lines.append("The database must still not be read; the service stays shut.")
    return "\n".join(lines)


def _each(verb: str, items: Iterable[dict[str, Any]]) -> list[str]:
    return [f"{verb}: {it['kind']} {it['id']}" for it in items]
