"""How many rows an erasure would remove, detach, anonymise and keep, in one query."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast
from uuid import UUID

from django.db import connection

from erasure.closure import Closure, Step, closure_of
from erasure.composing import Composer
from erasure.dialects import LIMIT, Slot, Sql, Subjects
from erasure.indexes import is_indexed
from erasure.policies import Keep


@dataclass
class Counted:
    """Rows by model label, without those that are none. ``kept`` has None where nobody counted,
    though the table is not empty."""

    removed: dict[str, int] = field(default_factory=dict)
    detached: dict[str, int] = field(default_factory=dict)
    anonymised: dict[str, int] = field(default_factory=dict)
    kept: list[tuple[str, Keep, int | None]] = field(default_factory=list)
    capped: bool = False


@dataclass(frozen=True)
class _Part:
    """The rows of one step for the subjects of one kind."""

    step: Step
    query: Sql
    subjects: Subjects


def count_rows(
    family: Mapping[str, Sequence[UUID]], *, cap: int | None = None, probes: bool = False
) -> Counted:
    """Count what belongs to the subjects of ``family``, which maps kinds to ids, together.

    A row that belongs to several of them is counted once. With ``cap`` no count goes beyond it.
    With ``probes`` it is found out whether the tables of kept rows that are not counted are empty.
    """
    ctes: list[tuple[Sql, Subjects]] = []
    parts: dict[tuple[str, Any], list[_Part]] = {}
    uncounted: list[Step] = []
    for number, (kind, ids) in enumerate(family.items()):
        closure = closure_of(kind)
        subjects = closure.subjects(ids)
        name = ("plan", number, cap is None)
        composed = closure.remembered(name, partial(_compose, closure, subjects, number, cap))
        uncounted += [step for step in closure.keeps if not _is_countable(step)]
        ctes += [(cte, subjects) for cte in composed.ctes]
        for step, query in composed.queries:
            key = (step.label, step.fate if step.outcome == "kept" else step.outcome)
            parts.setdefault(key, []).append(_Part(step, query, subjects))
    groups = sorted(parts.values(), key=lambda group: group[0].step.rank)
    tables = sorted({step.model._meta.db_table for step in uncounted}) if probes else []
    counts = _count(ctes, groups, cap, tables)
    empty = {table for table, some in zip(tables, counts[len(groups) :], strict=True) if not some}
    return _sort(counts[: len(groups)], groups, uncounted, empty, cap)


class _Composed(NamedTuple):
    ctes: list[Sql]
    queries: list[tuple[Step, Sql]]


def _compose(closure: Closure, subjects: Subjects, number: int, cap: int | None) -> _Composed:
    composer = closure.composer(subjects, prefix=f"k{number}_")
    steps = [*closure.steps, *(step for step in closure.keeps if _is_countable(step))]
    queries = [(step, _keys(closure, composer, step, cap)) for step in steps]
    return _Composed(closure.needed(composer, steps), queries)


def _keys(closure: Closure, composer: Composer, step: Step, cap: int | None) -> Sql:
    """Return the query of a step's keys."""
    if cap is None:
        body = closure.body(composer, step)
        return Sql(f"SELECT pk FROM ({body.text}) AS s", body.params)
    if step.touched is not None:
        return composer.limited(step.model, composer.touched_paths(step.touched))
    if closure.is_recursive(step.model):
        name = composer.names[step.model]
        return Sql(f"SELECT pk FROM (SELECT pk FROM {name} LIMIT %s) AS s", (LIMIT,))
    return composer.limited(step.model, composer.paths(step.model))


def _count(
    ctes: Sequence[tuple[Sql, Subjects]],
    groups: Sequence[Sequence[_Part]],
    cap: int | None,
    tables: Sequence[str],
) -> list[int]:
    """Return the rows of each group, and of each table whether there is a row at all."""
    columns: list[str] = []
    params: list[Any] = []

    def fill(values: Sequence[Any], subjects: Subjects) -> None:
        for one in values:
            if one is LIMIT:
                params.append(cast(int, cap) + 1)
            else:
                is_slot = isinstance(one, Slot)
                params.append(subjects.dialect.fill(one, subjects) if is_slot else one)

    for cte, subjects in ctes:
        fill(cte.params, subjects)
    gone = {group[0].step.label: group for group in groups if group[0].step.outcome == "removed"}
    for group in groups:
        # One after the other: UNION gives a row once, whichever subject it belongs to.
        queries = " UNION ".join(part.query.text for part in group)
        # What stays for one kind of subject may go with another one's.
        others = _of_other_kinds(group, gone)
        queries += "".join(f" EXCEPT SELECT pk FROM ({it.query.text}) AS gone" for it in others)
        columns.append(f"(SELECT COUNT(*) FROM ({queries}) AS counted)")
        for part in (*group, *others):
            fill(part.query.params, part.subjects)
    columns += [f"EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables]
    named = ", ".join(cte.text for cte, _ in ctes)
    start = f"WITH RECURSIVE {named} " if named else ""
    with connection.cursor() as cursor:
        cursor.execute(f"{start}SELECT {', '.join(columns)}", params)
        return list(cursor.fetchone())


def _of_other_kinds(group: Sequence[_Part], gone: Mapping[str, Sequence[_Part]]) -> Sequence[_Part]:
    """Return what removes rows of the model whose rows a group leaves, for subjects of kinds that
    the group's own queries know nothing of."""
    step = group[0].step
    if step.outcome == "removed":
        return ()
    known = {part.subjects for part in group}
    return [part for part in gone.get(step.label, ()) if {part.subjects} != known]


def _sort(
    counts: Sequence[int],
    groups: Sequence[Sequence[_Part]],
    uncounted: Sequence[Step],
    empty: Collection[str],
    cap: int | None,
) -> Counted:
    found = Counted()
    for count, group in zip(counts, groups, strict=True):
        step = group[0].step
        rows = count
        if cap is not None and count > cap:
            rows, found.capped = cap, True
        if isinstance(step.fate, Keep):
            found.kept.append((step.label, step.fate, rows))
        elif rows:
            part: dict[str, int] = getattr(found, step.outcome)
            part[step.label] = part.get(step.label, 0) + rows
    known = {(label, fate) for label, fate, _ in found.kept}
    for step in uncounted:
        if isinstance(step.fate, Keep) and (step.label, step.fate) not in known:
            known.add((step.label, step.fate))
            none = step.model._meta.db_table in empty
            found.kept.append((step.label, step.fate, 0 if none else None))
    found.kept.sort(key=lambda one: (one[0], one[1].because))
    return found


def _is_countable(step: Step) -> bool:
    """Whether kept rows are found by an index on each of the columns that lead to them."""
    ways = step.touched.ways if step.touched else ()
    return all(is_indexed(step.model, way) for way in ways)
