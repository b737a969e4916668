"""Queries whose SQL is written once for each connection instead of at every call.

Django composes a query's SQL anew each time it runs. For the ten statements of a deletion that is
most of what the request costs. Here a function builds the query once, with a slot in the place of
each argument; every call then fills the slots and sends the text. Only the text is kept, never a
row: what a statement returns is what the database holds at that moment.

    @select
    def _find(digest: str) -> Any:
        return ApiKey.objects.filter(digest=digest).values_list("id", "user_id")

    row = _find.first(digest="…")

It rests on the compiler of Django's ORM, which is no published interface: ``tests/unit/
test_statements.py`` compares each kind of statement with what the ORM itself sends.

The annotations of the arguments decide how values are prepared for the database. An argument takes
no part in Python conditions: it is a slot when the function runs. ``None`` compares as SQL's NULL.
"""

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.sql import DeleteQuery, InsertQuery, UpdateQuery
from django.db.transaction import TransactionManagementError


class IdsField:
    """Prepares many UUIDs for the one parameter that ``Among`` takes."""

    def get_db_prep_value(self, value: Any, connection: Any) -> Any:
        if connection.vendor == "postgresql":
            return as_array(value)
        return json.dumps([it.hex for it in value])


FIELDS: dict[Any, Any] = {
    list[UUID]: IdsField(),
    UUID: models.UUIDField(),
    datetime: models.DateTimeField(),
    str: models.TextField(),
}


class Slot(models.Value):
    """The place of an argument in a composed query."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        return "%s", (self,)


class Text(NamedTuple):
    """A statement as one connection takes it. Kept on the connection's wrapper, which belongs to
    one thread, so that no two threads ever share a compiler."""

    sql: str
    parameters: tuple[Any, ...]
    compiler: Any
    locks: bool


class Statement(ABC):
    """What ``select``, ``update`` and ``delete`` return."""

    def __init__(self, build: Callable[..., Any]) -> None:
        self.build = build
        self.arguments = {
            name: FIELDS[parameter.annotation]
            for name, parameter in inspect.signature(build).parameters.items()
        }

    @abstractmethod
    def query(self, *slots: Slot) -> Any:
        """Build the query with its slots in place."""

    def execute(self, values: dict[str, Any], finish: Callable[[Any, Any], Any]) -> Any:
        connection = connections[DEFAULT_DB_ALIAS]
        texts = _texts_of(connection)
        if (text := texts.get(self)) is None:
            text = texts[self] = self._compose()
        if text.locks and not connection.in_atomic_block:
            raise TransactionManagementError("A row can be locked inside a transaction only.")
        filled = {
            name: field.get_db_prep_value(values[name], connection)
            for name, field in self.arguments.items()
        }
        with connection.cursor() as cursor:
            cursor.execute(
                text.sql, [filled[p.value] if type(p) is Slot else p for p in text.parameters]
            )
            return finish(cursor, text)

    def _compose(self) -> Text:
        slots = [
            Slot(name, output_field=None if isinstance(field, IdsField) else field)
            for name, field in self.arguments.items()
        ]
        compiler = self.query(*slots).get_compiler(DEFAULT_DB_ALIAS)
        sql, parameters = compiler.as_sql()
        return Text(sql, parameters, compiler, compiler.query.select_for_update)


class Select(Statement):
    """A SELECT of a queryset: tuples after ``values_list``, instances without."""

    def query(self, *slots: Slot) -> Any:
        return self.build(*slots).query

    def first(self, **values: Any) -> Any | None:
        """Return the first row or None. Order and limit are the query's own."""
        return next(iter(self.all(**values)), None)

    def all(self, **values: Any) -> list[Any]:
        rows: list[Any] = self.execute(values, self._read)
        return rows

    def _read(self, cursor: Any, text: Text) -> list[Any]:
        if not (rows := cursor.fetchall()):
            return []
        rows = text.compiler.results_iter([rows], tuple_expected=True)
        if text.compiler.query.values_select:
            return list(rows)
        model = text.compiler.query.model
        names = [field.attname for field in model._meta.concrete_fields]
        return [model.from_db(DEFAULT_DB_ALIAS, names, row) for row in rows]


