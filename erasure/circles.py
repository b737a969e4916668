"""Rows that lead to further rows of the same models: replies to replies, tables in a circle.

One recursive query walks all models of a circle together. Each row of it says by ``tag`` which
model it is of.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from erasure.dialects import Dialect, Sql
from erasure.graph import Edge, Model

if TYPE_CHECKING:
    from erasure.composing import Composer

Cast = Callable[[str], str]


def walk(
    composer: "Composer", component: Sequence[Model], starts: Sequence[Sql] | None = None
) -> list[Sql]:
    """Return the common table expressions of a circle's models: the walk, and one for each model.

    It starts from the rows that are reached from outside, or from ``starts``, as ``start`` writes
    them.
    """
    dialect, graph = composer.dialect, composer.graph
    tags = {model: number for number, model in enumerate(component)}
    cast = _cast_of(dialect, component)
    if starts is None:
        starts = [
            start(composer, component, model, path.subject, composer.from_(model, path))
            for model in component
            for path in composer.paths(model, inside=component)
        ]
    steps = [
        _step(dialect, way, tags, cast)
        for model in component
        for way in graph.ways[model]
        if isinstance(way, Edge) and way.parent in tags
    ]
    reach = _reach(composer, component)
    begin = " UNION ALL ".join(one.text for one in starts)
    if len(starts) > 1 and dialect.can_count_what_it_changes:
        begin = f"({begin})"
    text = f"{reach}(tag, pk, subject) AS ({begin} UNION {_further(dialect, reach, steps)})"
    params = tuple(one for sql in starts for one in sql.params)
    return [
        Sql(text, params),
        *(Sql(_reached(composer, model, reach, tag, cast)) for model, tag in tags.items()),
    ]


def start(
    composer: "Composer", component: Sequence[Model], model: Model, subject: str, rows: Sql
) -> Sql:
    """Return a query that a walk may start from: rows of one model, given as ``FROM … WHERE …``."""
    key = _cast_of(composer.dialect, component)(composer.key(model))
    tag = list(component).index(model)
    return Sql(f"SELECT {tag} AS tag, {key} AS pk, {subject} AS subject {rows.text}", rows.params)


def _reach(composer: "Composer", component: Sequence[Model]) -> str:
    return f"reach_{composer.names[component[0]]}"


def _reached(composer: "Composer", model: Model, reach: str, tag: int, cast: Cast) -> str:
    key, table = composer.key(model), composer.dialect.quote(model._meta.db_table)
    columns, names = composer.columns(model)
    rows = (
        f"SELECT {', '.join(columns)}, {reach}.subject AS subject FROM {reach}, {table} "
        f"WHERE {reach}.tag = {tag} AND {cast(key)} = {reach}.pk"
    )
    return f"{composer.names[model]} AS ({composer.dialect.once(rows, names)})"


def _step(dialect: Dialect, edge: Edge, tags: dict[Model, int], cast: Cast) -> str:
    child, parent = edge.child, edge.parent
    child_pk: Any = child._meta.pk
    parent_pk: Any = parent._meta.pk
    link = f"child.{dialect.quote(edge.child_field.column)}"
    key = cast(f"child.{dialect.quote(child_pk.column)}")
    source = f"{dialect.quote(child._meta.db_table)} AS child"
    above = cast(link)
    if not edge.is_to_key:
        target = f"parent.{dialect.quote(edge.parent_field.column)}"
        table = dialect.quote(parent._meta.db_table)
        source += f" JOIN {table} AS parent ON {link} = {target}"
        above = cast(f"parent.{dialect.quote(parent_pk.column)}")
    return (
        f"SELECT {tags[parent]} AS above_tag, {above} AS above, {tags[child]} AS tag, "
        f"{key} AS pk FROM {source}"
    )


def _further(dialect: Dialect, reach: str, steps: Sequence[str]) -> str:
    one = (
        "SELECT step.tag, step.pk, {reach}.subject FROM {reach} JOIN ({steps}) AS step "
        "ON step.above_tag = {reach}.tag AND step.above = {reach}.pk"
    )
    if dialect.can_count_what_it_changes:
        # PostgreSQL lets a recursive query name itself once.
        return one.format(reach=reach, steps=" UNION ALL ".join(steps))
    return " UNION ".join(one.format(reach=reach, steps=step) for step in steps)


def _cast_of(dialect: Dialect, component: Sequence[Model]) -> Cast:
    """Return how keys of different types are made comparable; same types stay as they are."""
    pks: list[Any] = [model._meta.pk for model in component]
    kinds = {pk.rel_db_type(dialect.connection) for pk in pks}
    return (lambda text: text) if len(kinds) == 1 else (lambda text: f"CAST({text} AS TEXT)")
