"""``manage.py export_user``: everything that is held on a person, as a zip."""

import json as jsonlib
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from erasure import gate, references
from erasure.exceptions import SubjectNotFound
from erasure.export import Exported, export_subject
from erasure.management.progress import show_progress
from erasure.people import name_of_users
from erasure.subjects import SubjectKind, get_kind, kind_names


class Command(BaseCommand):
    help = (
        "Writes everything that is held on a person into a zip: one JSON file for each model, "
        "stored files, a manifest and a README (GDPR Arts. 15 and 20). Never overwrites a file; "
        "only its owner may read the new one. Exit codes: 0 written, 1 no such person, 2 wrong "
        "usage or the file exists."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("subject", metavar="USER", help="an id, a username or an address")
        parser.add_argument("--output", metavar="FILE.zip", help="default: export-ID.zip, here")
        parser.add_argument(
            "--kind",
            default=name_of_users(),
            choices=kind_names(),
            help="of subject, default: %(default)s",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(
        self, *args: Any, subject: str, output: str | None, kind: str, json: bool, **options: Any
    ) -> None:
        if reason := gate.look():
            raise CommandError(reason)
        found = _find(subject, kind)
        path = Path(output or f"export-{references.spell(found)}.zip")
        exported = _export(found, path)
        facts = {"subject": references.spell(found), "file": str(path), **exported.as_facts()}
        self.stdout.write(jsonlib.dumps(facts) if json else _describe(facts))


def _export(subject: Reference, path: Path) -> Exported:
    with _create(path) as file, show_progress() as on_progress:
        try:
            return export_subject(
                actor=Actor.system("export_user"),
                subject=subject,
                into=file,
                now=timezone.now(),
                on_progress=on_progress,
            )
        except BaseException as error:
            # Half an export is none.
            path.unlink()
            if isinstance(error, SubjectNotFound):
                raise CommandError(f"There is no such {error.kind}.") from error
            raise


def _create(path: Path) -> IO[bytes]:
    def open_private(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    try:
        return cast("IO[bytes]", open(path, "xb", opener=open_private))
    except FileExistsError as error:
        raise CommandError(f"{path} exists. Nothing was written.", returncode=2) from error
    except OSError as error:
        raise CommandError(f"{path} cannot be written.", returncode=2) from error


def _find(text: str, kind: str) -> Reference:
    if (named := references.read(text, kind)) is not None:
        return named
    known = get_kind(kind)
    condition = known.search(text)
    rows = () if condition is None else known.model._base_manager.filter(condition).iterator()
    # The search finds parts of names, too; only who is named in full is meant.
    found = [Reference(kind, known.id_of(row.pk)) for row in rows if _is_named(known, row, text)]
    if not found:
        raise CommandError(f"There is no such {kind}.")
    if len(found) > 1:
        ids = ", ".join(map(references.spell, found))
        raise CommandError(f"More than one has this name: {ids}. Name one.", returncode=2)
    return found[0]


def _is_named(known: SubjectKind, row: Any, text: str) -> bool:
    names = (known.label(row), *known.addresses(row))
    return text.lower() in (name.lower() for name in names)


def _describe(facts: dict[str, Any]) -> str:
    missing = f" {facts['missing']} files are named but not there." if facts["missing"] else ""
    return (
        f"Wrote {facts['file']}: {facts['rows']} records and {facts['mentions']} mentions in "
        f"{facts['models']} models, {facts['files']} files.{missing}\n"
        "It holds personal data: hand it to its subject only, and remove it afterwards."
    )
