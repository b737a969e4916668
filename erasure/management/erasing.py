"""Erasing one subject from the shell: the same steps, whatever it is."""

from argparse import ArgumentParser
from typing import Any, ClassVar

from django.utils import timezone

from audit.events import Reference
from erasure.exceptions import DeletionError
from erasure.executor import erase_now
from erasure.links import spell_deletion
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
from erasure.subjects import get_kind


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
        self.add_mode(parser)

    def handle(
        self,
        *args: Any,
        subject: str,
        plan_id: str,
        reference: str | None,
        cap: int | None,
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
        if execute:
            told = self._execute(found, plan_id or plan.id, reference or "")
        if json:
            self.write_json({**self._describe(plan), **told})
        else:
            self._say(told)
        self.end(REFUSED if told["refusal"] else 0)

    def _dry_run(self, plan: Plan, plan_id: str) -> dict[str, Any]:
        refusal = foresee_refusal(plan, plan_id=plan_id)
        return {
            "executed": False,
            "deletion": None,
            "rows": {},
            "refusal": describe_refusal(refusal) if refusal else None,
        }

    def _execute(self, subject: Reference, plan_id: str, reference: str) -> dict[str, Any]:
        """Erase by the plan that was named, or the one that was shown a moment ago."""
        told: dict[str, Any] = {"executed": False, "deletion": None, "rows": {}, "refusal": None}
        try:
            done = erase_now(
                actor=self.actor,
                subject=subject,
                now=timezone.now(),
                plan_id=plan_id,
                reference=reference,
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
