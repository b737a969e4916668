"""``manage.py erase_logs``: erase what the audit log holds about somebody, and nothing else."""

from argparse import ArgumentParser
from typing import Any

from django.db.models import Q
from django.utils import timezone

from audit.models import AuditEvent, EventDetail
from erasure.exceptions import UnderLegalHold
from erasure.holds import is_held
from erasure.logs import erase_logs
from erasure.management.shell import REFUSED, ErasureCommand, describe_refusal, misuse
from erasure.references import read, spell
from erasure.subjects import kind_names


class Command(ErasureCommand):
    help = (
        "Erases the personal values in the audit log of all events that somebody acted in or that "
        "are about them, also after their own erasure; the events stay, and so does the account. "
        "Without --execute it only says how many there are. Exit codes: 0 done; 1 refused, nothing "
        "was done; 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", metavar="ID", help="the id, of somebody erased too")
        parser.add_argument("--kind", choices=kind_names(), help="what a bare id is of")
        self.add_mode(parser)

    def handle(
        self, *args: Any, subject: str, kind: str | None, execute: bool, json: bool, **options: Any
    ) -> None:
        found = read(subject, kind)
        if found is None:
            misuse(f"{subject!r} is no id, or needs --kind.")
        living = read(str(found.id))
        if living and living != found:
            misuse(f"{subject!r} is the id of a {living.kind}.")
        # Of whom is gone the log knows the kind. The event of an erasure accounts for no other's.
        about = AuditEvent.objects.filter(subject_id=found.id, subject_kind__in=kind_names())
        known = set(about.order_by().values_list("subject_kind", flat=True).distinct())
        if known and found.kind not in known:
            misuse(f"{subject!r} is the id of a {min(known)}.")
        refusal = UnderLegalHold(found.kind, found.id) if is_held(found) else None
        theirs = EventDetail.objects.filter(Q(person_id=found.id) | Q(subject_id=found.id))
        values = theirs.count()
        if execute:
            try:
                values = erase_logs(actor=self.actor, subject=found, now=timezone.now())
            except UnderLegalHold as error:
                refusal = error
        told = describe_refusal(refusal) if refusal else None
        name, is_done = spell(found), execute and refusal is None
        if json:
            who = {"kind": found.kind, "id": name}
            self.write_json(
                {"executed": is_done, "subject": who, "values": values, "refusal": told}
            )
        elif told:
            self.stdout.write(f"{found.kind} {name}: refused. {told['text']}")
        else:
            verb = "were erased" if is_done else "would be erased"
            self.stdout.write(f"{found.kind} {name}: personal values that {verb}: {values}.")
        self.end(REFUSED if refusal else 0)
