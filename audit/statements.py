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
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.sql import DeleteQuery, InsertQuery, UpdateQuery
from django.db.transaction import TransactionManagementError

FIELDS: dict[type, Any] = {
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
        slots = [Slot(name, output_field=field) for name, field in self.arguments.items()]
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
    """Write a few new rows of one model, whose keys are made in Python, with one INSERT.

    Like ``save(force_insert=True)``, without its signals.
    """
    if not rows:
        return
    connection = connections[DEFAULT_DB_ALIAS]
    model, texts = type(rows[0]), _texts_of(connection)
    fields = model._meta.local_concrete_fields
    if (text := texts.get(model)) is None:
        query = InsertQuery(model)
        query.insert_values(fields, [rows[0]])
        text, _ = query.get_compiler(DEFAULT_DB_ALIAS).as_sql()[0]
        texts[model] = text
    place = text.partition(" VALUES ")[2]
    values = [
        field.get_db_prep_save(field.pre_save(row, add=True), connection)
        for row in rows
        for field in fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(text + f", {place}" * (len(rows) - 1), values)
    for row in rows:
        row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def _texts_of(connection: Any) -> dict[Any, Any]:
    """Return what was composed for a connection, by statement, and by model for INSERTs."""
    texts: dict[Any, Any] = vars(connection).setdefault("composed_statements", {})
    return texts
