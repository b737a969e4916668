"""``manage.py purge_accounts``: erase what is due."""

import json as jsonlib
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from audit.actors import Actor
from erasure.executor import PurgeReport, preview, purge_due
from erasure.models import DeletionRequest


class Command(BaseCommand):
    help = (
        "Erases every subject whose grace period is over and that is under no legal hold. Without "
        "--execute it only says what it would erase. Exit codes: 0 all well, 1 some erasures "
        "failed and will be tried again, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--execute", action="store_true", help="erase; irreversible")
        parser.add_argument("--limit", type=_positive, help="at most so many subjects")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self, *args: Any, execute: bool, limit: int | None, json: bool, **options: Any
    ) -> None:
        result = self._purge(limit) if execute else self._dry_run(limit)
        self.stdout.write(jsonlib.dumps(result, default=str) if json else _describe(result))
        if result["failed"]:
            raise SystemExit(1)

    def _dry_run(self, limit: int | None) -> dict[str, Any]:
        due = DeletionRequest.objects.due(timezone.now())[:limit]
        plans = []
        for request in due:
            plan = preview(request.subject)
            rows = plan.removed if plan else {}
            plans.append(_line(request.subject, request.pk, rows))
        return {"executed": False, "subjects": plans, "failed": []}

    def _purge(self, limit: int | None) -> dict[str, Any]:
        report: PurgeReport = purge_due(
            actor=Actor.system("purge_accounts"), clock=timezone.now, limit=limit
        )
        erased = [_line(done.subject, done.request_id, done.counts) for done in report.erased]
        failed = [{"deletion": pk, "error": why} for pk, why in report.failed.items()]
        return {"executed": True, "subjects": erased, "failed": failed}


def _line(subject: Any, deletion: Any, rows: dict[str, int]) -> dict[str, Any]:
    return {**asdict(subject), "deletion": deletion, "rows": rows}


def _describe(result: dict[str, Any]) -> str:
    verb = "Erased" if result["executed"] else "Would erase"
    lines = [
        f"{verb} {it['kind']} {it['id']}: "
        + (", ".join(f"{n} {model}" for model, n in it["rows"].items()) or "gone already")
        for it in result["subjects"]
    ]
    lines += [f"FAILED {it['deletion']}: {it['error']}" for it in result["failed"]]
    rows = sum(sum(it["rows"].values()) for it in result["subjects"])
    lines.append(f"{verb} {len(result['subjects'])} subjects, {rows} rows.")
    if not result["executed"]:
        lines.append("Nothing was changed. Run it again with --execute to erase.")
    return "\n".join(lines)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("must be a whole number from 1 up")
    return int(text)
