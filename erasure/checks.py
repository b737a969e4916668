"""``manage.py check`` fails when a stored field has no declared fate, or one that cannot hold.

Everything here reads models and policies, never the database: every command runs it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models import CASCADE, DB_CASCADE, DB_SET_NULL, DO_NOTHING, SET_NULL

from erasure.graph import Aim, Declared, Edge, Graph, Model, Way, draw_graph, target_of
from erasure.indexes import is_indexed
from erasure.policies import Anonymise, Delete, Detach, Fate, Keep, Loose, Policy, policy_of
from erasure.subjects import SubjectKind, get_kind, kind_names

FREE = (models.TextField, models.JSONField, models.BinaryField, models.FileField)
"""Fields that could hold anything."""

Faults = Iterator[CheckMessage]


def check_policies(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check the declarations of all installed models."""
    known = {model: policy_of(model) for model in concrete_models()}
    return find_faults(known, [get_kind(name) for name in kind_names()])


def concrete_models() -> list[Model]:
    """Return every installed model that has a table, those of many-to-many relations included."""
    found = apps.get_models(include_auto_created=True)
    return [model for model in found if not model._meta.proxy]


def find_faults(
    known: Mapping[Model, Policy | None], kinds: Collection[SubjectKind]
) -> list[CheckMessage]:
    """Return what is missing from these models' declarations, or contradicts itself."""
    declared: Declared = {model: found for model, found in known.items() if found}
    world = _World(declared, kinds)
    faults = [
        _fault(1, model, "has no policy", "Declare it in the policies.py of its app.")
        for model, found in known.items()
        if found is None
    ]
    for model, policy in declared.items():
        for check in CHECKS:
            faults += check(model, policy, world)
    for graph in world.graphs.values():
        faults += _check_indexes(graph)
    return list({(fault.id, fault.msg): fault for fault in faults}.values())


class _World:
    """What the checks of one model have to know of all the others."""

    def __init__(self, declared: Declared, kinds: Collection[SubjectKind]) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self.graphs = {
            kind.name: draw_graph(kind.name, _concrete(kind.model), declared) for kind in kinds
        }
        self.subjects = {_concrete(kind.model) for kind in kinds}
        self.owned = {model for graph in self.graphs.values() for model in graph.ways}
        self.staying = {
            one.model for graph in self.graphs.values() for one in graph.touched
        } - self.owned


def _check_fields(model: Model, policy: Policy, world: _World) -> Faults:
    fields = {field.name for field in model._meta.local_concrete_fields}
    for name in sorted(fields - policy.fields):
        yield _fault(2, model, f"field {name} is not declared", "Say whether it is personal.", name)
    lists = [policy.personal, policy.secret, policy.opaque, frozenset(policy.harmless)]
    lists.append(frozenset(policy.links))
    for name in sorted(policy.fields):
        if sum(name in names for names in lists) > 1:
            yield _fault(3, model, f"field {name} is declared twice", "Leave one of them.", name)
    for name in sorted(policy.fields - fields):
        yield _fault(4, model, f"has no field {name}", "Correct or remove the name.", name)


def _check_links(model: Model, policy: Policy, world: _World) -> Faults:
    for field in model._meta.local_concrete_fields:
        if not field.is_relation:
            if field.name in policy.links:
                yield _fault(
                    4, model, f"{field.name} is no foreign key", "Declare it as Loose.", field.name
                )
            continue
        target = target_of(field)
        fate = policy.links.get(field.name)
        if fate is None:
            if target in world.owned and field.name in policy.fields:
                yield _fault(
                    9,
                    model,
                    f"{field.name} leads to rows that an erasure removes, and has no fate",
                    "Name it in links.",
                    field.name,
                )
        elif target in world.owned:
            yield from _check_on_delete(model, field, fate)
        if isinstance(fate, Delete) and model in world.subjects and not _is_half(field):
            yield _fault(
                10,
                model,
                f"{field.name} would take a subject along without a request of its own",
                "Detach it, or return it as a companion of the other kind.",
                field.name,
            )


def _check_on_delete(model: Model, field: Any, fate: Fate) -> Faults:
    """A policy and the database must say the same, or one of them undoes the other's work."""
    wanted: Mapping[type, tuple[Any, ...]] = {
        Delete: (CASCADE, DB_CASCADE),
        Detach: (SET_NULL, DB_SET_NULL),
        Anonymise: (SET_NULL, DB_SET_NULL),
        Keep: (DO_NOTHING,),
    }
    on_delete = field.remote_field.on_delete
    if on_delete not in wanted[type(fate)]:
        names = " or ".join(one.__name__ for one in wanted[type(fate)])
        yield _fault(
            7,
            model,
            f"{field.name} is declared {type(fate).__name__}, on_delete is {on_delete.__name__}",
            f"Use {names}, or change the policy.",
            field.name,
        )
    elif isinstance(fate, Keep) and field.db_constraint:
        yield _fault(
            7,
            model,
            f"{field.name} is kept, and its constraint forbids to remove what it names",
            "Set db_constraint=False, or keep the id without a foreign key.",
            field.name,
        )


