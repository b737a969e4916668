"""The parts in which a large subject's rows are taken, and the rows that no branch covers.

Rows are taken by keyset: in the order of a key, each statement after the last key of the one
before. A loop of ``LIMIT n`` would read again each time what it has deleted before, and take a time
that grows with the square of the rows.

A part is a branch, where a foreign key of the subject's own row leads to a tree; or a stretch, for
references without a foreign key, for rows that stay but are changed, and for models that refer to
each other in a circle.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection

from erasure.branches import Branch, Keys, branches_of, is_tree, walked_field
from erasure.carrying import assignments, delete_by_key, doorway
from erasure.circles import start, walk
from erasure.composing import Composer
from erasure.dialects import Sql, plain_field
from erasure.graph import Aim, Edge, Model, Touched, Way
from erasure.paths import Path, is_single
from erasure.running import run, with_
from erasure.tally import Tally

if TYPE_CHECKING:
    from erasure.closure import Closure, Step


@dataclass(frozen=True)
class _Key:
    """A column that orders rows, and the field that reads and writes its values."""

    expression: str
    field: Any


@dataclass(frozen=True)
class Stretch:
    """One way to the rows of one step, with the columns that order it."""

    step: "Step"
    ctes: list[Sql]
    rows: Sql
    keys: tuple[_Key, ...]


Part = Branch | Stretch


class Stretches:
    """The parts in which the rows of one subject are taken, and the statements of those that no
    branch covers."""

    def __init__(self, closure: "Closure", subject_id: UUID, spare: Collection[str] = ()) -> None:
        self.closure, self.id, self.spare = closure, subject_id, spare
        self.subjects = closure.subjects([subject_id])
        self.dialect = self.subjects.dialect
        self.root = Keys(self.dialect.listed(self.subjects.keys), 1)

    @cached_property
    def composer(self) -> Composer:
        return self.closure.composer(self.subjects)

    def parts(self) -> list[tuple[str, Part]]:
        """Return all parts by name, but for the subject's own row and the models to be left
        alone: rows that are changed first, leaves before what they hang on."""
        known = self.closure.remembered(("stretches",), self._compose)
        return [(name, part) for name, part in known if part.step.label not in self.spare]

    def below(self, step: "Step") -> tuple[Branch, ...]:
        """Return what hangs on rows of a step and goes before them."""
        found: tuple[Branch, ...] = self.closure.remembered(
            ("below", step.number), lambda: self._grow(step.model)
        )
        return found

    def _compose(self) -> list[tuple[str, Part]]:
        tree = is_tree(self.closure.graph)
        return [
            (f"{step.outcome} {step.label} {step.number} {number}", part)
            for step in self.closure.steps
            if step.model is not self.closure.graph.root
            for number, part in enumerate(
                self._grown(step) if tree and step.touched is None else self._written(step)
            )
        ]

    def _grown(self, step: "Step") -> Iterator[Part]:
        """Branches from the subject's own row, and what names it by no foreign key. All else hangs
        on these."""
        yield from (one for one in self._grow(self.closure.graph.root) if one.step is step)
        aims = [way for way in self.closure.graph.ways[step.model] if isinstance(way, Aim)]
        ctes = self.closure.needed(self.composer, [step]) if aims else []
        for aim in aims:
            for path in self.composer.way(aim):
                yield Stretch(step, ctes, *self._along(step.model, aim, path))

    def _written(self, step: "Step") -> Iterator[Part]:
        ctes = self.closure.needed(self.composer, [step])
        for rows, keys in self._ways(step):
            yield Stretch(step, ctes, rows, keys)

    def _grow(self, parent: Model) -> tuple[Branch, ...]:
        graph = self.closure.graph
        if not is_tree(graph):
            return ()
        return branches_of(self.dialect, graph, parent, self.closure.steps)

    def find(self, stretch: Stretch, after: Any, limit: int) -> tuple[list[Any], Any]:
        """Return the keys of up to ``limit`` rows, locked, and the last place if more may
        follow."""
        batch = self._batch(stretch, after, limit)
        rows = run(with_(stretch.ctes, batch), self.subjects)
        keys = list(dict.fromkeys(row[0] for row in rows))
        return keys, [str(value) for value in rows[-1][1:]] if len(rows) == limit else None

    def carry_out(self, stretch: Stretch, keys: Sequence[Any], tally: Tally) -> None:
        """Remove or change rows by key, and what refers to them in a circle."""
        step = stretch.step
        if step.touched is not None:
            tally.add(step, self.id, self._overwrite(step, step.touched, keys))
            return
        doomed: dict[Model, Sequence[Any]] = {step.model: keys}
        if self.closure.is_recursive(step.model):
            doomed = self._reach(step.model, keys)
        steps = {one.model: one for one in self.closure.removals}
        with doorway(doomed):
            done = delete_by_key(self.dialect, doomed)
        for model, rows in done.items():
            tally.add(steps[model], self.id, rows)

    def _overwrite(self, step: "Step", touched: Touched, keys: Sequence[Any]) -> int:
        def compose() -> Sql:
            values = assignments(self.composer, touched)
            pk = self.dialect.key_of(touched.model)
            chosen = self.dialect.among_listed(pk, touched.model._meta.pk)
            table = self.dialect.quote(touched.model._meta.db_table)
            ctes = self.composer.named(self.composer.touched_needs(touched))
            text = f"UPDATE {table} SET {values.text} WHERE {chosen}"
            return with_(ctes, Sql(text, values.params))

        whole = self.closure.remembered(("overwrite", step.number), compose)
        listed = self.dialect.listed(keys)
        run(Sql(whole.text, (*whole.params, listed)), self.subjects)
        return len(keys)

    def _reach(self, model: Model, keys: Sequence[Any]) -> dict[Model, Sequence[Any]]:
        """Return the keys of rows and of all that they lead to, by model."""
        component = self.closure.component(model)
        pk, table = self.dialect.key_of(model), self.dialect.quote(model._meta.db_table)
        chosen = self.dialect.among_values(pk, model._meta.pk, keys)
        rows = Sql(f"FROM {table} WHERE {chosen.text}", chosen.params)
        # Whose the rows are is known; any value of the right type stands for it.
        ctes = walk(
            self.composer,
            component,
            [start(self.composer, component, model, self.dialect.nobody, rows)],
        )
        return {
            one: [
                key
                for (key,) in run(
                    with_(ctes, Sql(f"SELECT pk FROM {self.composer.names[one]}")), self.subjects
                )
            ]
            for one in component
        }

    def _ways(self, step: "Step") -> list[tuple[Sql, tuple[_Key, ...]]]:
        composer, model = self.composer, step.model
        if step.touched is not None:
            paths = composer.touched_paths(step.touched)
            if is_single(paths):
                return [self._along(model, step.touched.ways[0], paths[0])]
            # A row that two ways reach is to be counted once.
            body = composer.touched(step.touched)
            rows = Sql(f"FROM ({body.text}) AS s WHERE 1 = 1", body.params)
            return [(rows, (_Key("pk", plain_field(model._meta.pk)),))]
        inner = set(self.closure.component(model)) if self.closure.is_recursive(model) else set()
        return [
            self._along(model, way, path)
            for way in self.closure.graph.ways[model]
            if not (isinstance(way, Edge) and way.parent in inner)
            for path in composer.way(way)
        ]

    def _along(self, model: Model, way: Way, path: Path) -> tuple[Sql, tuple[_Key, ...]]:
        link = way.child_field if isinstance(way, Edge) else None
        walked = walked_field(model, link)
        mine = _Key(self.dialect.column(model, walked.column), plain_field(walked))
        keys: tuple[_Key, ...] = (mine,)
        if isinstance(way, Edge) and path.sources:
            keys = (_Key("up.pk", plain_field(way.parent._meta.pk)), mine)
        return self.composer.from_(model, path), keys

    def _batch(self, stretch: Stretch, after: Any, limit: int) -> Sql:
        order = ", ".join(key.expression for key in stretch.keys)
        model, is_joined = stretch.step.model, stretch.keys[0].expression == "pk"
        pk = "pk" if is_joined else self.dialect.key_of(model)
        # Locked as they are found: a row that passes to somebody else meanwhile stays.
        lock = "" if is_joined else self.dialect.lock(model)
        further = self._after(stretch.keys, after) if after else Sql("1 = 1")
        return Sql(
            f"SELECT {pk}, {order} {stretch.rows.text} AND {further.text} "
            f"ORDER BY {order} LIMIT %s{lock}",
            (*stretch.rows.params, *further.params, limit),
        )

    def _after(self, keys: tuple[_Key, ...], after: Sequence[Any]) -> Sql:
        values = [
            key.field.get_db_prep_value(key.field.to_python(value), connection)
            for key, value in zip(keys, after, strict=True)
        ]
        if len(keys) == 1:
            return Sql(f"{keys[0].expression} > %s", (values[0],))
        above, mine = (key.expression for key in keys)
        # Not as a comparison of rows: the first half alone can use the parent's index.
        return Sql(
            f"{above} >= %s AND ({above} > %s OR {mine} > %s)", (values[0], values[0], values[1])
        )
