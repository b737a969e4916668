"""What the checks of policies share: what they look at, and how they speak."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist

from erasure.graph import Declared, Model, draw_graph
from erasure.policies import Fate, Policy
from erasure.subjects import SubjectKind

Faults = Iterator[CheckMessage]


class World:
    """What the checks of one model have to know of all the others."""

    def __init__(self, declared: Declared, kinds: Collection[SubjectKind]) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self.graphs = {
            kind.name: draw_graph(kind.name, concrete(kind.model), declared) for kind in kinds
        }
        self.subjects = {concrete(kind.model) for kind in kinds}
        self.owned = {model for graph in self.graphs.values() for model in graph.ways}
        self.staying = {
            one.model for graph in self.graphs.values() for one in graph.touched
        } - self.owned


def concrete(model: Model) -> Model:
    """Return the model whose table a proxy stands for."""
    options: Any = model._meta
    found: Model = options.concrete_model
    return found


def fates_of(policy: Policy) -> Iterator[tuple[str, Fate]]:
    yield from policy.links.items()
    for loose in policy.loose:
        yield loose.field, loose.fate


def has_field(model: Model, name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True


@dataclass(frozen=True)
class Place:
    """The object of a fault, shown as ``app.Model.field``."""

    label: str

    def __str__(self) -> str:
        return self.label


def fault(number: int, model: Model, text: str, hint: str, field: str = "") -> CheckMessage:
    label = model._meta.label
    place = Place(f"{label}.{field}" if field else label)
    return Error(f"{label} {text}.", hint=hint, obj=place, id=f"erasure.E{number:03}")
