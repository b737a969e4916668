"""What hangs on a subject as a tree of models, with the statements that take its rows.

A branch is one foreign key: the rows of its model that hang on given rows of the model above. All
statements are written once; keys travel between them as one text, so that a drain of a million rows
handles some hundred values on this side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import models

from erasure.dialects import Dialect, plain_field
from erasure.graph import Edge, Graph, Model

if TYPE_CHECKING:
    from erasure.closure import Step


Statement = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of some rows, as one text for the database."""

    text: str
    count: int

    @property
    def is_single(self) -> bool:
        return self.count == 1

    def split(self, dialect: Dialect) -> list["Keys"]:
        """Return each key by itself; nothing when a text cannot be taken apart."""
        return [Keys(text, 1) for text in dialect.split(self.text)]


@dataclass(frozen=True, eq=False)
class Branch:
    """The rows of one model that hang on rows of another by one foreign key."""

    step: "Step"
    texts: "Texts"
    branches: tuple["Branch", ...]

    @property
    def is_leaf(self) -> bool:
        return not self.branches

    @property
    def is_bottom(self) -> bool:
        """Whether nothing hangs on the rows that hang on these."""
        return bool(self.branches) and all(one.is_leaf for one in self.branches)


class Texts:
    """The statements of a branch. Each comes for one row above and for many: with one, an index on
    the link and the place gives the rows in their order."""

    def __init__(self, dialect: Dialect, model: Model, link: Any) -> None:
        pk: Any = model._meta.pk
        self.table, key = dialect.quote(model._meta.db_table), dialect.key_of(model)
        self._dialect, self._key, self._lock = dialect, key, dialect.lock(model)
        self._keys = dialect.among_listed(key, pk)
        column = dialect.column(model, link.column)
        self._hangs = {
            single: dialect.among_listed(column, link, is_single=single) for single in (False, True)
        }
        self.is_ordered = second_of(model, link) is not None
        """Whether an index gives the rows of one parent in the order of their places."""
        # Among the rows of several parents only the key is sure to tell one row from another.
        places = {False: pk, True: walked_field(model, link)}
        self._at = {one: dialect.column(model, place.column) for one, place in places.items()}
        self._after = {one: dialect.after(self._at[one], place) for one, place in places.items()}

    def find(self, above: Keys, after: Any, size: int, *, locks: bool) -> Statement:
        """The next keys in the order of places, and the last place. Locks the rows, unless what
        deletes them comes next: that asks again where they hang."""
        at, (where, params) = self._at[above.is_single], self._further(above, after)
        rows = (
            f"SELECT {self._key} AS pk, {at} AS place FROM {self.table} WHERE {where} "  # noqa: S608
            f"ORDER BY {at} LIMIT %s{self._lock if locks else ''}"
        )
        return self._dialect.collect(rows), [*params, size]

    def relock(self, keys: Keys, above: Keys) -> Statement:
        """How many of some rows hang there still. Locks them."""
        where = f"{self._keys} AND {self._hangs[above.is_single]}"
        rows = f"SELECT 1 FROM {self.table} WHERE {where}{self._lock}"  # noqa: S608
        return f"SELECT COUNT(*) FROM ({rows}) AS held", [keys.text, above.text]  # noqa: S608

    def delete(self, keys: Keys, above: Keys) -> Statement:
        """Delete rows by key. One that passed to somebody else meanwhile stays."""
        where = f"{self._keys} AND {self._hangs[above.is_single]}"
        return f"DELETE FROM {self.table} WHERE {where}", [keys.text, above.text]  # noqa: S608

    def find_end(self, above: Keys, after: Any, size: int) -> Statement:
        """The place up to which there are so many rows; nothing when there are fewer."""
        at, (where, params) = self._at[above.is_single], self._further(above, after)
        text = f"SELECT {at} FROM {self.table} WHERE {where} "  # noqa: S608
        return f"{text}ORDER BY {at} LIMIT 1 OFFSET %s", [*params, size - 1]

    def delete_upto(self, above: Keys, after: Any, end: Any) -> Statement:
        """Delete the rows after one place up to another, or all that follow."""
        where, params = self._further(above, after)
        if end is not None:
            where, params = f"{where} AND {self._after[above.is_single][1]}", [*params, str(end)]
        return f"DELETE FROM {self.table} WHERE {where}", params  # noqa: S608

    def look(self, above: Keys) -> Statement:
        """Whether a row is left. Reads past the dead entries of the rows that went."""
        hangs = self._hangs[above.is_single]
        return f"SELECT 1 FROM {self.table} WHERE {hangs} LIMIT 1", [above.text]  # noqa: S608

    def _further(self, above: Keys, after: Any) -> Statement:
        hangs = self._hangs[above.is_single]
        if after is None:
            return hangs, [above.text]
        return f"{hangs} AND {self._after[above.is_single][0]}", [above.text, str(after)]


def branches_of(
    dialect: Dialect, graph: Graph, parent: Model, steps: Sequence["Step"]
) -> tuple[Branch, ...]:
    """Return the branches that grow from rows of a model, in the order of the steps."""
    return tuple(
        Branch(
            step,
            Texts(dialect, step.model, way.child_field),
            branches_of(dialect, graph, step.model, steps),
        )
        for step in steps
        if step.touched is None
        for way in graph.ways[step.model]
        if isinstance(way, Edge) and way.parent is parent
    )


def is_tree(graph: Graph) -> bool:
    """Whether all rows that go can be told as branches: no model leads back to itself, no row is
    spread over two tables, and every foreign key names a primary key."""
    edges = [way for many in graph.ways.values() for way in many if isinstance(way, Edge)]
    return (
        not any(graph.is_recursive(component) for component in graph.components)
        and not graph.ways[graph.root]
        and all(edge.is_to_key and edge.child_field.is_relation for edge in edges)
    )


def walked_field(model: Model, link: Any) -> Any:
    """Return the column to walk along: the one that follows the link in an index of the two, else
    the key, for which the database must sort."""
    second = second_of(model, link) if link is not None else None
    return second or model._meta.pk


def second_of(model: Model, link: Any) -> Any | None:
    """Return what follows a link in an index of the two and tells its rows apart; None when there
    is no such index."""
    pk: Any = model._meta.pk
    plain = (models.UUIDField, models.IntegerField, models.CharField)
    pairs = [tuple(one) for one in model._meta.unique_together]
    pairs += [
        tuple(one.fields)
        for one in model._meta.constraints
        if isinstance(one, models.UniqueConstraint) and one.condition is None
    ]
    keyed = (link.name, pk.name)
    whole = [one for one in model._meta.indexes if one.condition is None]
    if any(tuple(name.removeprefix("-") for name in one.fields) == keyed for one in whole):
        return pk
    for pair in pairs:
        if len(pair) == 2 and pair[0] == link.name:
            second: Any = model._meta.get_field(pair[1])
            if not second.null and isinstance(plain_field(second), plain):
                return second
    return None
