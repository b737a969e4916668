"""``manage.py verify_erasure``: is anything left of somebody?"""

import json as jsonlib
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from audit.actors import Actor
from erasure import receipts
from erasure.links import read_deletion, spell_deletion
from erasure.management.progress import show_progress
from erasure.management.shell import GatedCommand
from erasure.models import DeletionRequest
from erasure.needles import TooShort
from erasure.residue import Findings, Hit, search
from erasure.signing import InvalidReceipt
from erasure.verifying import record_search

BEHIND = 3


class Command(GatedCommand):
    behind = BEHIND
    help = (
        "Searches every column of every table, stored files, caches, mail and sessions for "
        "identifiers: e-mail addresses, names, ids. Finds them as they are, in another case, "
        "URL-encoded, in base64, JSON and HTML. Says where each one lies and never prints it. "
        "With --deletion the receipt of that deletion states the result. "
        "Exit codes: 0 nothing found, 1 something found, 2 wrong usage, 3 the database is older "
        "than its ledger, and nothing was searched."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("identifiers", nargs="*", metavar="IDENTIFIER")
        parser.add_argument(
            "--from",
            dest="source",
            metavar="FILE",
            help="read identifiers from a file, one a line; - is standard input",
        )
        parser.add_argument(
            "--skip", action="append", default=[], metavar="TABLE", help="leave a table out"
        )
        parser.add_argument(
            "--raw",
            action="store_true",
            help="also read the database's own files, deleted pages included",
        )
        parser.add_argument(
            "--deletion",
            metavar="DELETION",
            help="a finished deletion: search for its subject's id as well, and let its receipt "
            "state the result",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self,
        *args: Any,
        identifiers: list[str],
        source: str | None,
        skip: list[str],
        raw: bool,
        deletion: str | None,
        json: bool,
        **options: Any,
    ) -> None:
        wanted = [*identifiers, *(_read_lines(source) if source else ())]
        request = _find_deletion(deletion) if deletion else None
        if request is not None:
            wanted.append(str(request.subject_id))
        if not wanted:
            raise CommandError("Name at least one identifier.", returncode=2)
        started = monotonic()
        try:
            with show_progress() as on_progress:
                found = search(wanted, skip_tables=skip, raw=raw, on_progress=on_progress)
        except TooShort as error:
            raise CommandError(f"Not searched: {error}.", returncode=2) from error
        seconds = monotonic() - started
        if request is not None:
            _record(request, found, skip)
        if json:
            facts = _facts(found, len(wanted), seconds)
            name = spell_deletion(request.pk) if request else None
            self.stdout.write(jsonlib.dumps({**facts, "deletion": name}))
        else:
            self.stdout.write(_describe(found, len(wanted), seconds))
            if request is not None:
                self.stdout.write(f"The receipt of {spell_deletion(request.pk)} states this now.")
        if found:
            raise SystemExit(1)


def _find_deletion(text: str) -> DeletionRequest:
    """Return the deletion whose receipt is to state the result, before anything is searched."""
    pk = read_deletion(text)
    request: DeletionRequest | None = DeletionRequest.objects.filter(pk=pk).first() if pk else None
    if request is None:
        raise CommandError(f"There is no deletion {text!r}.", returncode=2)
    _refuse(request, receipts.forbid_changed)
    return request


def _record(request: DeletionRequest, found: Findings, skipped: list[str]) -> None:
    left_out = [f"table {table}: left out" for table in skipped]
    told = replace(found, unsearched=[*found.unsearched, *left_out])
    actor = Actor.system("verify_erasure")
    _refuse(request, lambda it: record_search(it, told, actor=actor, now=timezone.now()))


def _refuse(request: DeletionRequest, step: Callable[[DeletionRequest], None]) -> None:
    name = spell_deletion(request.pk)
    try:
        step(request)
    except receipts.ReceiptMissing as error:
        raise CommandError(f"{name} has no receipt.", returncode=2) from error
    except InvalidReceipt as error:
        text = f"The receipt of {name} does not verify, so nothing is signed anew: {error}"
        raise CommandError(text, returncode=2) from error


def _read_lines(source: str) -> list[str]:
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{source} cannot be read.", returncode=2) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _facts(found: Findings, identifiers: int, seconds: float) -> dict[str, Any]:
    return {
        "found": bool(found),
        "identifiers": identifiers,
        "hits": [_hit_facts(hit) for hit in sorted(found, key=_order)],
        "kept": [{**_hit_facts(one.hit), "because": one.because} for one in found.kept],
        "cut": found.is_cut,
        "not_searched": found.unsearched,
        "tables": found.tables,
        "bytes": found.read,
        "seconds": round(seconds, 3),
    }


def _hit_facts(hit: Hit) -> dict[str, Any]:
    facts = hit._asdict()
    return {"identifier": facts.pop("needle") + 1, **facts}


def _describe(found: Findings, identifiers: int, seconds: float) -> str:
    lines = [
        f"Identifier {needle + 1} in {where}, {column}: {_rows(list(hits))}"
        for (needle, where, column), hits in groupby(sorted(found, key=_order), key=_order)
    ]
    kept = Counter((one.hit.where, one.hit.column, one.because) for one in found.kept)
    lines += [
        f"Kept, as declared: {count} in {where}, {column}. {because}"
        for (where, column, because), count in sorted(kept.items())
    ]
    lines += [f"Not searched: {what}." for what in found.unsearched]
    many = "identifier" if identifiers == 1 else "identifiers"
    size = f"{found.tables} tables, {found.read / 1e6:,.1f} MB in {seconds:.1f} s"
    if not found:
        lines.append(f"Nothing found of {identifiers} {many} in {size}.")
    elif found.is_cut:
        lines.append(f"Stopped after {len(found)} hits of {identifiers} {many}.")
    else:
        lines.append(f"Found {len(found)} hits of {identifiers} {many} in {size}.")
    return "\n".join(lines)


def _order(hit: Hit) -> tuple[int, str, str]:
    return hit.needle, hit.where, hit.column


def _rows(hits: list[Hit]) -> str:
    shown = [f"{hit.key} ({hit.form})" if hit.key else f"({hit.form})" for hit in hits[:10]]
    more = f" and {len(hits) - 10} more" if len(hits) > 10 else ""
    return "; ".join(shown) + more