def _check_reasons(model: Model, policy: Policy, world: _World) -> Faults:
    for name, fate in _fates(policy):
        if not isinstance(fate, Delete) and not fate.because.strip():
            yield _fault(
                5, model, f"{name}: {type(fate).__name__} gives no reason", "Write it down.", name
            )
        if isinstance(fate, Keep) and not fate.basis.strip():
            yield _fault(5, model, f"{name}: kept without a legal basis", "Name the article.", name)
        if isinstance(fate, Keep) and fate.retention is None and model not in world.owned:
            # After the erasure the row is said to identify nobody.
            for field in sorted((policy.personal | policy.secret) - _overwritten(policy)):
                yield _fault(
                    12,
                    model,
                    f"{field} is personal and stays for ever, since {name} is kept",
                    "Give a retention, or anonymise the row.",
                    field,
                )
    for name, why in policy.harmless.items():
        if not why.strip():
            yield _fault(5, model, f"{name} is harmless without a reason", "Write it down.", name)


def _check_free_fields(model: Model, policy: Policy, world: _World) -> Faults:
    if model not in world.staying and not policy.nobody:
        return
    for field in model._meta.local_concrete_fields:
        if field.name in policy.opaque and isinstance(field, FREE):
            yield _fault(
                11,
                model,
                f"{field.name} could hold anything, and its row stays",
                "Name it in harmless, and say why it holds nothing about a person.",
                field.name,
            )


def _check_connection(model: Model, policy: Policy, world: _World) -> Faults:
    is_bound = model in world.owned or any(
        one.model is model for graph in world.graphs.values() for one in graph.touched
    )
    if policy.nobody and is_bound:
        yield _fault(
            6, model, "is said to be about nobody, and a subject reaches it", "Drop one of the two."
        )
    if not policy.nobody and not is_bound:
        yield _fault(
            6,
            model,
            "is reached by no subject",
            "Declare the column that leads to one, or say in nobody why there is none.",
        )


def _check_loose(model: Model, policy: Policy, world: _World) -> Faults:
    for loose in policy.loose:
        if loose.kind != "*" and loose.kind not in world.kinds:
            yield _fault(
                13,
                model,
                f"{loose.field} names the unknown kind {loose.kind!r}",
                "Register the kind, or correct its name.",
                loose.field,
            )
        elif loose.to != "pk":
            kinds = world.kinds.values() if loose.kind == "*" else [world.kinds[loose.kind]]
            for kind in kinds:
                if not _has_field(kind.model, loose.to):
                    yield _fault(
                        13,
                        model,
                        f"{loose.field} equals the field {loose.to!r} that {kind.name} has not",
                        "Correct it.",
                        loose.field,
                    )
        yield from _check_clearing(model, loose)


def _check_clearing(model: Model, loose: Loose) -> Faults:
    if not isinstance(loose.fate, Detach) or not _has_field(model, loose.field):
        return
    field: Any = model._meta.get_field(loose.field)
    if not field.null and not isinstance(field, models.CharField | models.TextField):
        yield _fault(
            8, model, f"{field.name} cannot be cleared: it is not null", "Let it be.", field.name
        )


def _check_values(model: Model, policy: Policy, world: _World) -> Faults:
    for name, fate in _fates(policy):
        if not isinstance(fate, Anonymise):
            continue
        if not fate.values:
            yield _fault(8, model, f"{name}: nothing is overwritten", "Name the values.", name)
        for column, value in fate.values.items():
            if not _has_field(model, column):
                yield _fault(4, model, f"has no field {column}", "Correct it.", column)
            elif why := _why_not(model._meta.get_field(column), value):
                yield _fault(
                    8, model, f"{column} cannot become {value!r}: {why}", "Choose another."
                )
    overwritten = _overwritten(policy)
    if overwritten and model in world.staying:
        for column in sorted((policy.personal | policy.secret) - overwritten):
            yield _fault(
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


def _check_indexes(graph: Graph) -> Faults:
    ways: list[tuple[Way, Fate]] = [
        (way, Delete()) for found in graph.ways.values() for way in found
    ]
    ways += [(way, one.fate) for one in graph.touched for way in one.ways]
    for way, fate in ways:
        model = way.child if isinstance(way, Edge) else way.model
        field = way.child_field if isinstance(way, Edge) else way.field
        is_searched = isinstance(way, Aim) and (way.loose.quoted or way.loose.match)
        if isinstance(fate, Keep) or is_searched or is_indexed(model, way):
            continue
        lower = " in lower case" if isinstance(way, Aim) and way.loose.ignore_case else ""
        yield _fault(
            14,
            model,
            f"{field.name} leads to rows of a subject and has no index that begins with it{lower}",
            "Add one: without it an erasure reads the whole table.",
            field.name,
        )


CHECKS: tuple[Callable[[Model, Policy, _World], Faults], ...] = (
    _check_fields,
    _check_links,
    _check_reasons,
    _check_free_fields,
    _check_connection,
    _check_loose,
    _check_values,
)


def _fates(policy: Policy) -> Iterator[tuple[str, Fate]]:
    yield from policy.links.items()
    for loose in policy.loose:
        yield loose.field, loose.fate


def _overwritten(policy: Policy) -> set[str]:
    fates = [fate for _, fate in _fates(policy) if isinstance(fate, Anonymise)]
    return {column for fate in fates for column in fate.values}


def _is_half(field: Any) -> bool:
    return bool(field.remote_field.parent_link)


def _has_field(model: Model, name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True


def _concrete(model: Model) -> Model:
    concrete: Any = model._meta.concrete_model
    found: Model = concrete
    return found


@dataclass(frozen=True)
class Place:
    """The object of a fault, shown as ``app.Model.field``."""

    label: str

    def __str__(self) -> str:
        return self.label


def _fault(number: int, model: Model, text: str, hint: str, field: str = "") -> CheckMessage:
    label = model._meta.label
    place = Place(f"{label}.{field}" if field else label)
    return Error(f"{label} {text}.", hint=hint, obj=place, id=f"erasure.E{number:03}")
