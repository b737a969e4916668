"""``manage.py seal_audit_log``: what a worker does every ten seconds, once and in full."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.publishing import publish
from audit.sealing import count_unsealed, seal
from audit.signers import verifiers
from audit.tiles import DamagedTree


class Command(BaseCommand):
    help = (
        "Give committed audit events their place in the Merkle tree, sign a checkpoint, and hand "
        "it out. A worker does this by itself."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--dry-run", action="store_true", help="only say how much there is to do")
        mode.add_argument(
            "--show-keys", action="store_true", help="print the public keys, for offline verifiers"
        )

    def handle(self, *, dry_run: bool, show_keys: bool, **options: Any) -> None:
        if show_keys:
            self.stdout.write("\n".join(map(str, verifiers())))
            return
        if dry_run:
            self.stdout.write(f"{count_unsealed()} events would be sealed.")
            return
        now = timezone.now()
        try:
            done = seal(now=now)
        except DamagedTree as error:
            raise CommandError(str(error)) from error
        text = "Another sealer is at work; " if done.is_busy else ""
        self.stdout.write(f"{text}{done.events} events sealed, {done.size} in all.")
        for name, reason in publish(now=now).items():
            self.stderr.write(f"Not published to {name}: {reason}. The next seal tries again.")
