"""``manage.py verify_receipt``: whether a receipt is genuine."""

import json as jsonlib
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from erasure import signing
from erasure.receipts import verify

CHANGED, USAGE, UNKNOWN_KEY = 1, 2, 3


class Command(BaseCommand):
    help = (
        "Verifies a receipt against this service's own keys, or those of a file. Needs neither the "
        "database nor a network. Exit codes: 0 genuine, 1 changed or no receipt, 2 wrong usage or "
        "a file that cannot be read, 3 signed with a key that is not at hand."
    )
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the receipt, a JWS in compact form; - is standard input")
        parser.add_argument(
            "--jwks", help="a file with the issuer's key set, as /.well-known/jwks.json serves it"
        )
        parser.add_argument("--key", help="a file with one public key, as JWK or PEM")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, file: str, json: bool, **options: Any) -> None:
        receipt = _read(file)
        keys = _read_keys(options["jwks"] or options["key"])
        try:
            claims = verify(receipt, keys)
        except signing.InvalidReceipt as error:
            code = UNKNOWN_KEY if isinstance(error, signing.UnknownKey) else CHANGED
            if json:
                self.stdout.write(jsonlib.dumps({"valid": False, "reason": str(error)}))
            raise CommandError(f"Not genuine. {error}", returncode=code) from None
        if json:
            self.stdout.write(jsonlib.dumps({"valid": True, "claims": claims}))
            return
        self.stdout.write("Genuine.")
        self.stdout.write(jsonlib.dumps(claims, indent=2, ensure_ascii=False))


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read {file}: {error}", returncode=USAGE) from None


def _read_keys(file: str | None) -> list[dict[str, str]]:
    try:
        return signing.read_keys(_read(file)) if file else signing.key_set()["keys"]
    except (ValueError, KeyError, TypeError, OSError, ImproperlyConfigured) as error:
        raise CommandError(f"Cannot read the keys: {error}", returncode=USAGE) from None
