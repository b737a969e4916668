"""``manage.py check`` fails when a stored field has no declared fate, or one that cannot hold.

Everything here reads models and policies, never the database: every command runs it.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage
from django.db.models import CASCADE, DB_CASCADE, DB_SET_NULL, DO_NOTHING, SET_NULL

from erasure.fatechecks import check_free_fields, check_loose, check_reasons, check_values
from erasure.faults import Faults, World, fault
from erasure.graph import Aim, Declared, Edge, Graph, Model, Way, target_of
from erasure.indexes import is_indexed
from erasure.policies import Anonymise, Delete, Detach, Fate, Keep, Policy, policy_of
from erasure.subjects import SubjectKind, get_kind, kind_names


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
    world = World(declared, kinds)
    faults = [
        fault(1, model, "has no policy", "Declare it in the policies.py of its app.")
        for model, found in known.items()
        if found is None
    ]
    for model, policy in declared.items():
        for check in CHECKS:
            faults += check(model, policy, world)
    for graph in world.graphs.values():
        faults += _check_indexes(graph)
    return list({(one.id, one.msg): one for one in faults}.values())


def _check_fields(model: Model, policy: Policy, world: World) -> Faults:
    fields = {field.name for field in model._meta.local_concrete_fields}
    for name in sorted(fields - policy.fields):
        yield fault(2, model, f"field {name} is not declared", "Say whether it is personal.", name)
    lists = [policy.personal, policy.secret, policy.opaque, frozenset(policy.harmless)]
    lists.append(frozenset(policy.links))
    for name in sorted(policy.fields):
        if sum(name in names for names in lists) > 1:
            yield fault(3, model, f"field {name} is declared twice", "Leave one of them.", name)
    for name in sorted(policy.fields - fields):
        yield fault(4, model, f"has no field {name}", "Correct or remove the name.", name)


def _check_links(model: Model, policy: Policy, world: World) -> Faults:
    for field in model._meta.local_concrete_fields:
        if not field.is_relation:
            if field.name in policy.links:
                yield fault(
                    4, model, f"{field.name} is no foreign key", "Declare it as Loose.", field.name
                )
            continue
        target = target_of(field)
        fate = policy.links.get(field.name)
        if fate is None:
            if target in world.owned and field.name in policy.fields:
                yield fault(
                    9,
                    model,
                    f"{field.name} leads to rows that an erasure removes, and has no fate",
                    "Name it in links.",
                    field.name,
                )
        elif target in world.owned:
            yield from _check_on_delete(model, field, fate)
        if isinstance(fate, Delete) and model in world.subjects and not _is_half(field):
            yield fault(
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
        yield fault(
            7,
            model,
            f"{field.name} is declared {type(fate).__name__}, on_delete is {on_delete.__name__}",
            f"Use {names}, or change the policy.",
            field.name,
        )
    elif isinstance(fate, Keep) and field.db_constraint:
        yield fault(
            7,
            model,
            f"{field.name} is kept, and its constraint forbids to remove what it names",
            "Set db_constraint=False, or keep the id without a foreign key.",
            field.name,
        )


def _check_connection(model: Model, policy: Policy, world: World) -> Faults:
    is_bound = model in world.owned or any(
        one.model is model for graph in world.graphs.values() for one in graph.touched
    )
    if policy.nobody and is_bound:
        yield fault(
            6, model, "is said to be about nobody, and a subject reaches it", "Drop one of the two."
        )
    if not policy.nobody and not is_bound:
        yield fault(
            6,
            model,
            "is reached by no subject",
            "Declare the column that leads to one, or say in nobody why there is none.",
        )


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
        yield fault(
            14,
            model,
            f"{field.name} leads to rows of a subject and has no index that begins with it{lower}",
            "Add one: without it an erasure reads the whole table.",
            field.name,
        )


CHECKS: tuple[Callable[[Model, Policy, World], Faults], ...] = (
    _check_fields,
    _check_links,
    check_reasons,
    check_free_fields,
    _check_connection,
    check_loose,
    check_values,
)


def _is_half(field: Any) -> bool:
    return bool(field.remote_field.parent_link)
