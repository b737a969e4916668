"""``manage.py restore_account``: undo a soft delete within its grace period."""

from argparse import ArgumentParser
from dataclasses import replace
from typing import Any

from django.utils import timezone

from audit.events import Reference
from erasure.deleting import restore
from erasure.exceptions import (
    DeletionError,
    GraceExpired,
    NotRestorable,
    RestoreError,
    TakenAlong,
)
from erasure.links import spell_deletion
from erasure.management.shell import (
    REFUSED,
    ErasureCommand,
    describe_refusal,
    find_subject,
    parse_text,
)
from erasure.models import DeletionRequest
from erasure.references import spell
from erasure.requests import find_taker
from erasure.subjects import get_kind, kind_names


class Command(ErasureCommand):
    help = (
        "Restores a deleted user or organization, with everything that its deletion took; API keys "
        "and sign-ins stay ended. Without --execute it only says what it would do. Exit codes: 0 "
        "restored, or nothing stands against it; 1 refused, nothing was done; 2 wrong usage, no "
        "such subject, or a name that means several."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "subject", metavar="SUBJECT", help="an id, a username, an e-mail address or a slug"
        )
        parser.add_argument("--kind", choices=kind_names(), help="where names are looked for")
        parser.add_argument(
            "--reference",
            type=parse_text,
            help="the case that this belongs to; nobody's name",
        )
        parser.add_argument(
            "--reason",
            type=parse_text,
            help="why, in your own words; erased with the person whom it is about",
        )
        self.add_mode(parser)

    def handle(
        self,
        *args: Any,
        subject: str,
        kind: str | None,
        reference: str | None,
        reason: str | None,
        execute: bool,
        json: bool,
        **options: Any,
    ) -> None:
        found, row = find_subject(subject, kind=kind)
        deletion = DeletionRequest.objects.about(found).open().first()
        refusal = self._foresee(found, row, deletion)
        restored = False
        if execute:
            refusal = self._restore(found, reference or "", reason or "")
            restored = refusal is None
        told = {
            "executed": restored,
            "subject": {"kind": found.kind, "id": spell(found)},
            "deletion": spell_deletion(deletion.pk) if deletion else None,
            "due_at": deletion.due_at.isoformat() if deletion else None,
            "refusal": refusal,
        }
        if json:
            self.write_json(told)
        else:
            self._say(told, get_kind(found.kind).label(row))
        self.end(REFUSED if refusal else 0)

    def _foresee(
        self, subject: Reference, row: Any, deletion: DeletionRequest | None
    ) -> dict[str, str] | None:
        if deletion is None or deletion.state != DeletionRequest.State.SCHEDULED:
            return describe_refusal(NotRestorable(subject.id))
        if (taker := find_taker(deletion)) is not None:
            return describe_refusal(TakenAlong(subject.id, taker.subject))
        if deletion.due_at <= timezone.now():
            return describe_refusal(GraceExpired(subject.id, deletion.due_at))
        hindrance = get_kind(subject.kind).foresee_resume(row)
        return {"code": "NameTaken", "text": hindrance} if hindrance else None

    def _restore(self, subject: Reference, reference: str, reason: str) -> dict[str, str] | None:
        actor = replace(self.actor, reason=reason)
        try:
            restore(actor=actor, subject=subject, now=timezone.now(), reference=reference)
        except (RestoreError, DeletionError) as error:
            return describe_refusal(error)
        return None

    def _say(self, told: dict[str, Any], label: str) -> None:
        name = f"{told['subject']['kind']} {label}"
        if told["refusal"]:
            self.stdout.write(f"REFUSED: {name}. {told['refusal']['text']} Nothing was done.")
        elif told["executed"]:
            self.stdout.write(f"Restored: {name}.")
        else:
            self.stdout.write(
                f"Would restore {name}, which is due to be erased on {told['due_at']}.\n"
                "Nothing was changed. Run it again with --execute to restore."
            )
