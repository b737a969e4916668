"""Checks of the fates that policies declare: their reasons, their values, what they refer to."""

from typing import Any

from django.db import models

from erasure.faults import Faults, World, fates_of, fault, has_field
from erasure.graph import Model
from erasure.policies import Anonymise, Delete, Detach, Keep, Loose, Policy

FREE = (models.TextField, models.JSONField, models.BinaryField, models.FileField)
"""Fields that could hold anything."""


def check_reasons(model: Model, policy: Policy, world: World) -> Faults:
    for name, fate in fates_of(policy):
        if not isinstance(fate, Delete) and not fate.because.strip():
            yield fault(
                5, model, f"{name}: {type(fate).__name__} gives no reason", "Write it down.", name
            )
        if isinstance(fate, Keep) and fate.since and not _is_moment(model, fate.since):
            yield fault(
                16, model, f"{name}: {fate.since} is no time of the row", "Name a time.", name
            )
        if isinstance(fate, Keep) and not fate.basis.strip():
            yield fault(5, model, f"{name}: kept without a legal basis", "Name the article.", name)
        if isinstance(fate, Keep) and fate.retention is None and model not in world.owned:
            # After the erasure the row is said to identify nobody.
            for field in sorted((policy.personal | policy.secret) - _overwritten(policy)):
                yield fault(
                    12,
                    model,
                    f"{field} is personal and stays for ever, since {name} is kept",
                    "Give a retention, or anonymise the row.",
                    field,
                )
    for name, why in policy.harmless.items():
        if not why.strip():
            yield fault(5, model, f"{name} is harmless without a reason", "Write it down.", name)


def check_free_fields(model: Model, policy: Policy, world: World) -> Faults:
    if model not in world.staying and not policy.nobody:
        return
    for field in model._meta.local_concrete_fields:
        if field.name in policy.opaque and isinstance(field, FREE):
            yield fault(
                11,
                model,
                f"{field.name} could hold anything, and its row stays",
                "Name it in harmless, and say why it holds nothing about a person.",
                field.name,
            )


def check_loose(model: Model, policy: Policy, world: World) -> Faults:
    for loose in policy.loose:
        if loose.kind != "*" and loose.kind not in world.kinds:
            yield fault(
                13,
                model,
                f"{loose.field} names the unknown kind {loose.kind!r}",
                "Register the kind, or correct its name.",
                loose.field,
            )
        elif loose.to != "pk":
            kinds = world.kinds.values() if loose.kind == "*" else [world.kinds[loose.kind]]
            for kind in kinds:
                if not has_field(kind.model, loose.to):
                    yield fault(
                        13,
                        model,
                        f"{loose.field} equals the field {loose.to!r} that {kind.name} has not",
                        "Correct it.",
                        loose.field,
                    )
        yield from _check_clearing(model, loose)


def _check_clearing(model: Model, loose: Loose) -> Faults:
    if not isinstance(loose.fate, Detach) or not has_field(model, loose.field):
        return
    field: Any = model._meta.get_field(loose.field)
    if not field.null and not isinstance(field, models.CharField | models.TextField):
        yield fault(
            8, model, f"{field.name} cannot be cleared: it is not null", "Let it be.", field.name
        )


def check_values(model: Model, policy: Policy, world: World) -> Faults:
    for name, fate in fates_of(policy):
        if not isinstance(fate, Anonymise):
            continue
        if not fate.values:
            yield fault(8, model, f"{name}: nothing is overwritten", "Name the values.", name)
        for column, value in fate.values.items():
            if not has_field(model, column):
                yield fault(4, model, f"has no field {column}", "Correct it.", column)
            elif why := _why_not(model._meta.get_field(column), value):
                yield fault(8, model, f"{column} cannot become {value!r}: {why}", "Choose another.")
    overwritten = _overwritten(policy)
    if overwritten and model in world.staying:
        for column in sorted((policy.personal | policy.secret) - overwritten):
            yield fault(
                12,
                model,
                f"{column} is personal and is not overwritten",
                "Name it in the values of Anonymise.",
                column,
            )


def _why_not(field: Any, value: Any) -> str:
    """Return why a column cannot hold the value in place of a person's; empty when it can."""
    if value is None:
        return "" if field.null else "it is not null"
    if field.unique:
        return "it is unique, and many rows would hold it"
    if field.max_length is not None and len(str(value)) > field.max_length:
        return f"it is longer than {field.max_length}"
    if field.choices and value not in dict(field.flatchoices):
        return "it is none of the choices"
    return ""


def _overwritten(policy: Policy) -> set[str]:
    fates = [fate for _, fate in fates_of(policy) if isinstance(fate, Anonymise)]
    return {column for fate in fates for column in fate.values}


def _is_moment(model: Model, name: str) -> bool:
    return has_field(model, name) and isinstance(model._meta.get_field(name), models.DateTimeField)
