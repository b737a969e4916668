"""The erasure of one large subject, piece by piece, each in a transaction of its own.

Rows are taken by keyset: in the order of a key, each piece after the last key of the one before. A
loop of ``LIMIT n`` would read again each time what it has deleted before, and take a time that
grows with the square of the rows. The cursor says where to go on; it is stored with the counts in
the transaction that removed the rows, so that a crash loses neither.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection, models

from erasure.carrying import assignments, delete_by_key
from erasure.circles import start, walk
from erasure.composing import Composer
from erasure.dialects import Sql, plain_field
from erasure.graph import Edge, Model, Touched, Way
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
class _Stretch:
    """One way to the rows of one step, with the columns that order it."""

    name: str
    step: "Step"
    ctes: list[Sql]
    rows: Sql
    keys: tuple[_Key, ...]


def carry_out_some(
    closure: "Closure",
    subject_id: UUID,
    *,
    cursor: Mapping[str, Any],
    limit: int,
    spare: Collection[str] = (),
) -> tuple[Tally, dict[str, Any] | None]:
    """Erase about ``limit`` rows of a subject, in the caller's transaction, never its own row.

    ``cursor`` is empty at first, then what the last call returned; it fits into JSON. Returned are
    what was done and the next cursor, None when nothing but the subject's own row is left. A cursor
    whose place is unknown, since the policies have changed meanwhile, starts from the beginning,
    where little is left to do. Rows that refer to each other go together, so that a piece of those
    can be larger.
    """
    work = _Work(closure, subject_id)
    stretches = work.stretches(spare)
    names = [one.name for one in stretches]
    place, after = 0, None
    if cursor.get("at") in names:
        place, after = names.index(cursor["at"]), cursor.get("after")
    tally, left = Tally(), limit
    while place < len(stretches):
        rows, after = work.take(stretches[place], after, left, tally)
        left -= rows
        if after is None:
            place += 1
        if left <= 0 and place < len(stretches):
            return tally, {"at": names[place], "after": after}
    return tally, None


class _Work:
    def __init__(self, closure: "Closure", subject_id: UUID) -> None:
        self.closure, self.id = closure, subject_id
        self.subjects = closure.subjects([subject_id])
        self.dialect = self.subjects.dialect

    @cached_property
    def composer(self) -> Composer:
        return self.closure.composer(self.subjects)

    def stretches(self, spare: Collection[str]) -> list[_Stretch]:
        """Return all the ways, but for the subject's own row and the models to be left alone."""
        known = self.closure.remembered(("stretches",), self._compose)
        return [one for one in known if one.step.label not in spare]

    def _compose(self) -> list[_Stretch]:
        return [
            _Stretch(f"{step.outcome} {step.label} {step.number} {number}", step, ctes, rows, keys)
            for step in self.closure.steps
            if step.model is not self.closure.graph.root
            for ctes in [self.closure.needed(self.composer, [step])]
            for number, (rows, keys) in enumerate(self._ways(step))
        ]

    def take(
        self, stretch: _Stretch, after: Any, limit: int, tally: Tally
    ) -> tuple[int, list[Any] | None]:
        """Carry out up to ``limit`` rows; return how many, and the last key if more may follow."""
        batch = self._batch(stretch, after, limit)
        rows = run(with_(stretch.ctes, batch), self.subjects)
        if keys := list(dict.fromkeys(row[0] for row in rows)):
            self._carry_out(stretch.step, keys, tally)
        last = [str(value) for value in rows[-1][1:]] if len(rows) == limit else None
        return len(rows), last

    def _carry_out(self, step: "Step", keys: Sequence[Any], tally: Tally) -> None:
        if step.touched is not None:
            tally.add(step, self.id, self._overwrite(step.touched, keys))
            return
        doomed: dict[Model, Sequence[Any]] = {step.model: keys}
        if self.closure.is_recursive(step.model):
            doomed = self._reach(step.model, keys)
        steps = {one.model: one for one in self.closure.steps if one.touched is None}
        for model, rows in delete_by_key(self.dialect, doomed).items():
            tally.add(steps[model], self.id, rows)

    def _overwrite(self, touched: Touched, keys: Sequence[Any]) -> int:
        values = assignments(self.composer, touched)
        pk = self.dialect.key_of(touched.model)
        chosen = self.dialect.among_values(pk, touched.model._meta.pk, keys)
        table = self.dialect.quote(touched.model._meta.db_table)
        text = f"UPDATE {table} SET {values.text} WHERE {chosen.text}"
        ctes = self.composer.named(self.composer.touched_needs(touched))
        run(with_(ctes, Sql(text, (*values.params, *chosen.params))), self.subjects)
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
                return [self._stretch(model, step.touched.ways[0], paths[0])]
            # A row that two ways reach is to be counted once.
            body = composer.touched(step.touched)
            rows = Sql(f"FROM ({body.text}) AS s WHERE 1 = 1", body.params)
            return [(rows, (_Key("pk", plain_field(model._meta.pk)),))]
        inner = set(self.closure.component(model)) if self.closure.is_recursive(model) else set()
        return [
            self._stretch(model, way, path)
            for way in self.closure.graph.ways[model]
            if not (isinstance(way, Edge) and way.parent in inner)
            for path in composer.way(way)
        ]

    def _stretch(self, model: Model, way: Way, path: Path) -> tuple[Sql, tuple[_Key, ...]]:
        link = way.child_field if isinstance(way, Edge) else None
        walked = _walked_field(model, link)
        mine = _Key(self.dialect.column(model, walked.column), plain_field(walked))
        keys: tuple[_Key, ...] = (mine,)
        if isinstance(way, Edge) and path.sources:
            keys = (_Key("up.pk", plain_field(way.parent._meta.pk)), mine)
        return self.composer.from_(model, path), keys

    def _batch(self, stretch: _Stretch, after: Any, limit: int) -> Sql:
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


def _walked_field(model: Model, link: Any) -> Any:
    """Return the column to walk along: the one that follows the link in a unique index, else the
    key, for which the database must sort when no index on (link, key) exists."""
    pk: Any = model._meta.pk
    if link is None:
        return pk
    plain = (models.UUIDField, models.IntegerField, models.CharField)
    pairs = [tuple(one) for one in model._meta.unique_together]
    pairs += [
        tuple(one.fields)
        for one in model._meta.constraints
        if isinstance(one, models.UniqueConstraint) and one.condition is None
    ]
    for pair in pairs:
        if len(pair) == 2 and pair[0] == link.name:
            second: Any = model._meta.get_field(pair[1])
            if not second.null and isinstance(plain_field(second), plain):
                return second
    return pk
