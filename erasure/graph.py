"""Which models an erasure of one kind of subject reaches, and over which columns.

Read from the policies alone; nothing here touches a database. A model is *owned* when rows of it
go with the subject: because a link of fate ``DELETE`` leads to an owned model, or a loose reference
of that fate to the subject.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django.db import models

from erasure.policies import Anonymise, Delete, Detach, Fate, Keep, Loose, Policy

Model = type[models.Model]
Declared = Mapping[Model, Policy]


@dataclass(frozen=True)
class Edge:
    """A row of ``child`` is reached when its ``child_field`` equals the ``parent_field`` of a row
    of ``parent`` that goes."""

    child: Model
    child_field: Any
    parent: Model
    parent_field: Any

    is_matched: ClassVar[bool] = False

    @property
    def is_to_key(self) -> bool:
        return bool(self.parent_field.primary_key)


@dataclass(frozen=True)
class Aim:
    """A row of ``model`` is reached because a column names the subject, without a foreign key."""

    model: Model
    field: Any
    loose: Loose

    @property
    def is_matched(self) -> bool:
        """Whether finding the rows asks for the subjects' instances."""
        return self.loose.match is not None


Way = Edge | Aim


@dataclass(frozen=True)
class Touched:
    """Rows of one model that stay: detached, anonymised or kept, all under the same fate."""

    model: Model
    fate: Detach | Anonymise | Keep
    ways: tuple[Way, ...]


@dataclass
class Graph:
    """What belongs to a subject. ``components`` holds the owned models, parents before children;
    models that refer to each other in a circle share one."""

    root: Model
    ways: dict[Model, list[Way]] = field(default_factory=dict)
    components: list[list[Model]] = field(default_factory=list)
    touched: list[Touched] = field(default_factory=list)

    def is_recursive(self, component: Sequence[Model]) -> bool:
        """Whether rows of a component lead to further rows of the same one."""
        inner = set(component)
        return any(
            isinstance(way, Edge) and way.parent in inner
            for model in component
            for way in self.ways[model]
        )

    def is_parent(self, model: Model) -> bool:
        """Whether rows of other models hang on rows of this one."""
        ways = [way for many in self.ways.values() for way in many]
        ways += [way for one in self.touched for way in one.ways]
        return any(isinstance(way, Edge) and way.parent is model for way in ways)


def draw_graph(kind: str, root: Model, declared: Declared) -> Graph:
    """Return what belongs to subjects of a kind, whose rows are those of ``root``."""
    graph = Graph(root=root, ways=_find_owned(kind, root, declared))
    graph.components = _sort(graph.ways)
    graph.touched = _find_touched(kind, graph.ways, declared)
    return graph


def links_of(model: Model, policy: Policy) -> Iterator[tuple[Any, Fate]]:
    """Yield the foreign keys that a policy names, with their fates. Unknown names are the checks'
    affair."""
    known = {one.name: one for one in model._meta.local_concrete_fields}
    for name, fate in policy.links.items():
        if name in known and known[name].is_relation:
            yield known[name], fate


def loose_of(model: Model, policy: Policy, kind: str) -> Iterator[tuple[Any, Loose]]:
    """Yield the columns that name subjects of a kind without a foreign key."""
    known = {one.name: one for one in model._meta.concrete_fields}
    for loose in policy.loose:
        if loose.kind in (kind, "*") and loose.field in known:
            yield known[loose.field], loose


def target_of(link: Any) -> Model:
    """Return the model that a foreign key points at; of a proxy, the one behind it."""
    concrete: Model = link.remote_field.model._meta.concrete_model
    return concrete


def _find_owned(kind: str, root: Model, declared: Declared) -> dict[Model, list[Way]]:
    ways: dict[Model, list[Way]] = {root: []}
    aims: dict[Model, list[Way]] = {
        model: [
            Aim(model, column, loose)
            for column, loose in loose_of(model, policy, kind)
            if isinstance(loose.fate, Delete)
        ]
        for model, policy in declared.items()
    }
    ways.update({model: [] for model, found in aims.items() if found and model not in ways})
    grown = True
    while grown:
        grown = False
        for owned in list(ways):
            for edge in _edges_from(owned, declared):
                grown |= edge.child not in ways
                found = ways.setdefault(edge.child, [])
                if edge not in found:
                    found.append(edge)
    for model, found in aims.items():
        if found:
            ways[model].extend(found)
    return ways


def _edges_from(parent: Model, declared: Declared) -> Iterator[Edge]:
    for child, policy in declared.items():
        for link, fate in links_of(child, policy):
            if isinstance(fate, Delete) and target_of(link) is parent:
                yield Edge(child, link, parent, link.target_field)
    # The row of a model that inherits its table from another one has a second half there.
    parents: dict[Any, Any] = parent._meta.parents
    for base, pointer in parents.items():
        if pointer is not None and base in declared:
            yield Edge(base, pointer.target_field, parent, pointer)


def _find_touched(kind: str, owned: Mapping[Model, list[Way]], declared: Declared) -> list[Touched]:
    found: dict[tuple[Model, int], tuple[Any, list[Way]]] = {}
    for model, policy in declared.items():
        ways: list[tuple[Fate, Way]] = [
            (fate, Edge(model, link, target_of(link), link.target_field))
            for link, fate in links_of(model, policy)
            if target_of(link) in owned
        ]
        ways += [
            (loose.fate, Aim(model, column, loose))
            for column, loose in loose_of(model, policy, kind)
        ]
        for fate, way in ways:
            if isinstance(fate, Delete):
                continue
            # One statement detaches all links of a row; other fates share one when they are one.
            same = 0 if isinstance(fate, Detach) else id(fate)
            found.setdefault((model, same), (fate, []))[1].append(way)
    return [Touched(model, fate, tuple(ways)) for (model, _), (fate, ways) in found.items()]


def _sort(ways: Mapping[Model, list[Way]]) -> list[list[Model]]:
    """Return the strongly connected components of the owned models, parents first (Tarjan)."""
    parents = {
        model: [way.parent for way in found if isinstance(way, Edge)]
        for model, found in ways.items()
    }
    index: dict[Model, int] = {}
    low: dict[Model, int] = {}
    stack: list[Model] = []
    components: list[list[Model]] = []

    def visit(model: Model) -> None:
        index[model] = low[model] = len(index)
        stack.append(model)
        for parent in parents[model]:
            if parent not in index:
                visit(parent)
                low[model] = min(low[model], low[parent])
            elif parent in stack:
                low[model] = min(low[model], index[parent])
        if low[model] == index[model]:
            start = stack.index(model)
            components.append(stack[start:])
            del stack[start:]

    for model in ways:
        if model not in index:
            visit(model)
    return components
