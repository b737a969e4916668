"""Which of the rows that an erasure touches are a subject's own, and which only mention it.

An erasure takes a stranger's comment along with the post that it stands under. The comment is not
the author's data for all that: who asks for a copy of their data is told of it, not what it says.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import models
from django.db.models import Q

from audit.events import Reference
from erasure.closure import Closure, Step, closure_of
from erasure.graph import Aim, Edge, Model, Way
from erasure.policies import Anonymise, Detach, Fate, Keep, Policy, policy_of
from erasure.subjects import SubjectKind, get_kind

NOBODYS = Q(pk__in=[])


class Link(NamedTuple):
    """A column that may lead to the subject, and the value by which it does; None when it leads to
    something of the subject's."""

    field: Any
    value: Any


@dataclass(frozen=True)
class Part:
    """The rows of one step of an erasure, told apart. ``fields`` are what the subject is shown of
    its own rows; of the others it is shown ``links`` only."""

    step: Step
    fate: Fate
    own: "models.QuerySet[Any]"
    others: "models.QuerySet[Any]"
    fields: tuple[Any, ...]
    links: tuple[Link, ...]


def read_parts(subject: Reference, instance: Any) -> Iterator[Part]:
    """Yield every part of what is held on a subject, its own row first."""
    belonging = _Belonging(subject, instance)
    closure = belonging.closure
    steps = sorted(closure.steps, key=lambda step: step.model is not closure.graph.root)
    for step in [*steps, *closure.keeps]:
        yield belonging.part(step)


class _Belonging:
    def __init__(self, subject: Reference, instance: Any) -> None:
        self.subject, self.instance = subject, instance
        self.kind: SubjectKind = get_kind(subject.kind)
        self.closure: Closure = closure_of(subject.kind)
        self.graph = self.closure.graph
        self._own: dict[Model, Q] = {}

    def part(self, step: Step) -> Part:
        rows = step.rows([self.subject.id])
        own = self._own_of(step)
        return Part(
            step=step,
            fate=step.fate,
            own=rows.filter(own),
            others=rows.exclude(own),
            fields=tuple(_shown_fields(step)),
            links=tuple(self._links(step)),
        )

    def _own_of(self, step: Step) -> Q:
        """Return the condition that a row of a step is the subject's own."""
        if step.touched is None:
            return self._own_rows(step.model)
        if isinstance(step.fate, Detach):
            return NOBODYS
        if isinstance(step.fate, Keep) and self._owning_ways(step.model):
            # The model says elsewhere whom a row is about; here somebody is only named.
            return NOBODYS
        return _any(self._condition(way) for way in step.touched.ways)

    def _own_rows(self, model: Model) -> Q:
        if model is self.graph.root:
            return Q(pk=self.instance.pk)
        if model not in self._own:
            # Of models that refer to each other in a circle, the second look ends here.
            self._own[model] = NOBODYS
            ways = self._owning_ways(model) or self.graph.ways[model]
            self._own[model] = _any(self._condition(way) for way in ways)
        return self._own[model]

    def _owning_ways(self, model: Model) -> list[Way]:
        """Return the columns that say whose a row is: those that name a subject directly."""
        ways: list[Way] = list(self.graph.ways.get(model, ()))
        for touched in self.graph.touched:
            if touched.model is model and isinstance(touched.fate, Anonymise):
                ways += touched.ways
        return [way for way in ways if isinstance(way, Aim) or way.parent is self.graph.root]

    def _condition(self, way: Way) -> Q:
        if isinstance(way, Aim):
            return self._aimed(way)
        name, parent = way.child_field.name, way.parent
        if parent is self.graph.root:
            return Q(**{f"{name}": getattr(self.instance, way.parent_field.attname)})
        rows = parent._base_manager.filter(self._own_rows(parent))
        return Q(**{f"{name}__in": rows.values(way.parent_field.name)})

    def _aimed(self, aim: Aim) -> Q:
        loose = aim.loose
        if loose.match is not None:
            return loose.match(self.instance)
        value = self._value(aim)
        if value in (None, ""):
            return NOBODYS
        how = "__icontains" if loose.quoted else "__iexact" if loose.ignore_case else ""
        named = Q(**{loose.kind_field: self.subject.kind}) if loose.kind_field else Q()
        return Q(**{f"{loose.field}{how}": value}) & named

    def _value(self, aim: Aim) -> Any:
        """Return what the column holds when it means the subject."""
        if aim.loose.to != "pk":
            return getattr(self.instance, aim.loose.to)
        if aim.loose.quoted:
            return str(self.subject.id)
        return self.subject.id if isinstance(aim.field, models.UUIDField) else self.instance.pk

    def _links(self, step: Step) -> Iterator[Link]:
        ways = step.touched.ways if step.touched else self.graph.ways.get(step.model, ())
        for way in ways:
            if isinstance(way, Edge):
                direct = way.parent is self.graph.root
                value = getattr(self.instance, way.parent_field.attname) if direct else None
                yield Link(way.child_field, value)
            elif way.loose.match is None and not way.loose.quoted:
                yield Link(way.field, self._value(way))


def _shown_fields(step: Step) -> Iterator[Any]:
    """Yield the fields that a subject is shown of its own rows: no secrets, and of a row that is
    anonymised, of the personal fields only those that are overwritten: the others are others'."""
    policy = _policy(step.model)
    hidden = set(policy.secret)
    if isinstance(step.fate, Anonymise):
        hidden |= policy.personal - set(step.fate.values)
    for field in step.model._meta.local_concrete_fields:
        if field.name not in hidden:
            yield field


def _policy(model: Model) -> Policy:
    found = policy_of(model)
    assert found is not None  # noqa: S101 - a step exists because a policy does
    return found


def _any(conditions: Iterable[Q]) -> Q:
    whole = NOBODYS
    for condition in conditions:
        whole |= condition
    return whole
