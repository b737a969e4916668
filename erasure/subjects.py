"""What a deletion can be about. Apps register their subjects; this room walks the registry."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import models

from audit.events import Reference
from audit.statements import Select, select

Match = Callable[[Any], models.Q]


@dataclass(frozen=True)
class LooseReference:
    """Rows that belong to a subject without a foreign key, such as an e-mail in an invitation.

    ``match`` takes the subject's instance and returns the filter that finds them.
    """

    model_label: str
    match: Match


@dataclass(frozen=True)
class SubjectKind:
    name: str
    model_label: str

    @property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.model_label)

    @property
    def loose_references(self) -> list[LooseReference]:
        return _loose_references[self.name]


_kinds: dict[str, SubjectKind] = {}
_loose_references: dict[str, list[LooseReference]] = defaultdict(list)


def register_subject(name: str, model_label: str) -> None:
    """Make rows of a model subjects of deletion, under a kind's name such as ``user``."""
    _kinds[name] = SubjectKind(name, model_label)


def register_loose_reference(kind: str, model_label: str, match: Match) -> None:
    """Declare rows that go with a subject although no foreign key binds them to it."""
    _loose_references[kind].append(LooseReference(model_label, match))


def get_kind(name: str) -> SubjectKind:
    """Return a registered kind; KeyError when no app registered it."""
    return _kinds[name]


def kind_names() -> list[str]:
    return sorted(_kinds)


def lock_subjects(kind: str, ids: Iterable[UUID]) -> dict[UUID, Any]:
    """Lock the subjects' rows in id order and return those that exist, by id.

    Every decision about a subject is read after this call, in the same transaction: holds,
    ownership, state. SQLite's immediate transaction already excludes every other writer.
    """
    model = get_kind(kind).model
    rows = model._default_manager.select_for_update().filter(pk__in=list(ids)).order_by("pk")
    return {row.pk: row for row in rows}


def lock_subject(subject: Reference) -> Any | None:
    """Lock one subject and return its instance, or None when it is gone."""
    return _lock_one(subject.kind).first(pk=subject.id)


@cache
def _lock_one(kind: str) -> Select:
    model = get_kind(kind).model

    @select
    def lock(pk: UUID) -> Any:
        return model._default_manager.select_for_update().filter(pk=pk).order_by()

    return lock
