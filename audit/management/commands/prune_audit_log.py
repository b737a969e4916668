"""``manage.py prune_audit_log``: remove events from before a time. Their hashes stay."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.forgetting import prune
from audit.management.shell import parse_days, spell_count


class Command(BaseCommand):
    help = (
        "Remove sealed audit events that are older than so many days, with what is personal about "
        "them. The tree keeps their hashes, so that every older proof holds, and an event tells "
        "which positions were removed. Without --execute it only counts."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", type=parse_days, required=True, metavar="DAYS")
        mode = parser.add_mutually_exclusive_group()
        mode.add_argument("--execute", action="store_true", help="do it")
        mode.add_argument("--dry-run", action="store_true", help="only count; the default")

    def handle(self, *, older_than: timedelta, execute: bool, **options: Any) -> None:
        before = timezone.now() - older_than
        removed = prune(before=before, execute=execute)
        verb = "removed" if execute else "would be removed"
        self.stdout.write(f"{spell_count(removed, 'event')} {verb}.")
        if execute and (left := prune(before=before, execute=False)):
            self.stdout.write(
                f"{spell_count(left, 'event')} left: not what was sealed. See verify_audit_log."
            )
