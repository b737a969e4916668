"""Erasing one subject from the shell: the same steps, whatever it is."""

from argparse import ArgumentParser
from datetime import datetime
from typing import Any, ClassVar

from django.utils import timezone

from audit.events import Reference
from erasure.exceptions import DeletionError
from erasure.executor import erase_now
from erasure.links import spell_deletion
from erasure.management.progress import show_pieces, show_progress
from erasure.management.shell import (
    REFUSED,
    ErasureCommand,
    describe_refusal,
    find_subject,
    foresee_refusal,
    misuse,
    parse_cap,
    parse_text,
)
from erasure.planner import Plan, make_plan
from erasure.references import spell
from erasure.residue import Findings
from erasure.subjects import get_kind
from erasure.verifying import Sought, not_searched, search_erased, take_identifiers

SHOWN = 20
"""Leftovers that are listed in words; ``verify_erasure`` and ``--json`` list all."""


class EraseCommand(ErasureCommand):
    """Shows the plan of one subject's erasure, and with ``--execute`` carries it out."""

    kind: ClassVar[str]
    names: ClassVar[str]
    """What a subject may be called on the command line, for the help."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", metavar=self.kind.upper(), help=self.names)
        parser.add_argument(
            "--plan-id", default="", help="the plan that was approved; refused when it drifted"
        )
        parser.add_argument(
            "--reference",
            type=parse_text,
            help="the case that this belongs to; nobody's name",
        )
        parser.add_argument(
            "--cap", type=parse_cap, help="dry run only: count at most so many rows of a model"
        )
        parser.add_argument(
            "--no-search",
            dest="searches",
            action="store_false",
            help="with --execute: do not search for leftovers afterwards; the receipt says so",
        )
        self.add_mode(parser)

    def handle(
        self,
        *args: Any,
        subject: str,
        plan_id: str,
        reference: str | None,
        cap: int | None,
        searches: bool,
        execute: bool,
        json: bool,
        **options: Any,
    ) -> None:
        if execute and cap:
            misuse("--cap counts for a dry run only.")
        found, row = find_subject(subject, kind=self.kind)
        label = get_kind(found.kind).label(row)
        plan = make_plan(found, cap=cap)
        if not json:
            self.print_plan(plan, label)
        told = self._dry_run(plan, plan_id)
        sought: Sought = {}
        now = timezone.now()
        if execute:
            sought = take_identifiers(found) if searches else {}
            told = self._execute(found, plan_id or plan.id, reference or "", now)
        if not json:
            self._say(told)
        # Told before it is searched: whatever ends the search, the erasure is known to be done.
        left = self._search(sought, now) if told["executed"] and sought else None
        if json:
            search = describe_left(left) if left is not None else None
            self.write_json({**self._describe(plan), **told, "search": search})
        elif left is not None:
            self.stdout.write("\n".join(tell_left(left)))
        self.end(REFUSED if told["refusal"] or left else 0)

    def _search(self, sought: Sought, since: datetime) -> Findings:
        with show_progress() as on_progress:
            return search_erased(
                sought,
                actor=self.actor,
                since=since,
                now=timezone.now(),
                on_progress=on_progress,
            )

    def _dry_run(self, plan: Plan, plan_id: str) -> dict[str, Any]:
        refusal = foresee_refusal(plan, plan_id=plan_id)
        return {
            "executed": False,
            "deletion": None,
            "rows": {},
            "refusal": describe_refusal(refusal) if refusal else None,
        }

    def _execute(
        self, subject: Reference, plan_id: str, reference: str, now: datetime
    ) -> dict[str, Any]:
        """Erase by the plan that was named, or the one that was shown a moment ago."""
        told: dict[str, Any] = {"executed": False, "deletion": None, "rows": {}, "refusal": None}
        try:
            with show_pieces(subject) as on_piece:
                done = erase_now(
                    actor=self.actor,
                    subject=subject,
                    now=now,
                    plan_id=plan_id,
                    reference=reference,
                    on_piece=on_piece,
                )
        except DeletionError as error:
            return {**told, "refusal": describe_refusal(error)}
        return {
            **told,
            "executed": True,
            "deletion": spell_deletion(done.request_id),
            "rows": dict(done.counts),
        }

    def _describe(self, plan: Plan) -> dict[str, Any]:
        subject = {"kind": plan.subject.kind, "id": spell(plan.subject)}
        return {"subject": subject, "plan": plan.as_facts()}

    def _say(self, told: dict[str, Any]) -> None:
        if told["refusal"]:
            self.stdout.write(f"REFUSED. {told['refusal']['text']} Nothing was done.")
        elif told["executed"]:
            rows = sum(told["rows"].values())
            self.stdout.write(f"Erased for ever: {rows} rows. {told['deletion']}")
        else:
            self.stdout.write("Nothing was changed. Run it again with --execute to erase.")


def describe_left(found: Findings) -> dict[str, Any]:
    """Return the result of the search for ``--json``; it says where, never what."""
    return {
        "identifiers": found.identifiers,
        "hits": [
            {"where": hit.where, "column": hit.column, "key": hit.key, "form": hit.form}
            for hit in found
        ],
        "not_searched": not_searched(found),
    }


def tell_left(found: Findings) -> list[str]:
    """Return the result of the search in words, every leftover on a line of its own."""
    many = "identifier" if found.identifiers == 1 else "identifiers"
    lines = [f"Not searched: {what}." for what in not_searched(found)]
    if not found:
        return [*lines, f"Searched for {found.identifiers} {many}: nothing is left."]
    lines += [
        f"LEFT BEHIND: {hit.where}, {hit.column}: {hit.key} ({hit.form})"
        for hit in found.hits[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(f"LEFT BEHIND: {len(found) - SHOWN} more.")
    return [*lines, f"SOMETHING IS LEFT: {len(found)} hits of {found.identifiers} {many}."]
