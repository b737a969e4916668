"""What the commands share: exit codes, finding a subject, plans and refusals in words.

Exit codes: 0 done, or a dry run that nothing stands against; 1 refused, and nothing was done; 2
wrong usage, or no such subject.
"""

import json as jsonlib
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, ClassVar, Never

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.text import capfirst

from audit.actors import Actor
from audit.events import Reference
from erasure import gate
from erasure.exceptions import Blocked, PlanDrifted, UnderLegalHold
from erasure.planner import Plan
from erasure.references import read, spell
from erasure.refusals import has_words, tell_refusal
from erasure.subjects import SubjectKind, get_kind, kind_names

REFUSED = 1
MISUSED = 2


class GatedCommand(BaseCommand):
    """A command that does nothing on a database that is older than its ledger: there it would
    show, or let in, the erased."""

    behind: ClassVar[int] = REFUSED
    """The exit code that says so."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        if reason := gate.look():
            raise CommandError(reason, returncode=self.behind)
        return super().execute(*args, **options)


class ErasureCommand(GatedCommand):
    """A command that shows what it would do, and does it with ``--execute``."""

    @property
    def actor(self) -> Actor:
        """Whoever can run a command acts as the system; the log names the command."""
        return Actor.system(type(self).__module__.rpartition(".")[2])

    def add_mode(self, parser: ArgumentParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--execute", action="store_true", help="do it")
        mode.add_argument(
            "--dry-run", action="store_true", help="only say what would happen; the default"
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def write_json(self, told: Mapping[str, Any]) -> None:
        self.stdout.write(jsonlib.dumps(told, default=str))

    def end(self, code: int) -> None:
        """End with an exit code, if it is not that of success."""
        if code:
            raise SystemExit(code)

    def print_plan(self, plan: Plan, label: str) -> None:
        """Print a plan: a table on a terminal, plain lines in a pipe."""
        title = f"{plan.subject.kind} {label}"
        if self.is_terminal:
            _print_table(plan, title)
        else:
            self.stdout.write("\n".join(_tell_plan(plan, title)))

    @property
    def is_terminal(self) -> bool:
        stream = getattr(self.stdout, "_out", self.stdout)
        return bool(stream.isatty())


def misuse(text: str) -> Never:
    """End with the exit code of wrong usage, saying why on standard error."""
    raise CommandError(text, returncode=MISUSED)


def find_subject(text: str, *, kind: str | None = None) -> tuple[Reference, Any]:
    """Return the one subject that an id or an exact name means, with its row.

    Ends the command when there is none, or when a name means several: then it lists them.
    """
    reference = read(text, kind)
    names = [kind] if kind else kind_names()
    if reference is not None and reference.kind in names:
        if (row := row_of(reference)) is not None:
            return reference, row
        misuse(f"There is no {reference.kind} {text!r}.")
    found = [(known, row) for name in names for known, row in _find_by_name(get_kind(name), text)]
    if not found:
        misuse(f"There is no {kind or 'subject'} {text!r}.")
    if len(found) > 1:
        lines = [f"  {known.name} {spell(ref_of(known, row))}" for known, row in found]
        misuse("\n".join([f"{text!r} means several. Name one of them by its id:", *lines]))
    (known, row), *_ = found
    return ref_of(known, row), row


def row_of(subject: Reference) -> Any | None:
    known = get_kind(subject.kind)
    return known.model._default_manager.filter(pk=known.pk_of(subject.id)).first()


def ref_of(kind: SubjectKind, row: Any) -> Reference:
    return Reference(kind.name, kind.id_of(row.pk))


def _find_by_name(kind: SubjectKind, text: str) -> list[tuple[SubjectKind, Any]]:
    condition = kind.named(text)
    if condition is None:
        return []
    rows = kind.model._default_manager.filter(condition).order_by("pk")[:20]
    return [(kind, row) for row in rows]


def foresee_refusal(plan: Plan, *, plan_id: str = "") -> Exception | None:
    """Return what would refuse an erasure by this plan now: drift, a hold or a blocker."""
    if plan_id and plan_id != plan.id:
        return PlanDrifted(["The plan that was named is not what would happen now."])
    if plan.holds:
        return UnderLegalHold(plan.subject.kind, plan.subject.id)
    if plan.blockers:
        return Blocked(plan.subject.kind, plan.subject.id, plan.blockers)
    return None


def describe_refusal(error: Exception) -> dict[str, str]:
    """Return a refusal for ``--json``."""
    return {"code": type(error).__name__, "text": explain(error)}


def explain(error: Exception) -> str:
    """Return why something was refused, in plain words."""
    if not has_words(type(error)):
        return f"It was refused: {type(error).__name__}."
    return f"{capfirst(tell_refusal(error))}."


def parse_day(text: str) -> date:
    """Read a day that is still to come; for argparse."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError("must be a day such as 2027-01-31") from error
    if day <= timezone.localdate():
        raise ArgumentTypeError("must be a day to come")
    return day


def parse_text(text: str) -> str:
    """Read a reason or a reference: 1 to 200 printable characters; for argparse."""
    if not 1 <= len(text) <= 200 or not text.isprintable() or text.isspace():
        raise ArgumentTypeError("must be 1 to 200 printable characters")
    return text


def parse_cap(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise ArgumentTypeError("must be a whole number from 1 up")
    return int(text)


def _sections(plan: Plan) -> list[tuple[str, Mapping[str, int]]]:
    return [
        ("removed", plan.removed),
        ("detached", plan.detached),
        ("anonymised", plan.anonymised),
    ]


def _remarks(plan: Plan) -> Iterable[str]:
    for kept in plan.stays:
        days = f", for {kept.retention_days} days" if kept.retention_days is not None else ""
        rows = f"{kept.label}, if any" if kept.rows is None else f"{kept.rows} {kept.label}"
        yield f"kept: {rows}{days}: {kept.because} ({kept.basis})"
    for other in plan.companions:
        yield f"goes along: {other.kind} {spell(other)}"
    for affected in plan.affected:
        yield f"affects: {affected.subject.kind} {affected.name}: {affected.effect}"
    for effect in plan.effects:
        yield f"outside: {effect.system}: {effect.text}"
    for hold in plan.holds:
        yield f"LEGAL HOLD since {hold.placed_at:%Y-%m-%d}: {hold.reason}"
    for blocker in plan.blockers:
        yield f"IN THE WAY: {blocker.text}"


def _tell_plan(plan: Plan, title: str) -> list[str]:
    least = "at least " if plan.capped else ""
    lines = [title]
    for fate, counts in _sections(plan):
        lines += [f"  {fate}: {least}{count} {model}" for model, count in counts.items()]
    lines += [f"  {remark}" for remark in _remarks(plan)]
    return [*lines, f"  {least}{plan.total} rows in all", f"  {plan.id}"]


def _print_table(plan: Plan, title: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    least = "≥ " if plan.capped else ""
    table = Table(title=escape(title), title_justify="left", show_footer=True)
    table.add_column("model", footer="rows in all")
    table.add_column("rows", justify="right", footer=f"{least}{plan.total}")
    table.add_column("fate", footer="")
    for fate, counts in _sections(plan):
        for model, count in counts.items():
            table.add_row(model, f"{least}{count}", fate)
    console = Console()
    console.print(table)
    for remark in _remarks(plan):
        console.print(escape(remark), highlight=False)
    console.print(plan.id, highlight=False, style="dim")
