"""Everything that belongs to subjects of a kind, counted or carried out by set.

The one place that turns policies into statements. Rows go deepest first, so that the cascade of
the database, which stays as a safety net, finds nothing; what each statement took is counted by
that statement itself, for each subject of the set.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.db.models.expressions import RawSQL

from erasure import policies
from erasure.composing import Composer, is_single
from erasure.dialects import Dialect, Slot, Sql, Subjects, dialect_of
from erasure.graph import Declared, Edge, Graph, Model, Touched, draw_graph
from erasure.policies import Anonymise, Detach, Fate, Keep, declared
from erasure.subjects import SubjectKind, get_kind

Counts = dict[str, int]


@dataclass
class Tally:
    """Rows by subject and model label. A subject without rows is left out."""

    removed: dict[UUID, Counts] = field(default_factory=dict)
    detached: dict[UUID, Counts] = field(default_factory=dict)
    anonymised: dict[UUID, Counts] = field(default_factory=dict)
    kept: dict[UUID, Counts] = field(default_factory=dict)

    def add(self, step: "Step", subject: UUID, rows: int) -> None:
        if rows:
            counts = getattr(self, step.outcome).setdefault(subject, {})
            counts[step.label] = counts.get(step.label, 0) + rows


@dataclass(frozen=True, eq=False)
class Step:
    """What an erasure does to one model. Steps run in the order of their numbers."""

    closure: "Closure"
    number: int
    model: Model
    touched: Touched | None = None

    @property
    def label(self) -> str:
        return self.model._meta.label

    @property
    def rank(self) -> tuple[bool, str]:
        """What results are sorted by: the subjects' own rows first, other models by label."""
        return self.model is not self.closure.graph.root, self.label

    @property
    def fate(self) -> Fate:
        return self.touched.fate if self.touched else policies.DELETE

    @property
    def outcome(self) -> str:
        """The part of a tally that the step's rows belong to."""
        outcomes = {Detach: "detached", Anonymise: "anonymised", Keep: "kept"}
        return outcomes[type(self.touched.fate)] if self.touched else "removed"

    def count(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Return how many rows each subject has here. Reads only."""
        return self.closure.count_steps([self], ids).get(self, {})

    def carry_out(self, ids: Sequence[UUID]) -> dict[UUID, int]:
        """Do it, and return how many rows there were for each subject."""
        return self.closure.carry_out_steps([self], ids).get(self, {})

    def rows(self, ids: Sequence[UUID]) -> "models.QuerySet[Any]":
        """Return the rows that the step is about, as a queryset."""
        return self.closure.rows(self, ids)


class Closure:
    """The steps of one kind, built once. Holds no connection and no row."""

    def __init__(self, kind: SubjectKind, known: Declared) -> None:
        self.kind = kind
        root: Any = kind.model._meta.concrete_model
        self.graph: Graph = draw_graph(kind.name, root, known)
        staying = self.graph.touched
        going = [model for many in reversed(self.graph.components) for model in many]
        # What stays is let go before its parent goes, or the database would do it uncounted.
        parts = [(one.model, one) for one in staying if not isinstance(one.fate, Keep)]
        whole: list[tuple[Model, Touched | None]] = [*parts, *((model, None) for model in going)]
        self.steps = [Step(self, n, model, touched) for n, (model, touched) in enumerate(whole)]
        self.keeps = [
            Step(self, len(self.steps) + n, one.model, one)
            for n, one in enumerate(one for one in staying if isinstance(one.fate, Keep))
        ]
        self._texts: dict[Any, Any] = {}

    # --- counting -----------------------------------------------------------------------------

    def count(self, ids: Sequence[UUID]) -> Tally:
        """Return what an erasure of these subjects would do, in one query. Reads only."""
        return self._tally(self.count_steps(self.steps, ids))

    def count_steps(
        self, steps: Sequence[Step], ids: Sequence[UUID]
    ) -> dict[Step, dict[UUID, int]]:
        """Return how many rows each subject has in each of these steps. One query."""
        if not ids or not steps:
            return {}
        dialect = self.dialect()
        composer = self.composer(dialect, ids)
        ctes, parts = self.needed(composer, steps), []
        for step in steps:
            rows = self.body(composer, step)
            text = f"SELECT {step.number} AS step, subject, COUNT(*) FROM ({rows.text}) AS s"
            parts.append(Sql(f"{text} GROUP BY subject", rows.params))
        whole = _with(ctes, _join(" UNION ALL ", parts))
        return self._by_subject(steps, _run(whole, self._subjects(ids, dialect)), ids)

    def rows(self, step: Step, ids: Sequence[UUID]) -> "models.QuerySet[Any]":
        """Return the rows of a step as a queryset, for whoever exports or searches them."""
        dialect = self.dialect()
        composer = self.composer(dialect, ids)
        body = self.body(composer, step)
        text = Sql(f"SELECT pk FROM ({body.text}) AS s", body.params)
        whole = _with(self.needed(composer, [step]), text)
        params = _fill(whole.params, self._subjects(ids, dialect))
        keys = RawSQL(whole.text, params)  # noqa: S611
        return step.model._base_manager.filter(pk__in=keys)

    # --- carrying out -------------------------------------------------------------------------

    def carry_out(self, ids: Sequence[UUID], *, spare: Collection[str] = ()) -> Tally:
        """Erase these subjects, their own rows last, in the caller's transaction, and return what
        was done, as counted by the statements that did it.

        The subjects' rows must be locked. ``spare`` names models that are left alone this time.
        A crash before the commit leaves everything as it was.
        """
        steps = [step for step in self.steps if step.label not in spare]
        return self._tally(self.carry_out_steps(steps, ids))

    def carry_out_steps(
        self, steps: Sequence[Step], ids: Sequence[UUID]
    ) -> dict[Step, dict[UUID, int]]:
        if not ids or not steps:
            return {}
        dialect = self.dialect()
        self._lock_parents(dialect, ids)
        if dialect.can_count_what_it_changes:
            return self._carry_out_counting(dialect, steps, ids)
        return self._count_and_carry_out(dialect, steps, ids)

    def _lock_parents(self, dialect: Dialect, ids: Sequence[UUID]) -> None:
        """Lock the rows, beside the subjects', on which others hang: a child that a stranger adds
        meanwhile waits, instead of going uncounted with its parent."""
        if not dialect.can_count_what_it_changes:
            return  # SQLite has one writer.
        composer = None
        for component in self.graph.components:
            for model in component:
                if model is self.graph.root or not self.graph.is_parent(model):
                    continue
                composer = composer or self.composer(dialect, ids)
                key = composer.key(model)
                table = dialect.quote(model._meta.db_table)
                text = (
                    f"SELECT COUNT(*) FROM (SELECT 1 FROM {table} WHERE {key} IN "
                    f"(SELECT pk FROM {composer.names[model]}) ORDER BY {key} FOR UPDATE) AS held"
                )
                _run(_with(composer.named([model]), Sql(text)), self._subjects(ids, dialect))

    def _carry_out_counting(
        self, dialect: Dialect, steps: Sequence[Step], ids: Sequence[UUID]
    ) -> dict[Step, dict[UUID, int]]:
        """One statement for as many steps as possible, each counting what it changes. All of its
        parts see the rows as they were when it began."""
        composer, subjects = self.composer(dialect, ids), self._subjects(ids, dialect)
        done: dict[Step, dict[UUID, int]] = {}
        for together in _batches(steps):
            changes, results = [], []
            for step in together:
                change = self._change(composer, step)
                name = f"done_{step.number}"
                changes.append(Sql(f"{name} AS ({change.text})", change.params))
                results.append(
                    Sql(f"SELECT {step.number}, subject, COUNT(*) FROM {name} GROUP BY subject")
                )
            ctes = [*self.needed(composer, together), *changes]
            rows = _run(_with(ctes, _join(" UNION ALL ", results)), subjects)
            done.update(self._by_subject(together, rows, ids))
        return done

    def _count_and_carry_out(
        self, dialect: Dialect, steps: Sequence[Step], ids: Sequence[UUID]
    ) -> dict[Step, dict[UUID, int]]:
        """Count everything in one query, then change what there is. For a database with one
        writer, where nothing comes in between."""
        counted = self.count_steps(steps, ids)
        composer, subjects = self.composer(dialect, ids), self._subjects(ids, dialect)
        circles = [many for many in self.graph.components if len(many) > 1]
        keys = {model: self._keys(composer, model, subjects) for many in circles for model in many}
        for step in steps:
            if step not in counted:
                continue
            if step.touched is None and step.model in keys:
                _delete_by_key(composer, step.model, keys[step.model])
                continue
            change = self._change(composer, step)
            _run(_with(self.needed(composer, [step]), change), subjects)
        return counted

    def _keys(self, composer: Composer, model: Model, subjects: Subjects) -> list[Any]:
        text = Sql(f"SELECT pk FROM {composer.names[model]}")
        return [pk for (pk,) in _run(_with(composer.named([model]), text), subjects)]

    def _change(self, composer: Composer, step: Step) -> Sql:
        """Return the statement that deletes or overwrites a step's rows; on PostgreSQL it returns
        the subject of each."""
        if step.touched is None:
            return self._deletion(composer, step.model)
        return self._overwriting(composer, step)

    def _deletion(self, composer: Composer, model: Model) -> Sql:
        table = composer.dialect.quote(model._meta.db_table)
        paths = composer.paths(model)
        is_simple = is_single(paths) and not self.is_recursive(model)
        if composer.dialect.can_count_what_it_changes:
            if is_simple:
                path = paths[0]
                using = f" USING {path.sources}" if path.sources else ""
                text = f"DELETE FROM {table}{using} WHERE {path.where} RETURNING {path.subject}"
                return Sql(f"{text} AS subject", path.params)
            return Sql(
                f"DELETE FROM {table} USING {composer.names[model]} AS found "
                f"WHERE {composer.key(model)} = found.pk RETURNING found.subject"
            )
        if is_simple and not paths[0].sources:
            return Sql(f"DELETE FROM {table} WHERE {paths[0].where}", paths[0].params)
        found = f"SELECT pk FROM {composer.names[model]}"
        return Sql(f"DELETE FROM {table} WHERE {composer.key(model)} IN ({found})")

    def _overwriting(self, composer: Composer, step: Step) -> Sql:
        touched = step.touched
        assert touched is not None  # noqa: S101
        quote, model = composer.dialect.quote, step.model
        assignments: list[str] = []
        params: list[Any] = []
        for column, condition, value in _new_values(composer, touched):
            slot = "%s" if value is not None else "NULL"
            text = slot
            if condition is not None:
                key = composer.key(model)
                text = (
                    f"CASE WHEN {key} IN (SELECT pk FROM ({condition.text}) AS mine) "
                    f"THEN {slot} ELSE {composer.dialect.column(model, column)} END"
                )
                params += condition.params
            assignments.append(f"{quote(column)} = {text}")
            params += [] if value is None else [value]
        rows = self.body(composer, step)
        change = f"UPDATE {quote(model._meta.db_table)} SET {', '.join(assignments)}"
        key = composer.key(model)
        if composer.dialect.can_count_what_it_changes:
            text = f"{change} FROM ({rows.text}) AS found WHERE {key} = found.pk"
            return Sql(f"{text} RETURNING found.subject", (*params, *rows.params))
        text = f"{change} WHERE {key} IN (SELECT pk FROM ({rows.text}) AS s)"
        return Sql(text, (*params, *rows.params))

    # --- pieces -------------------------------------------------------------------------------

    def dialect(self) -> Dialect:
        return dialect_of(connection, self.graph.root._meta.pk)

    def composer(self, dialect: Dialect, ids: Sequence[UUID], prefix: str = "") -> Composer:
        instances = self._instances(ids) if self._asks_for_instances else []
        return Composer(self.kind, self.graph, dialect, instances, prefix)

    def _subjects(self, ids: Sequence[UUID], dialect: Dialect) -> Subjects:
        return Subjects(self.kind, ids, dialect)

    @property
    def _asks_for_instances(self) -> bool:
        ways = [way for many in self.graph.ways.values() for way in many]
        ways += [way for one in self.graph.touched for way in one.ways]
        return any(getattr(way, "loose", None) and way.loose.match for way in ways)  # type: ignore[union-attr]

    def _instances(self, ids: Sequence[UUID]) -> list[Any]:
        keys = [self.kind.pk_of(one) for one in ids]
        return list(self.graph.root._base_manager.filter(pk__in=keys).order_by("pk"))

    def is_recursive(self, model: Model) -> bool:
        component = next(many for many in self.graph.components if model in many)
        return self.graph.is_recursive(component)

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

    def _by_subject(
        self, steps: Sequence[Step], rows: Iterable[Any], ids: Sequence[UUID]
    ) -> dict[Step, dict[UUID, int]]:
        names = self._subjects(ids, self.dialect()).by_key
        known = {step.number: step for step in steps}
        found: dict[Step, dict[UUID, int]] = {}
        for number, subject, count in rows:
            found.setdefault(known[number], {})[names[subject]] = count
        return found

    def _tally(self, counted: dict[Step, dict[UUID, int]]) -> Tally:
        tally = Tally()
        for step, counts in sorted(counted.items(), key=lambda one: one[0].rank):
            for subject, rows in counts.items():
                tally.add(step, subject, rows)
        return tally


_closures: dict[str, tuple[int, Closure]] = {}


def closure_of(kind: str) -> Closure:
    """Return the closure of a kind; built at first use, and anew when a policy changes."""
    version = policies.version()
    known = _closures.get(kind)
    if known is None or known[0] != version:
        known = _closures[kind] = (version, Closure(get_kind(kind), declared()))
    return known[1]


def steps_of(kind: str) -> list[Step]:
    """Return the steps of a kind in the order in which an erasure takes them."""
    return closure_of(kind).steps


def _new_values(composer: Composer, touched: Touched) -> Iterable[tuple[str, Sql | None, Any]]:
    """Yield column, condition and new value of what is overwritten. A link is cleared only where
    it leads to the subject: a row may have several, to different people."""
    dialect = composer.dialect
    if isinstance(touched.fate, Anonymise):
        for name, value in touched.fate.values.items():
            column: Any = touched.model._meta.get_field(name)
            yield column.column, None, column.get_db_prep_save(value, dialect.connection)
    named = touched.fate.values if isinstance(touched.fate, Anonymise) else {}
    for way in touched.ways:
        link = way.child_field if isinstance(way, Edge) else way.field
        if link.name in named or (
            isinstance(touched.fate, Anonymise) and not isinstance(way, Edge)
        ):
            continue
        condition = composer.touched(touched, [way]) if len(touched.ways) > 1 else None
        yield link.column, condition, None if link.null else ""


def _batches(steps: Sequence[Step]) -> Iterable[list[Step]]:
    """Yield steps that may share a statement: it may overwrite a row once only."""
    together: list[Step] = []
    overwritten: set[Model] = set()
    for step in steps:
        if step.touched is not None:
            if step.model in overwritten:
                yield together
                together, overwritten = [], set()
            overwritten.add(step.model)
        together.append(step)
    if together:
        yield together


def _delete_by_key(composer: Composer, model: Model, keys: list[Any]) -> None:
    import json

    table = composer.dialect.quote(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE {composer.key(model)} IN (SELECT value FROM json_each(%s))",
            [json.dumps(keys)],
        )


def _with(ctes: Sequence[Sql], body: Sql) -> Sql:
    if not ctes:
        return body
    named = _join(", ", ctes)
    return Sql(f"WITH RECURSIVE {named.text} {body.text}", (*named.params, *body.params))


def _join(between: str, parts: Sequence[Sql]) -> Sql:
    return Sql(
        between.join(part.text for part in parts),
        tuple(one for part in parts for one in part.params),
    )


def _fill(params: Iterable[Any], subjects: Subjects) -> list[Any]:
    dialect = subjects.dialect
    return [dialect.fill(one, subjects) if isinstance(one, Slot) else one for one in params]


def _run(statement: Sql, subjects: Subjects) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement.text, _fill(statement.params, subjects))
        return cursor.fetchall() if cursor.description else []
