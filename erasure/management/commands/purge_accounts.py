"""``manage.py purge_accounts``: erase what is due."""

import json as jsonlib
import re
from abc import ABC, abstractmethod
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from audit.actors import Actor
from erasure import gate
from erasure.brakes import standing_pause
from erasure.closing import Erasure
from erasure.executor import preview
from erasure.physical import clean, truncate_wal
from erasure.purging import PurgeReport, find_due, purge_due
from erasure.subjects import get_kind, kind_names
from erasure.verifying import Residue

FAILED, STOPPED, LEFT = 1, 3, 4

SHOWN = 20
"""Leftovers that are listed in words; ``--json`` lists a hundred and counts them all."""


class Command(BaseCommand):
    help = (
        "Erases every subject whose grace period is over and that is under no legal hold. Without "
        "--execute it only says what it would erase. Exit codes: 0 all well; 1 some erasures "
        "failed, are named, and will be tried again; 2 wrong usage; 3 stopped early: by a pause, "
        "by too many failures, by --max-rows or by a ledger that cannot be written; 4 something is "
        "left of whoever was erased, whatever else happened."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--execute", action="store_true", help="erase; irreversible")
        mode.add_argument("--dry-run", action="store_true", help="change nothing (the default)")
        parser.add_argument("--limit", type=_positive, help="at most so many subjects")
        parser.add_argument("--max-rows", type=_positive, help="at most so many rows")
        parser.add_argument(
            "--older-than", type=_age, metavar="AGE", help="only what is overdue by 12h, 7d or more"
        )
        parser.add_argument("--kind", choices=kind_names(), help="only subjects of this kind")
        parser.add_argument("--jobs", type=_positive, help="processes, on PostgreSQL")
        parser.add_argument(
            "--physical",
            nargs="?",
            const="vacuum",
            choices=("vacuum", "rewrite"),
            help="afterwards, vacuum the tables that lost rows, or write them anew under a lock "
            "that stops their readers and writers (PostgreSQL)",
        )
        parser.add_argument(
            "--search",
            action=BooleanOptionalAction,
            default=None,
            help="afterwards, search for what is left of those who were erased, and let their "
            "receipts state it (default: the setting ERASURE_PURGE_SEARCH)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, execute: bool, json: bool, **options: Any) -> None:
        now = timezone.now()
        age: timedelta | None = options["older_than"]
        chosen = {
            "limit": options["limit"],
            "max_rows": options["max_rows"],
            "before": now - age if age else None,
            "only": options["kind"],
        }
        told = _Json(self.stdout, execute) if json else _Words(self.stdout, execute)
        if execute:
            report = self._purge(
                told, now, jobs=options["jobs"], searches=options["search"], **chosen
            )
        else:
            report = self._dry_run(told, now, **chosen)
        left = _clean(report, options["physical"]) if execute else ()
        told.end(report, left)
        if report.residue and report.residue.left:
            raise SystemExit(LEFT)
        if report.failed:
            raise SystemExit(FAILED)
        if report.stopped:
            raise SystemExit(STOPPED)

    def _dry_run(
        self,
        told: "_Told",
        now: datetime,
        *,
        limit: int | None,
        max_rows: int | None,
        before: datetime | None,
        only: str | None,
    ) -> PurgeReport:
        report = PurgeReport(stopped=gate.look())
        if report.stopped:
            return report
        if (pause := standing_pause()) is not None:
            report.stopped = f"paused: {pause.reason}"
        due = find_due(now, before, only)
        with _progress(min(due.count(), limit or due.count())) as advance:
            for request in due[:limit].iterator(chunk_size=500):
                plan = preview(request.subject)
                rows = plan.removed if plan else {}
                if max_rows is not None and report.total + sum(rows.values()) > max_rows:
                    break
                report.take(rows)
                told.subject(request.subject.kind, request.subject.id, request.pk, rows)
                advance(1)
        return report

    def _purge(
        self,
        told: "_Told",
        now: datetime,
        *,
        jobs: int | None,
        searches: bool | None,
        **chosen: Any,
    ) -> PurgeReport:
        due = find_due(now, chosen["before"], chosen["only"]).count()
        with _progress(min(due, chosen["limit"] or due)) as advance:

            def show(done: Sequence[Erasure], report: PurgeReport) -> None:
                for it in done:
                    told.subject(it.subject.kind, it.subject.id, it.request_id, it.counts)
                advance(len(done))

            return purge_due(
                actor=Actor.system("purge_accounts"),
                clock=timezone.now,
                jobs=jobs,
                searches=searches,
                on_progress=show,
                **chosen,
            )


def _clean(report: PurgeReport, physical: str | None) -> Sequence[str]:
    """Take old bytes off the disk and return what stays there. SQLite's log is always cut."""
    if connection.in_atomic_block:
        return ()
    if physical is None:
        return truncate_wal().left
    return clean(report.rows, rewrite=physical == "rewrite").left


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """A bar on the terminal of whoever watches; nothing in a log or a pipe."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = (TextColumn("erasing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.advance(task, done)


class _Told(ABC):
    """Says what happens while it happens, so that no run is too long for the memory."""

    def __init__(self, out: Any, executed: bool) -> None:
        self.out, self.executed, self.subjects = out, executed, 0

    @abstractmethod
    def subject(self, kind: str, pk: Any, deletion: Any, rows: Mapping[str, int]) -> None:
        """Tell of one who was, or would be, erased."""

    @abstractmethod
    def end(self, report: PurgeReport, left: Sequence[str]) -> None:
        """Tell what the whole run came to, and what is left on disk."""


class _Json(_Told):
    def subject(self, kind: str, pk: Any, deletion: Any, rows: Mapping[str, int]) -> None:
        self._begin()
        facts = {
            "kind": kind,
            "id": str(pk),
            "deletion": str(deletion),
            "rows": _sorted(kind, rows),
        }
        self.out.write(f"{', ' if self.subjects else ''}{jsonlib.dumps(facts)}", ending="")
        self.subjects += 1

    def end(self, report: PurgeReport, left: Sequence[str]) -> None:
        self._begin()
        rest = {
            "failed": [{"deletion": str(pk), "error": why} for pk, why in report.failed.items()],
            "rows": report.total,
            "held": report.held,
            "paused": report.paused,
            "busy": report.busy,
            "stopped": report.stopped,
            "left_on_disk": list(left),
            "search": _describe(report.residue) if report.residue else None,
        }
        self.out.write(f"], {jsonlib.dumps(rest)[1:]}")

    def _begin(self) -> None:
        if not self.subjects and not getattr(self, "has_begun", False):
            self.has_begun = True
            self.out.write(
                f'{{"executed": {jsonlib.dumps(self.executed)}, "subjects": [', ending=""
            )


class _Words(_Told):
    def subject(self, kind: str, pk: Any, deletion: Any, rows: Mapping[str, int]) -> None:
        listed = ", ".join(f"{n} {model}" for model, n in _sorted(kind, rows).items())
        self.out.write(f"{self._verb} {kind} {pk}: {listed or 'gone already'}")

    def end(self, report: PurgeReport, left: Sequence[str]) -> None:
        for pk, why in report.failed.items():
            self.out.write(f"FAILED {pk}: {why}")
        self.out.write(f"{self._verb} {report.erased} subjects, {report.total} rows.")
        if waiting := report.held + report.paused + report.busy:
            self.out.write(f"{waiting} subjects wait: on hold, paused, or somebody works on them.")
        if report.stopped:
            self.out.write(f"STOPPED: {report.stopped}.")
        for text in left:
            self.out.write(f"Left on disk: {text}.")
        if report.residue:
            self.out.write("\n".join(_tell(report.residue)))
        if not self.executed:
            self.out.write("Nothing was changed. Run it again with --execute to erase.")

    @property
    def _verb(self) -> str:
        return "Erased" if self.executed else "Would erase"


def _describe(residue: Residue) -> dict[str, Any]:
    """Say where, never what."""
    return {
        "subjects": residue.subjects,
        "identifiers": residue.identifiers,
        "hits": residue.hits,
        "left": [{"deletion": str(pk), "hits": hits} for pk, hits in residue.left.items()],
        "listed": [
            {
                "deletion": str(pk),
                "where": hit.where,
                "column": hit.column,
                "key": hit.key,
                "form": hit.form,
            }
            for pk, hit in residue.listed
        ],
        "not_searched": residue.not_searched,
        "missed": residue.missed,
    }


def _tell(residue: Residue) -> list[str]:
    lines = [f"Not searched: {what}." for what in residue.not_searched]
    lines += [
        f"LEFT BEHIND of {pk}: {hit.where}, {hit.column}: {hit.key} ({hit.form})"
        for pk, hit in residue.listed[:SHOWN]
    ]
    if residue.hits > SHOWN:
        lines.append(f"LEFT BEHIND: {residue.hits - SHOWN} more.")
    if residue.missed:
        lines.append(f"{residue.missed} subjects were not searched for; their receipts say so.")
    searched = f"Searched for {residue.subjects} subjects, {residue.identifiers} identifiers"
    if not residue.left:
        return [*lines, f"{searched}: nothing is left."]
    return [
        *lines,
        f"{searched}. SOMETHING IS LEFT of {len(residue.left)}: {residue.hits} hits.",
    ]


def _sorted(kind: str, rows: Mapping[str, int]) -> dict[str, int]:
    """The subject's own row first, the others by label."""
    own = get_kind(kind).model_label
    return dict(sorted(rows.items(), key=lambda item: (item[0] != own, item[0])))


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("must be a whole number from 1 up")
    return int(text)


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+)([hd])", text)
    if not found:
        raise ArgumentTypeError("must be hours or days, such as 12h or 7d")
    number = int(found[1])
    return timedelta(hours=number) if found[2] == "h" else timedelta(days=number)
