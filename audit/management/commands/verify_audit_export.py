"""``manage.py verify_audit_export``: check an export or a proof, without the database.

The same as ``python -m audit.offline``, which needs no Django either.
"""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from audit import offline


class Command(BaseCommand):
    help = "Check a file of audit_log --export or of audit_proof with the public key alone."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--key", required=True, help="the public key, or a file that holds it")
        parser.add_argument(
            "--since", type=Path, action="append", default=[], help="an older checkpoint"
        )

    def handle(self, *, file: Path, key: str, since: list[Path], **options: Any) -> None:
        given = [str(file), "--key", key, *(it for one in since for it in ("--since", str(one)))]
        if code := offline.main(given):
            raise SystemExit(code)
