"""``manage.py audit_log``: read the log on the shell, or write it as a file that proves itself."""

import json
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.exporting import NothingSealed, export
from audit.management.shell import add_filters, add_kept, read_sizes, wanted_from
from audit.models import AuditEvent
from audit.querying import describe, read_page
from audit.tiles import DamagedTree
from erasure.typeids import spell_id


class Command(BaseCommand):
    help = (
        "Show audit events, newest first. With --export they are written as lines of JSON, which "
        "verify_audit_export checks with the public key alone."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_filters(parser)
        parser.add_argument("--limit", type=int, default=50, help="so many at most; 50")
        parser.add_argument("--json", action="store_true", help="print a JSON object for each")
        parser.add_argument("--export", type=Path, metavar="FILE", help="write to a file; - is out")
        parser.add_argument(
            "--with-details",
            action="store_true",
            help="export the personal values that there are, too",
        )
        add_kept(parser)

    def handle(self, **options: Any) -> None:
        if options["export"]:
            self._export(options["export"], options)
            return
        for event in read_page(wanted_from(options), before=None, limit=options["limit"]):
            self.stdout.write(_as_json(event) if options["json"] else _as_line(event))

    def _export(self, path: Path, options: dict[str, Any]) -> None:
        kept = read_sizes(options["kept"])
        try:
            lines = export(wanted_from(options), with_details=options["with_details"], kept=kept)
        except NothingSealed:
            raise CommandError(
                "Nothing is sealed: there is no event yet, or seal_audit_log says why."
            ) from None
        try:
            with closing(lines):
                self._write(path, lines)
        except DamagedTree as error:
            raise CommandError(
                f"The export is broken, and no verifier accepts it: {error}. See verify_audit_log."
            ) from error

    def _write(self, path: Path, lines: Iterable[str]) -> None:
        if str(path) == "-":
            self.stdout.writelines(lines)
            return
        with path.open("x") as file:
            path.chmod(0o600)
            file.writelines(lines)


def _as_line(event: AuditEvent) -> str:
    at = f"{event.at:%Y-%m-%d %H:%M:%S}"
    subject = f"{event.subject_kind}:{event.subject_id}" if event.subject_id else "-"
    actor = f"{event.actor_kind}:{event.actor_id}" if event.actor_id else event.actor_kind
    facts = f"  {json.dumps(event.facts)}" if event.facts else ""
    return (
        f"{at}  {event.place}  {event.action}  {subject}  by {actor}  {event.channel}  "
        f"{spell_id('evt', event.pk)}{facts}"
    )


def _as_json(event: AuditEvent) -> str:
    at = {"position": event.sealed_seq, "forged": event.is_forged}
    return json.dumps({**at, **describe(event)}, default=str)
