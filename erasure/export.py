"""A copy of everything that is held on a subject, from the same policies as its erasure.

Arts. 15 and 20 GDPR: a zip of one JSON file for each model, the stored files, a manifest with the
numbers, and a README in plain words. Secrets stay where they are, and so does what others wrote.
"""

import json
import re
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

from django.core.exceptions import SuspiciousFileOperation
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.belonging import Link, Part, read_parts
from erasure.exceptions import SubjectNotFound
from erasure.files import file_fields
from erasure.policies import policy_of
from erasure.readme import Section, write_readme
from erasure.references import spell
from erasure.snapshots import one_moment
from erasure.subjects import get_kind
from erasure.unpacking import read_chunks

AT_ONCE = 1000
UNSAFE = re.compile(r"[^\w.\-@+ ]")

Progress = Callable[[str, int, int], None]


@dataclass
class Exported:
    """What an export holds, in numbers. ``missing`` counts files that a row names and no storage
    has."""

    subject: Reference
    rows: int = 0
    mentions: int = 0
    files: int = 0
    missing: int = 0
    sections: list[Section] = field(default_factory=list)

    def as_facts(self) -> dict[str, int]:
        return {
            "models": len(self.sections),
            "rows": self.rows,
            "mentions": self.mentions,
            "files": self.files,
            "missing": self.missing,
        }


def open_export(*, actor: Actor, subject: Reference, now: datetime) -> IO[bytes]:
    """Make an export and return it as an open file, which is gone when it is closed.

    Raises SubjectNotFound.
    """
    file = TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        export_subject(actor=actor, subject=subject, into=file, now=now)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def export_subject(
    *,
    actor: Actor,
    subject: Reference,
    into: IO[bytes],
    now: datetime,
    on_progress: Progress | None = None,
) -> Exported:
    """Write the zip of a subject's data into an open file; memory stays flat.

    All tables are read as of one moment. An audit event says afterwards that it was made, by whom
    and how much it was, and not what. Raises SubjectNotFound.
    """
    exported = Exported(subject)
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive, one_moment():
        instance = _find(subject)
        writer = _Writer(archive, exported, now)
        parts = _by_model(read_parts(subject, instance))
        for number, (label, mine) in enumerate(parts.items()):
            if on_progress:
                on_progress(label, number, len(parts))
            writer.write_model(label, mine)
        writer.write_rest(now)
    with transaction.atomic():
        record(
            f"{subject.kind}.exported",
            actor=actor,
            subject=subject,
            now=now,
            facts=exported.as_facts(),
        )
    return exported


def _find(subject: Reference) -> Any:
    kind = get_kind(subject.kind)
    instance = kind.model._base_manager.filter(pk=kind.pk_of(subject.id)).first()
    if instance is None:
        raise SubjectNotFound(subject.kind)
    return instance


