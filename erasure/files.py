"""Stored files go with the rows that name them: noted in the transaction that takes the rows,
removed when it has committed, and by the sweep if the process died in between."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import batched
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.storage import Storage
from django.db import models, transaction
from django.utils import timezone

from erasure.closure import Step, steps_of
from erasure.models import DoomedFile
from erasure.policies import Anonymise

logger = logging.getLogger("sexton.erasure")

AT_ONCE = 100


def note_files(kind: str, ids: Sequence[UUID], *, now: datetime) -> int:
    """Note the files of all rows that an erasure of these subjects deletes or overwrites.

    Call it in the erasure's transaction, before the first row goes; the files are removed when it
    commits. Costs nothing for a kind whose models have no file fields. Returns how many there are.
    """
    noted = 0
    for step in steps_of(kind):
        for field in _doomed_fields(step):
            noted += _note(step, field, ids, now)
    if noted:
        transaction.on_commit(remove_noted, robust=True)
    return noted


def remove_noted() -> int:
    """Remove every noted file that no row names any more; return how many went.

    Safe at any time and in any number: a file is removed while its note is locked, and the note
    goes after it. A crash in between leaves a note without a file, which the next call clears. A
    file that some row still names stays noted until none does. A storage that fails keeps its
    notes for the next call, and the others go on.
    """
    removed = 0
    after: UUID | None = None
    while True:
        with transaction.atomic():
            notes = _lock_some(after)
            if not notes:
                return removed
            after = notes[-1].pk
            removed += _remove(notes)


def file_fields(model: type[models.Model]) -> list[Any]:
    """Return a model's own fields that name stored files."""
    return [one for one in model._meta.local_concrete_fields if isinstance(one, models.FileField)]


def _doomed_fields(step: Step) -> list[Any]:
    """Return the file fields whose files a step leaves without a row: all where the row goes, and
    the overwritten ones where it stays."""
    fields = file_fields(step.model)
    if isinstance(step.fate, Anonymise):
        return [field for field in fields if field.name in step.fate.values]
    return fields if step.outcome == "removed" else []


def _note(step: Step, field: Any, ids: Sequence[UUID], now: datetime) -> int:
    names = step.rows(ids).exclude(**{field.name: ""}).exclude(**{field.name: None})
    noted = 0
    for some in batched(names.values_list(field.name, flat=True).iterator(AT_ONCE), AT_ONCE):
        DoomedFile.objects.bulk_create(
            DoomedFile(field=_label(field), name=name, noted_at=now) for name in some
        )
        noted += len(some)
    return noted


def _lock_some(after: UUID | None) -> list[DoomedFile]:
    notes = DoomedFile.objects.select_for_update(skip_locked=True).order_by("pk")
    if after is not None:
        notes = notes.filter(pk__gt=after)
    return list(notes[:AT_ONCE])


def _remove(notes: list[DoomedFile]) -> int:
    by_field: dict[str, list[DoomedFile]] = defaultdict(list)
    for note in notes:
        by_field[note.field].append(note)
    gone: list[UUID] = []
    for label, mine in by_field.items():
        storage = _storage_of(label)
        named = _still_named(storage, {note.name for note in mine})
        free = (note for note in mine if note.name not in named)
        gone += [note.pk for note in free if _remove_file(storage, note)]
    DoomedFile.objects.filter(pk__in=gone).delete()
    return len(gone)


def _remove_file(storage: Storage, note: DoomedFile) -> bool:
    try:
        storage.delete(note.name)
    except SuspiciousFileOperation:
        # The name leads out of the storage: there is no file of ours.
        return True
    except Exception as error:  # noqa: BLE001 - whatever a project's storage raises
        # Not its text: it quotes the file's name.
        logger.warning(
            "a stored file could not be removed and is tried again",
            extra={"field": note.field, "error": type(error).__name__},
        )
        return False
    return True


def _still_named(storage: Storage, names: set[str]) -> set[str]:
    """Return those names that some row has in a field of the same storage."""
    found: set[str] = set()
    for field in _all_file_fields():
        if field.storage == storage:
            rows = field.model._base_manager.filter(**{f"{field.name}__in": names})
            found.update(rows.values_list(field.name, flat=True))
    return found


def _all_file_fields() -> Iterator[Any]:
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy:
            yield from file_fields(model)


def _label(field: Any) -> str:
    return f"{field.model._meta.label}.{field.name}"


def _storage_of(label: str) -> Storage:
    model, _, name = label.rpartition(".")
    field: Any = apps.get_model(model)._meta.get_field(name)
    storage: Storage = field.storage
    return storage


def count_noted(*, before: datetime | None = None) -> int:
    """Return how many files wait for their removal, of those noted before a moment if one is
    given."""
    return DoomedFile.objects.filter(noted_at__lt=before or timezone.now()).count()
