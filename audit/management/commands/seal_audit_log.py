"""``manage.py seal_audit_log``: what a worker does every ten seconds, once and in full."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.management.shell import spell_count
from audit.models import AuditEvent
from audit.publishing import publish
from audit.sealing import accept as accept_events
from audit.sealing import count_unsealed, seal
from audit.signers import verifiers
from audit.tiles import DamagedTree


class Command(BaseCommand):
    help = (
        "Give committed audit events their place in the Merkle tree, sign a checkpoint, and hand "
        "it out. A worker does this by itself."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="only say how much there is to do"
        )
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument(
            "--show-keys", action="store_true", help="print the public keys, for offline verifiers"
        )
        mode.add_argument(
            "--accept",
            metavar="EVENT",
            nargs="+",
            default=[],
            help="seal these events, too, although the service does not vouch for them, as when "
            "SECRET_KEY was lost; the log tells of it",
        )

    def handle(
        self, *, dry_run: bool, show_keys: bool, accept: Sequence[str], **options: Any
    ) -> None:
        if show_keys:
            self.stdout.write("\n".join(map(str, verifiers())))
            return
        accepted = _find(accept)
        if dry_run:
            self.stdout.write(f"{spell_count(count_unsealed(), 'event')} to be sealed.")
            if accepted:
                self.stdout.write(f"Would be accepted: {spell_count(len(accepted), 'event')}.")
            return
        now = timezone.now()
        try:
            done = accept_events(accepted, now=now) if accepted else seal(now=now)
        except DamagedTree as error:
            raise CommandError(str(error)) from error
        text = "Another sealer is at work; " if done.is_busy else ""
        self.stdout.write(f"{text}{spell_count(done.events, 'event')} sealed, {done.size} in all.")
        if done.refused:
            self.stdout.write(
                f"{spell_count(done.refused, 'event')} refused: the service did not write them, or "
                "not so, or they were sealed before. See verify_audit_log."
            )
        for name, reason in publish(now=now).items():
            self.stderr.write(f"Not published to {name}: {reason}. The next seal tries again.")


def _find(texts: Sequence[str]) -> list[UUID]:
    found = []
    for text in texts:
        try:
            event = UUID(text)
        except ValueError:
            event = None
        if event is None or not AuditEvent.objects.filter(pk=event, sealed_seq=None).exists():
            raise CommandError(f"{text} is not an event that waits for its seal.", returncode=2)
        found.append(event)
    return found
