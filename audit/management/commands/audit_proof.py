"""``manage.py audit_proof EVENT``: the proof that an event is in the log, as JSON."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.management.shell import add_kept, misuse, read_sizes
from audit.proving import NotSealed, prove
from audit.tiles import DamagedTree
from erasure.typeids import read_id, read_uuid


class Command(BaseCommand):
    help = (
        "Print the proof that an event is in the log: verify_audit_export checks it with the "
        "public key alone. It holds nothing personal."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("event", help="an event's id, evt_… or bare")
        add_kept(parser)

    def handle(self, *, event: str, kept: list[Path], **options: Any) -> None:
        found = read_uuid(event) or read_id("evt", event)
        if found is None:
            raise misuse(f"{event!r} is no event's id.")
        try:
            self.stdout.write(json.dumps(prove(found, kept=read_sizes(kept))))
        except NotSealed:
            raise CommandError("There is no such event, or it is not sealed yet.") from None
        except DamagedTree as error:
            raise CommandError(f"No proof: {error}. Run verify_audit_log.") from error