def _by_model(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """Return the parts by model: a row may go while another of the same model only loses a link."""
    by_model: dict[str, list[Part]] = {}
    for part in parts:
        by_model.setdefault(part.step.label, []).append(part)
    return by_model


class _Writer:
    def __init__(self, archive: zipfile.ZipFile, exported: Exported, now: datetime) -> None:
        self.archive, self.exported = archive, exported
        self.stamp = now.timetuple()[:6]

    def write_model(self, label: str, parts: list[Part]) -> None:
        model = parts[0].step.model
        policy = policy_of(model)
        section = Section(
            label=label,
            title=str(model._meta.verbose_name_plural),
            file=f"data/{label.lower()}.json",
            fields={one.name: _explain(one) for part in parts for one in part.fields},
            left_out=sorted(policy.secret) if policy else [],
            fates=[part.fate for part in parts],
        )
        with self._open(section.file) as out:
            head = {"model": label, "fields": section.fields, "left_out": section.left_out}
            out.write(json.dumps(head, ensure_ascii=False, indent=1)[:-2].encode())
            section.rows = self._write_list(out, "rows", map(_own_rows, parts))
            section.mentions = self._write_list(out, "mentions", map(_other_rows, parts))
            out.write(b"\n}\n")
        for part in parts:
            section.files += self._write_files(part)
        self.exported.sections.append(section)
        self.exported.rows += section.rows
        self.exported.mentions += section.mentions
        self.exported.files += section.files

    def write_rest(self, now: datetime) -> None:
        exported = self.exported
        companions = get_kind(exported.subject.kind).companions([exported.subject.id])
        manifest = {
            "format": 1,
            "subject": {"kind": exported.subject.kind, "id": spell(exported.subject)},
            "made_at": now.isoformat(),
            **exported.as_facts(),
            "contents": [section.as_facts() for section in exported.sections],
            "companions": [spell(one) for one in companions.get(exported.subject.id, [])],
        }
        with self._open("manifest.json") as out:
            out.write(json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n")
        with self._open("README.txt") as out:
            out.write(write_readme(exported.sections, manifest, now).encode())

    def _open(self, name: str) -> IO[bytes]:
        entry = zipfile.ZipInfo(name, date_time=self.stamp)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o600 << 16
        return self.archive.open(entry, "w", force_zip64=True)

    def _write_list(
        self, out: IO[bytes], name: str, lists: Iterable[Iterator[dict[str, Any]]]
    ) -> int:
        """Write rows one by one and return how many there were."""
        count = 0
        out.write(f',\n "{name}": ['.encode())
        for rows in lists:
            for row in rows:
                text = json.dumps(row, cls=_Encoder, ensure_ascii=False)
                out.write((",\n  " if count else "\n  ").encode() + text.encode())
                count += 1
        out.write(b"\n ]" if count else b"]")
        return count

    def _write_files(self, part: Part) -> int:
        written = 0
        for one in file_fields(part.step.model):
            if one not in part.fields:
                continue
            rows = part.own.exclude(**{one.name: ""}).exclude(**{one.name: None})
            for pk, name in rows.values_list("pk", one.name).iterator(AT_ONCE):
                written += self._write_file(one, _path_of(one, pk, name), name)
        return written

    def _write_file(self, one: Any, path: str, name: str) -> int:
        try:
            source = one.storage.open(name)
        except (FileNotFoundError, SuspiciousFileOperation):
            self.exported.missing += 1
            return 0
        with source, self._open(path) as out:
            for chunk in read_chunks(source):
                out.write(chunk)
        return 1


class _Encoder(DjangoJSONEncoder):
    def default(self, o: Any) -> Any:
        if isinstance(o, bytes | bytearray | memoryview):
            return {"base64": b64encode(o).decode()}
        try:
            return super().default(o)
        except TypeError:
            return str(o)


def _own_rows(part: Part) -> Iterator[dict[str, Any]]:
    names = [one.attname for one in part.fields]
    rows = part.own.order_by("pk").values_list("pk", *names)
    for pk, *values in rows.iterator(AT_ONCE):
        yield {
            one.name: _file(one, pk, value) if isinstance(one, models.FileField) else value
            for one, value in zip(part.fields, values, strict=True)
        }


def _file(one: Any, pk: Any, name: Any) -> Any:
    return {"name": name, "file": _path_of(one, pk, name)} if name else None


def _path_of(one: Any, pk: Any, name: str) -> str:
    """Return where a stored file lies in the archive. Its name came from a stranger."""
    label = str(one.model._meta.label_lower)
    parts = ["files", label, str(pk), one.name, PurePosixPath(name).name]
    return "/".join(UNSAFE.sub("_", part).strip(". ") or "_" for part in parts)


def _other_rows(part: Part) -> Iterator[dict[str, Any]]:
    """Yield of each row that only mentions the subject its key, and the links that lead there."""
    policy = policy_of(part.step.model)
    key: Any = part.step.model._meta.pk
    shows_key = policy is None or key.name not in policy.personal | policy.secret
    rows = part.others.order_by("pk").values_list("pk", *(one.field.attname for one in part.links))
    for pk, *values in rows.iterator(AT_ONCE):
        row = {key.name: pk} if shows_key else {}
        for link, value in zip(part.links, values, strict=True):
            if _leads_there(link, value):
                row[link.field.name] = value
        yield row


def _leads_there(link: Link, value: Any) -> bool:
    if link.value is None:
        return value is not None
    return bool(str(value).lower() == str(link.value).lower())


def _explain(one: Any) -> str:
    """Return what a field is called, and what its model says of it."""
    name = str(one.verbose_name)
    return f"{name}: {one.help_text}" if one.help_text else name
