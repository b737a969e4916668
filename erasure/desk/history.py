"""The admin's own history joins the audit log: each entry is an event, too."""

from typing import Any
from uuid import UUID

from django.db import models
from django.http import HttpRequest
from django.utils import timezone

from audit.events import Reference, record
from erasure.desk.staff import actor_of
from erasure.subjects import get_kind, kind_names


def record_entry(action: str, request: HttpRequest, row: Any, message: Any) -> None:
    """Write the event of an entry in the admin's history, in the same transaction.

    Its facts name the fields that were changed, never their values. What staff typed in words of
    their own is a personal value.
    """
    facts: dict[str, Any] = {"model": row._meta.label}
    subject = reference_of(row)
    if subject is None and isinstance(row.pk, int):
        # A text could be somebody's name, and facts stay for ever.
        facts["id"] = row.pk
    if fields := fields_of(message):
        facts["fields"] = fields
    record(
        action,
        actor=actor_of(request),
        subject=subject,
        now=timezone.now(),
        facts=facts,
        details={"message": message} if isinstance(message, str) else None,
    )


def reference_of(row: models.Model) -> Reference | None:
    """Return a row as events name it: a subject of its kind, or else its model and key. None when
    its key is no UUID."""
    concrete = row._meta.concrete_model
    for name in kind_names():
        if (kind := get_kind(name)).model._meta.concrete_model is concrete:
            return Reference(name, kind.id_of(row.pk))
    pk = row.pk
    return Reference(str(row._meta.model_name), pk) if isinstance(pk, UUID) else None


def fields_of(message: Any) -> list[str]:
    """Return the names of fields in what the admin writes down of a change."""
    if not isinstance(message, list):
        return []
    parts = [part for it in message if isinstance(it, dict) for part in it.values()]
    return [str(name) for part in parts for name in part.get("fields", ())]
