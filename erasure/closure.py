"""Everything that belongs to subjects of a kind, counted or carried out by set.

The one place that turns policies into statements. Rows go deepest first, so that the cascade of
the database, which stays as a safety net, finds nothing; what each statement took is counted by
that statement itself, for each subject of the set.

    tally = closure_of("user").carry_out(ids)
    tally.removed[user_id]  # {"accounts.User": 1, "apikeys.ApiKey": 2}
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import RawSQL

from erasure import carrying, policies
from erasure.composing import Composer
from erasure.dialects import Dialect, Sql, Subjects, dialect_of
from erasure.graph import Declared, Graph, Model, Touched, draw_graph
from erasure.policies import Anonymise, Detach, Fate, Keep, declared
from erasure.running import fill, join, run, with_
from erasure.subjects import SubjectKind, get_kind
from erasure.tally import Counts, Read, Tally

Composed = TypeVar("Composed")


@dataclass(frozen=True, eq=False)
class Step:
    """What an erasure does to one model. Steps run in the order of their numbers."""

    closure: "Closure"
    number: int
    model: Model
    touched: Touched | None = None

    @cached_property
    def label(self) -> str:
        return self.model._meta.label

    @property
    def rank(self) -> tuple[bool, str]:
        """What results are sorted by: the subjects' own rows first, other models by label."""
        return self.model is not self.closure.graph.root, self.label

    @property
    def fate(self) -> Fate:
        return self.touched.fate if self.touched else policies.DELETE

    @cached_property
    def outcome(self) -> str:
        """The part of a tally that the step's rows belong to."""
        outcomes = {Detach: "detached", Anonymise: "anonymised", Keep: "kept"}
        return outcomes[type(self.touched.fate)] if self.touched else "removed"

    def count(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return how many rows each subject has here. Reads only."""
        return self.closure.count_steps([self], ids).get(self, {})

    def carry_out(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Do it, and return how many rows there were for each subject. Models that refer to each
        other in a circle go together only: by ``Closure.carry_out``."""
        done = getattr(self.closure.carry_out_steps([self], ids), self.outcome)
        return {pk: sum(counts.values()) for pk, counts in done.items()}

    def rows(self, ids: Sequence[UUID]) -> "models.QuerySet[Any]":
        """Return the rows that the step is about, as a queryset."""
        return self.closure.rows(self, ids)


class Closure:
    """The steps of one kind, built once. Holds no connection and no row."""

    def __init__(self, kind: SubjectKind, known: Declared) -> None:
        root: Any = kind.model._meta.concrete_model
        self.kind = kind
        self.graph: Graph = draw_graph(kind.name, root, known)
        staying = self.graph.touched
        # What stays is let go before its parent goes, or the database would do it uncounted.
        parts: list[tuple[Model, Touched | None]] = [
            (one.model, one) for one in staying if not isinstance(one.fate, Keep)
        ]
        parts += [(one, None) for many in reversed(self.graph.components) for one in many]
        self.steps = [Step(self, number, *part) for number, part in enumerate(parts)]
        self.keeps = [
            Step(self, number, one.model, one)
            for number, one in enumerate(staying, len(parts))
            if isinstance(one.fate, Keep)
        ]
        self._texts: dict[tuple[Any, ...], Any] = {}
        self.read: Callable[[str], Read] = lru_cache(4_096)(self._parse)
        """What ``step rows,step rows`` of one subject says; the same few texts come again and
        again."""

    # --- what to do with a set of subjects ------------------------------------------------------

    def count(self, ids: Sequence[UUID]) -> Tally:
        """Return what an erasure of these subjects would do, in one query. Reads only."""
        return self.tally(self.count_steps(self.steps, ids))

    def carry_out(self, ids: Sequence[UUID], *, spare: Collection[str] = ()) -> Tally:
        """Erase these subjects, their own rows last, in the caller's transaction, and return what
        was done, as counted by the statements that did it.

        The subjects' rows must be locked. ``spare`` names models that are left alone this time.
        A crash before the commit leaves everything as it was.
        """
        steps = [step for step in self.steps if step.label not in spare]
        return self.carry_out_steps(steps, ids)

    def rows(self, step: Step, ids: Sequence[UUID]) -> "models.QuerySet[Any]":
        """Return the rows of a step as a queryset, for whoever exports or searches them."""
        subjects = self.subjects(ids)

        def compose() -> Sql:
            composer = self.composer(subjects)
            body = self.body(composer, step)
            text = Sql(f"SELECT pk FROM ({body.text}) AS s", body.params)
            return with_(self.needed(composer, [step]), text)

        whole = self.remembered(("rows", step.number), compose)
        keys = RawSQL(whole.text, fill(whole.params, subjects))  # noqa: S611
        return step.model._base_manager.filter(pk__in=keys)

    def count_steps(
        self, steps: Sequence[Step], ids: Sequence[UUID]
    ) -> dict[Step, dict[UUID, int]]:
        """Return how many rows each subject has in each of these steps. One query."""
        if not ids or not steps:
            return {}
        subjects = self.subjects(ids)

        def compose() -> Sql:
            composer, parts = self.composer(subjects), []
            for step in steps:
                rows = self.body(composer, step)
                text = f"SELECT {step.number} AS step, subject, COUNT(*) FROM ({rows.text}) AS s"
                parts.append(Sql(f"{text} GROUP BY subject", rows.params))
            return with_(self.needed(composer, steps), join(" UNION ALL ", parts))

        whole = self.remembered(("count", *(step.number for step in steps)), compose)
        return self.by_subject(steps, run(whole, subjects), subjects)

    def carry_out_steps(self, steps: Sequence[Step], ids: Sequence[UUID]) -> Tally:
        if not ids or not steps:
            return Tally()
        return carrying.carry_out(self, steps, self.subjects(ids))

    # --- pieces that statements are made of -----------------------------------------------------

    def remembered(self, name: tuple[Any, ...], compose: Callable[[], Composed]) -> Composed:
        """Return what ``compose`` writes; the same again the next time, for the same database.

        Writing SQL costs more than a small erasure. Only what asks for the subjects' instances is
        written anew for each set.
        """
        if self._asks_for_instances:
            return compose()
        key = (connection.vendor, *name)
        if key not in self._texts:
            self._texts[key] = compose()
        found: Composed = self._texts[key]
        return found

    def subjects(self, ids: Sequence[UUID]) -> Subjects:
        """Return a set of subjects as the current database spells them."""
        return Subjects(self.kind, ids, self.dialect())

    def dialect(self) -> Dialect:
        """Return how the current database speaks of these subjects."""
        return dialect_of(connection, self.graph.root._meta.pk)

    def composer(self, subjects: Subjects, prefix: str = "") -> Composer:
        instances = self._instances(subjects) if self._asks_for_instances else []
        return Composer(self.kind, self.graph, subjects.dialect, instances, prefix)

    def component(self, model: Model) -> list[Model]:
        """Return the models that refer to each other in a circle with this one, itself included."""
        return next(many for many in self.graph.components if model in many)

    def is_recursive(self, model: Model) -> bool:
        return self.graph.is_recursive(self.component(model))

    @cached_property
    def removals(self) -> list[Step]:
        """The steps that remove rows, but for the subjects' own."""
        return [
            step
            for step in self.steps
            if step.touched is None and step.model is not self.graph.root
        ]

    @cached_property
    def parents(self) -> list[Model]:
        """The models, beside the subjects' own, on whose rows others hang; parents first."""
        owned = [model for many in self.graph.components for model in many]
        return [
            model for model in owned if model is not self.graph.root and self.graph.is_parent(model)
        ]

    def body(self, composer: Composer, step: Step) -> Sql:
        """Return the query of a step's rows, ``pk`` and ``subject``."""
        if step.touched is not None:
            return composer.touched(step.touched)
        if self.is_recursive(step.model):
            return Sql(f"SELECT pk, subject FROM {composer.names[step.model]}")
        return composer.body(step.model, composer.paths(step.model))

    def needed(self, composer: Composer, steps: Iterable[Step]) -> list[Sql]:
        """Return the common table expressions that the queries of some steps build on."""
        wanted: list[Model] = []
        for step in steps:
            if step.touched is not None:
                wanted += composer.touched_needs(step.touched)
            else:
                wanted.append(step.model)
        return composer.named(wanted)

    def by_subject(
        self, steps: Sequence[Step], rows: Iterable[Any], subjects: Subjects
    ) -> dict[Step, dict[UUID, int]]:
        """Sort rows of step number, subject's key and count."""
        known = {step.number: step for step in steps}
        found: dict[int, dict[UUID, int]] = {number: {} for number in known}
        for number, key, count in rows:
            found[number][subjects.name(key)] = count
        return {known[number]: counts for number, counts in found.items() if counts}

    @cached_property
    def _asks_for_instances(self) -> bool:
        ways = [way for many in self.graph.ways.values() for way in many]
        ways += [way for one in self.graph.touched for way in one.ways]
        return any(way.is_matched for way in ways)

    def _instances(self, subjects: Subjects) -> list[Any]:
        keys = [self.kind.pk_of(one) for one in subjects.ids]
        return list(self.graph.root._base_manager.filter(pk__in=keys).order_by("pk"))

    def _parse(self, text: str) -> Read:
        pairs = [part.split() for part in text.split(",")]
        known = [(self.steps[int(number)], int(rows)) for number, rows in pairs]
        found: dict[str, Counts] = {}
        for step, rows in sorted(known, key=lambda one: one[0].rank):
            counts = found.setdefault(step.outcome, {})
            counts[step.label] = counts.get(step.label, 0) + rows
        return tuple(found.items())

    def tally(self, counted: dict[Step, dict[UUID, int]]) -> Tally:
        tally = Tally()
        for step, counts in sorted(counted.items(), key=lambda one: one[0].rank):
            tally.add_many(step, counts)
        return tally


_closures: dict[str, tuple[int, Closure]] = {}


def closure_of(kind: str) -> Closure:
    """Return the closure of a kind; built at first use, and anew when a policy or the kind itself
    is declared anew. Raises KeyError for an unknown kind."""
    version, registered = policies.version(), get_kind(kind)
    known = _closures.get(kind)
    if known is None or known[0] != version or known[1].kind is not registered:
        known = _closures[kind] = (version, Closure(registered, declared()))
    return known[1]


def steps_of(kind: str) -> list[Step]:
    """Return the steps of a kind in the order in which an erasure takes them."""
    return closure_of(kind).steps
