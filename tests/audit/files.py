"""Exports as files, to be checked and to be tampered with."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from audit import offline
from audit.actors import Actor
from audit.events import Reference, record
from audit.exporting import export
from audit.forgetting import redact_person
from audit.signers import signer, verifiers


def save(path: Path, *args: Any, **kwargs: Any) -> Path:
    path.write_text("".join(export(*args, **kwargs)))
    return path


def check(path: Path, *since: str) -> offline.Checked:
    return offline.check(path, verifiers(), since)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def erase_logs_of(person: UUID) -> int:
    """Erase a person's values and say so, both unsealed; return how many there were."""
    with transaction.atomic():
        erased = redact_person(person)
        record(
            "user.logs_erased",
            actor=Actor.system("test"),
            subject=Reference("user", person),
            now=timezone.now(),
        )
    return erased


def key() -> str:
    return str(signer().verifier)
