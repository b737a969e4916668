"""What an erasure would take, counted and not touched. A dry run, the staff's confirmation page and
the real run render the same plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connection, models
from django.db.models import CASCADE, DB_CASCADE, DB_SET_NULL, SET_NULL, Q

from audit.events import Reference
from erasure.holds import is_held
from erasure.subjects import SubjectKind, get_kind


@dataclass(frozen=True)
class Plan:
    """``removed`` and ``detached`` map a model's label to the number of rows concerned."""

    subject: Reference
    removed: dict[str, int]
    detached: dict[str, int]
    held: bool

    @property
    def total(self) -> int:
        return sum(self.removed.values())


def make_plan(subject: Reference, instance: Any) -> Plan:
    """Count, in one query, every row that goes with a subject and every row that loses its link.

    ``instance`` is the subject's row. Reads only.
    """
    removed, detached = count_rows(get_kind(subject.kind), instance)
    return Plan(subject=subject, removed=removed, detached=detached, held=is_held(subject))


def count_rows(kind: SubjectKind, instance: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many rows of each model go with a subject, itself included, and how many only
    lose their link to it. One query."""
    removed, detached = find_dependents(kind, instance)
    counts = _count_all([*removed.items(), *detached.items()])
    split = len(removed)
    return (
        {kind.model_label: 1, **{label: n for label, n in counts[:split] if n}},
        {label: n for label, n in counts[split:] if n},
    )


def find_dependents(
    kind: SubjectKind, instance: Any
) -> tuple[dict[str, models.QuerySet[Any]], dict[str, models.QuerySet[Any]]]:
    """Return the rows that a subject takes along and those it detaches, as querysets by label.

    Walks foreign keys of every installed model, grandchildren included, then the references that
    have no foreign key. A row that two paths reach is counted once.
    """
    removed: dict[type[models.Model], Q] = {}
    detached: dict[type[models.Model], Q] = {}
    seen = {kind.model}
    front = [(kind.model, "")]
    while front:
        parent, path = front.pop()
        for field in _foreign_keys_to(parent):
            lookup = f"{field.name}__{path}" if path else field.name
            reached = Q(**{lookup: instance.pk})
            on_delete = field.remote_field.on_delete
            if on_delete in (CASCADE, DB_CASCADE):
                removed[field.model] = removed.get(field.model, Q()) | reached
                if field.model not in seen:
                    seen.add(field.model)
                    front.append((field.model, lookup))
            elif on_delete in (SET_NULL, DB_SET_NULL):
                detached[field.model] = detached.get(field.model, Q()) | reached
    for loose in kind.loose_references:
        model = _model_of(loose.model_label)
        removed[model] = removed.get(model, Q()) | loose.match(instance)
    return (
        {model._meta.label: model._base_manager.filter(q) for model, q in removed.items()},
        {
            model._meta.label: model._base_manager.filter(q).exclude(removed.get(model, Q(pk=None)))
            for model, q in detached.items()
        },
    )


def _foreign_keys_to(model: type[models.Model]) -> Iterator[models.ForeignKey[Any, Any]]:
    for relation in model._meta.get_fields(include_hidden=True):
        if relation.auto_created and (relation.one_to_many or relation.one_to_one):
            field: Any = relation.remote_field
            if not field.model._meta.proxy:
                yield field


def _model_of(label: str) -> type[models.Model]:
    from django.apps import apps

    return apps.get_model(label)


def _count_all(querysets: list[tuple[str, models.QuerySet[Any]]]) -> list[tuple[str, int]]:
    """Count many querysets in one round trip."""
    if not querysets:
        return []
    columns: list[str] = []
    params: list[Any] = []
    for _, queryset in querysets:
        sql, values = queryset.order_by().values("pk").query.sql_with_params()
        # Only SQL that Django wrote, with its parameters apart.
        columns.append(f"(SELECT COUNT(*) FROM ({sql}) AS counted)")  # noqa: S608
        params += values
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)}", params)
        counts = cursor.fetchone()
    return [(label, count) for (label, _), count in zip(querysets, counts, strict=True)]