class Update(Statement):
    """An UPDATE: the function returns a queryset and the new values."""

    def query(self, *slots: Slot) -> Any:
        rows, changes = self.build(*slots)
        query = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        return query

    def __call__(self, **values: Any) -> int:
        """Change the rows and return how many there were."""
        return int(self.execute(values, lambda cursor, text: cursor.rowcount))


class Delete(Statement):
    """A DELETE of a queryset's rows, without signals: the cascade is the database's."""

    def query(self, *slots: Slot) -> Any:
        return self.build(*slots).query.chain(DeleteQuery)

    def __call__(self, **values: Any) -> int:
        """Delete the rows and return how many there were, those of cascades not counted."""
        return int(self.execute(values, lambda cursor, text: cursor.rowcount))


select, update, delete = Select, Update, Delete


def insert(*rows: models.Model) -> None:
    """Write a few new rows, whose keys are made in Python, those of one model after those of the
    other: with one statement on PostgreSQL, and else with one for each model.

    Like ``save(force_insert=True)``, without its signals.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    parts: list[tuple[type[models.Model], list[list[Any]]]] = []
    for row in rows:
        if not parts or parts[-1][0] is not type(row):
            parts.append((type(row), []))
        parts[-1][1].append(
            [
                field.get_db_prep_save(field.pre_save(row, add=True), connection)
                for field in row._meta.local_concrete_fields
            ]
        )
    _insert(parts, connection)
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def insert_values(*parts: tuple[type[models.Model], Sequence[Mapping[str, Any]]]) -> None:
    """The same from values instead of instances, for rows that are written with every request: an
    instance costs more than the statement. Each model comes with its rows, and each row has every
    column by its name, a JSON document as its text; ids and times may be texts, too."""
    connection = connections[DEFAULT_DB_ALIAS]
    _insert([(model, _order(model, rows, connection)) for model, rows in parts], connection)


def _order(
    model: type[models.Model], rows: Sequence[Mapping[str, Any]], connection: Any
) -> list[Sequence[Any]]:
    """Return the values of rows in the order of the columns, as the driver takes them."""
    if connection.vendor == "postgresql":
        pick = _picker(model)
        return [pick(row) for row in rows]
    fields = model._meta.local_concrete_fields
    return [
        [_spell(field, [row[field.attname]], connection)[0] for field in fields] for row in rows
    ]


@cache
def _picker(model: type[models.Model]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    return itemgetter(*[field.attname for field in model._meta.local_concrete_fields])


def _insert(
    parts: Sequence[tuple[type[models.Model], Sequence[Sequence[Any]]]], connection: Any
) -> None:
    """Write the values of the rows of each model."""
    shape = tuple([(model, len(rows)) for model, rows in parts if rows])
    composed = _texts_of(connection)
    if (texts := composed.get(shape)) is None:
        texts = composed[shape] = _compose_inserts(shape, connection)
    values = [[value for row in rows for value in row] for _, rows in parts if rows]
    if len(texts) < len(values):
        values = [[value for some in values for value in some]]
    with connection.cursor() as cursor:
        for text, some in zip(texts, values, strict=True):
            cursor.execute(text, some)


def _compose_inserts(
    shape: Sequence[tuple[type[models.Model], int]], connection: Any
) -> Sequence[str]:
    """Return the statements that write so many rows of each model: one on PostgreSQL, and else one
    for each model."""
    texts = [_compose_insert(model, size, connection) for model, size in shape]
    if connection.vendor != "postgresql" or len(texts) < 2:
        return texts
    *first, last = texts
    ahead = ", ".join(f"part_{number} AS ({text})" for number, text in enumerate(first))
    return [f"WITH {ahead} {last}"]


def _compose_insert(model: type[models.Model], size: int, connection: Any) -> str:
    query = InsertQuery(model)
    query.insert_values(model._meta.local_concrete_fields, [model()])
    text, _ = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()[0]
    place = text.partition(" VALUES ")[2]
    return str(text) + f", {place}" * (size - 1)


def insert_columns(model: type[models.Model], columns: Mapping[str, Any]) -> None:
    """Write many new rows of a model with one statement, from columns instead of instances.

    A list or a tuple holds one value for each row; anything else is the value of all of them. The
    values are such as the database takes: a JSON document comes as its text. A field that is left
    out takes its default, which must not be made anew for each row.
    """
    connection = connections[DEFAULT_DB_ALIAS]
    many = {name: values for name, values in columns.items() if isinstance(values, list | tuple)}
    size = len(next(iter(many.values())))
    if not size:
        return
    fields: dict[str, Any] = {field.name: field for field in model._meta.local_concrete_fields}
    # An instance that is never saved knows the defaults.
    blank = model(**{name: value for name, value in columns.items() if name not in many})
    same = {
        name: field.get_db_prep_save(field.pre_save(blank, add=True), connection)
        for name, field in fields.items()
        if name not in many
    }
    quote = connection.ops.quote_name
    names = ", ".join(quote(fields[name].column) for name in [*many, *same])
    into = f"INSERT INTO {quote(model._meta.db_table)} ({names}) "
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Arrays of text: the driver need not look at each value for its type.
            types = [str(fields[name].db_type(connection)).partition("(")[0] for name in many]
            listed = ", ".join(f"c{n}::{kind}" for n, kind in enumerate(types))
            arrays = ", ".join("%s::text[]" for _ in many)
            short = ", ".join(f"c{n}" for n, _ in enumerate(types))
            rest = "".join(", %s" for _ in same)
            cursor.execute(
                f"{into}SELECT {listed}{rest} FROM unnest({arrays}) AS t({short})",  # noqa: S608
                [*same.values(), *(as_array(values) for values in many.values())],
            )
        else:
            slots = ", ".join("%s" for _ in [*many, *same])
            ready = [_spell(fields[name], values, connection) for name, values in many.items()]
            rows = [[*row, *same.values()] for row in zip(*ready, strict=True)]
            cursor.executemany(f"{into}VALUES ({slots})", rows)


def as_array(values: Iterable[Any]) -> str:
    """Return values as the text of a PostgreSQL array: the driver's own way, by which each element
    is adapted for itself, costs a set of hundreds more than the statement does."""
    listed = list(values)
    kinds = set(map(type, listed))
    if kinds == {UUID}:
        return "{" + ",".join([it.hex for it in listed]) + "}"
    if kinds == {str}:
        # No text in PostgreSQL holds a NUL, so one may stand between two.
        escaped = "\0".join(listed).replace("\\", "\\\\").replace('"', '\\"')
        return '{"' + escaped.replace("\0", '","') + '"}'
    if kinds == {bytes}:
        return "{" + ",".join([f'"\\\\x{it.hex()}"' for it in listed]) + "}"
    return "{" + ",".join([_spell_element(it) for it in listed]) + "}"


def _spell_element(value: Any) -> str:
    if value is None:
        return "NULL"
    return value.hex if isinstance(value, UUID) else as_array([str(value)])[1:-1]


class Among(models.Lookup):
    """The condition that a UUID field is one of many, as one parameter instead of one for each id:
    sets of any size are then the same statement, and cost the driver nothing.

    ``rows.filter(Among("subject_id", ids))``
    """

    prepare_rhs = False

    def __init__(self, field: Any, ids: Any) -> None:
        # A composed statement fills its slot with what IdsField makes of the ids.
        given = ids if isinstance(ids, Slot) else list(ids)
        super().__init__(models.F(field) if isinstance(field, str) else field, given)

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        ids = self.rhs
        if not isinstance(ids, Slot):
            ids = FIELDS[list[UUID]].get_db_prep_value(ids, connection)
        if connection.vendor == "postgresql":
            return f"{column} = ANY(%s::uuid[])", (*params, ids)
        return f"{column} IN (SELECT value FROM json_each(%s))", (*params, ids)  # noqa: S608


def _spell(field: Any, values: Iterable[Any], connection: Any) -> list[Any]:
    if isinstance(field, models.JSONField):
        return list(values)
    return [field.get_db_prep_value(value, connection) for value in values]


def _texts_of(connection: Any) -> dict[Any, Any]:
    """Return what was composed for a connection, by statement, or by models and their rows."""
    texts: dict[Any, Any] = vars(connection).setdefault("composed_statements", {})
    return texts
