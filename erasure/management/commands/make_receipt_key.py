"""``manage.py make_receipt_key``: a new key that signs receipts."""

import json as jsonlib
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from erasure import signing


class Command(BaseCommand):
    help = (
        "Prints a new Ed25519 private key as a JWK, for RECEIPT_SIGNING_KEY. Nothing is written. "
        "Keep the public half of the key that it replaces in RECEIPT_KEYS, or receipts that were "
        "signed with it verify no longer: --public prints that of the present key."
    )
    # It runs before there is a key, and perhaps before there is a database.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--public",
            action="store_true",
            help="print the key set that receipts and checkpoints are verified with now, and make "
            "nothing",
        )

    def handle(self, *args: Any, public: bool, **options: Any) -> None:
        found = signing.key_set() if public else signing.make_key()
        self.stdout.write(jsonlib.dumps(found, separators=(",", ":")))
