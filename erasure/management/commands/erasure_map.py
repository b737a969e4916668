"""``manage.py erasure_map``: what happens to every stored field when somebody is erased."""

import json
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand

from erasure.charts import as_json, as_markdown, as_mermaid, as_table
from erasure.mapping import Entry, read_map

FORMATS: dict[str, Callable[[list[Entry]], str]] = {
    "table": as_table,
    "json": lambda entries: json.dumps(as_json(entries), indent=2),
    "markdown": as_markdown,
    "mermaid": as_mermaid,
}


class Command(BaseCommand):
    help = (
        "Prints what happens to every table when a subject is erased, and why something stays: the "
        "part of the record of processing (Art. 30 GDPR) that the database can tell. Exit codes: "
        "0 printed, 2 wrong usage."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=FORMATS, default="table", help="default: table")

    def handle(self, *args: Any, format: str, **options: Any) -> None:  # noqa: A002
        self.stdout.write(FORMATS[format](read_map()))
