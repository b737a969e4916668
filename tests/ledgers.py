"""A ledger for a test, and what a restored backup does to a database."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core import serializers
from django.db import connection
from django.test import override_settings
from uuid_utils.compat import uuid7

from erasure import gate
from erasure.ledger import Entry, Ledger, State, born_text, open_ledger
from tests.databases import triggers_off


@contextmanager
def a_ledger(folder: Path, **settings: Any) -> Iterator[Ledger]:
    """Put a ledger of its own under the service, and let the gate know nothing of another."""
    names = {"ERASURE_LEDGER": str(folder / "ledger" / "erasures.jsonl"), **settings}
    gate.forget()
    with override_settings(ERASURE_LEDGER_CHECK_SECONDS=0, **names):
        yield open_ledger()
    gate.forget()


def entry(state: State = "intent", **fields: Any) -> Entry:
    """Return an entry about nobody, but for what is said."""
    made = {
        "id": uuid7(),
        "at": datetime.now(UTC),
        "kind": "user",
        "subject_id": uuid7(),
        "born": born_text(datetime(2024, 5, 17, 12, 30, 1, 234, UTC)),
        "deletion_id": uuid7(),
        "generation": 1,
    }
    return Entry(**{**made, **fields, "state": state})


class Backup:
    """Every row of every table as it is now; ``restore`` puts exactly those back, in place."""

    def __init__(self) -> None:
        models = [m for m in apps.get_models(include_auto_created=True) if not m._meta.proxy]
        self.models = [model for model in models if model._meta.managed]
        self.rows = {
            model: serializers.serialize("python", model._base_manager.all())
            for model in self.models
        }

    def restore(self) -> None:
        with triggers_off(), connection.constraint_checks_disabled():
            with connection.cursor() as cursor:
                if connection.vendor == "postgresql":
                    names = [connection.ops.quote_name(m._meta.db_table) for m in self.models]
                    cursor.execute(f"TRUNCATE {', '.join(names)}")
                else:
                    cursor.execute("PRAGMA defer_foreign_keys = ON")
                    for model in self.models:
                        cursor.execute(
                            f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}"
                        )
            for rows in self.rows.values():
                for row in serializers.deserialize("python", rows):
                    row.save()


def ids_of(entries: Any) -> set[UUID]:
    return {each.subject_id for each in entries}
