"""How PostgreSQL and SQLite say the same thing about a set of subjects."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from django.db import models

from audit.statements import as_array


@dataclass(frozen=True)
class Slot:
    """The place of a value that is known when a statement runs."""

    name: str
    field: Any = None


KEYS = Slot("keys")

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
LIMIT = Slot("limit")


class Sql(NamedTuple):
    """A piece of SQL with its parameters, slots among them."""

    text: str
    params: tuple[Any, ...] = ()


class Dialect(ABC):
    """What differs between databases. ``key`` is the primary key of the subjects' model."""

    can_count_what_it_changes = False

    def __init__(self, connection: Any, key: Any) -> None:
        self.connection = connection
        self.key = plain_field(key)

    def quote(self, name: str) -> str:
        return str(self.connection.ops.quote_name(name))

    def column(self, model: type[models.Model], column: str) -> str:
        return f"{self.quote(model._meta.db_table)}.{self.quote(column)}"

    @property
    def nobody(self) -> str:
        """A subject's key that is none, of the right type."""
        return "NULL"

    def key_of(self, model: type[models.Model]) -> str:
        pk: Any = model._meta.pk
        return self.column(model, pk.column)

    @abstractmethod
    def among(self, expression: str) -> Sql:
        """Return the condition that an expression is the key of one of the subjects."""

    @abstractmethod
    def among_values(self, expression: str, field: Any, values: Sequence[Any]) -> Sql:
        """Return the condition that an expression is one of some values, as the database gave
        them."""

    @abstractmethod
    def among_listed(self, expression: str, field: Any, *, is_single: bool = False) -> str:
        """Return the condition that an expression is one of the values of a list, which is one
        parameter: a text as ``collect`` or ``listed`` gave it. Of a list that is known to hold one
        value the database can use an index in its order."""

    @abstractmethod
    def listed(self, values: Sequence[Any]) -> str:
        """Return values, as the database gave them, as the text of a list."""

    @abstractmethod
    def split(self, text: str) -> list[str]:
        """Return the text of a list as lists of one; none when its values hold what separates
        them."""

    @abstractmethod
    def after(self, expression: str, field: Any) -> tuple[str, str]:
        """Return the conditions that an expression lies above, and at most at, a value that is a
        parameter: a text as ``collect`` gave it."""

    @abstractmethod
    def collect(self, rows: str) -> str:
        """Return a query of how many ``rows(pk, place)`` there are, the list of their keys as one
        text, and the last place: no value of a row is touched on this side."""

    def lock(self, model: type[models.Model]) -> str:
        """Return what locks the rows of a model that a query finds; nothing where one writer is
        alone anyway."""
        return ""

    @abstractmethod
    def pairs(self, field: Any) -> Sql:
        """Return the relation ``wanted(subject, form)``: each subject's key, and how a column such
        as ``field`` spells it; without one, the subject's id in plain text."""

    @abstractmethod
    def quoted(self, column: str) -> tuple[Sql, str]:
        """Return the relation ``wanted(subject, form)``, and the condition that a text or document
        quotes the form somewhere."""

    @abstractmethod
    def one(self) -> Sql:
        """Return the relation ``mine(subject)`` that holds one subject's key."""

    @abstractmethod
    def differs(self, expression: str) -> str:
        """Return the condition that an expression is not a value, NULL being a value too."""

    @abstractmethod
    def once(self, union: str, columns: Sequence[str]) -> str:
        """Return a query that gives each row of a union once, with the least of its subjects."""

    @abstractmethod
    def fill(self, slot: Slot, subjects: "Subjects") -> Any:
        """Return the value that a slot stands for."""


class PostgreSQL(Dialect):
    can_count_what_it_changes = True

    @property
    def nobody(self) -> str:
        return f"NULL::{self._type(self.key)}"

    def among(self, expression: str) -> Sql:
        return Sql(f"{expression} = ANY(%s::{self._type(self.key)}[])", (KEYS,))

    def among_values(self, expression: str, field: Any, values: Sequence[Any]) -> Sql:
        return Sql(f"{expression} = ANY(%s::{self._type(plain_field(field))}[])", (list(values),))

    def among_listed(self, expression: str, field: Any, *, is_single: bool = False) -> str:
        cast = f"%s::{self._type(plain_field(field))}[]"
        return f"{expression} = ({cast})[1]" if is_single else f"{expression} = ANY({cast})"

    def listed(self, values: Sequence[Any]) -> str:
        return as_array(values)

    def split(self, text: str) -> list[str]:
        if '"' in text:
            return []
        return [f"{{{one}}}" for one in text.strip("{}").split(",")]

    def after(self, expression: str, field: Any) -> tuple[str, str]:
        kind = self._type(plain_field(field))
        return f"{expression} > %s::{kind}", f"{expression} <= %s::{kind}"

    def collect(self, rows: str) -> str:
        # Both in one order, which the rows have already: nothing is sorted again.
        last = "(array_agg(place ORDER BY place))[COUNT(*)]::text"
        return f"SELECT COUNT(*), array_agg(pk ORDER BY place)::text, {last} FROM ({rows}) AS taken"

    def lock(self, model: type[models.Model]) -> str:
        return f" FOR UPDATE OF {self.quote(model._meta.db_table)}"

    def pairs(self, field: Any) -> Sql:
        form = "text" if field is None else self._type(plain_field(field))
        types = f"%s::{self._type(self.key)}[], %s::{form}[]"
        return Sql(f"unnest({types}) AS wanted(subject, form)", (KEYS, Slot("forms", field)))

    def quoted(self, column: str) -> tuple[Sql, str]:
        pairs = self.pairs(None)
        # Each row is searched once, however many subjects there are.
        ids = f"LATERAL regexp_matches({column}::text, '{_UUID}', 'g') AS quoted(id)"
        return pairs._replace(text=f"{ids}, {pairs.text}"), "wanted.form = quoted.id[1]"

    def one(self) -> Sql:
        return Sql(f"(SELECT %s::{self._type(self.key)} AS subject) AS mine")

    def differs(self, expression: str) -> str:
        return f"{expression} IS DISTINCT FROM %s"

    def once(self, union: str, columns: Sequence[str]) -> str:
        listed = ", ".join(columns)
        return f"SELECT DISTINCT ON (pk) {listed} FROM ({union}) AS ways ORDER BY pk, subject"

    def fill(self, slot: Slot, subjects: "Subjects") -> Any:
        return subjects.array if slot is KEYS else as_array(subjects.forms(slot.field))

    def _type(self, field: Any) -> str:
        found = str(field.rel_db_type(self.connection))
        # A cast to a shorter type would cut a value short.
        return "text" if found.startswith(("varchar", "char")) else found


class SQLite(Dialect):
    def among_listed(self, expression: str, field: Any, *, is_single: bool = False) -> str:
        if is_single:
            return f"{expression} = json_extract(%s, '$[0]')"
        return f"{expression} IN (SELECT value FROM json_each(%s))"

    def listed(self, values: Sequence[Any]) -> str:
        return json.dumps(list(values))

    def split(self, text: str) -> list[str]:
        return [json.dumps([one]) for one in json.loads(text)]

    def after(self, expression: str, field: Any) -> tuple[str, str]:
        return f"{expression} > %s", f"{expression} <= %s"

    def collect(self, rows: str) -> str:
        return f"SELECT COUNT(*), json_group_array(pk), MAX(place) FROM ({rows}) AS taken"

    def among(self, expression: str) -> Sql:
        return Sql(f"{expression} IN (SELECT value FROM json_each(%s))", (KEYS,))

    def among_values(self, expression: str, field: Any, values: Sequence[Any]) -> Sql:
        listed = json.dumps(list(values))
        return Sql(f"{expression} IN (SELECT value FROM json_each(%s))", (listed,))

    def pairs(self, field: Any) -> Sql:
        halves = "json_extract(value, '$[0]') AS subject, json_extract(value, '$[1]') AS form"
        return Sql(
            f"(SELECT {halves} FROM json_each(%s)) AS wanted",
            (Slot("pairs", field),),
        )

    def quoted(self, column: str) -> tuple[Sql, str]:
        return self.pairs(None), f"instr({column}, wanted.form) > 0"

    def one(self) -> Sql:
        return Sql("(SELECT %s AS subject) AS mine")

    def differs(self, expression: str) -> str:
        return f"{expression} IS NOT %s"

    def once(self, union: str, columns: Sequence[str]) -> str:
        others = [name for name in columns if name not in ("pk", "subject")]
        listed = ", ".join(["pk", *others, "min(subject) AS subject"])
        return f"SELECT {listed} FROM ({union}) AS ways GROUP BY pk"

    def fill(self, slot: Slot, subjects: "Subjects") -> Any:
        if slot is KEYS:
            return json.dumps(subjects.keys)
        return json.dumps(list(zip(subjects.keys, subjects.forms(slot.field), strict=True)))


class Subjects:
    """A set of subjects as one database spells their keys."""

    def __init__(self, kind: Any, ids: Sequence[UUID], dialect: Dialect) -> None:
        self.kind, self.ids, self.dialect = kind, list(ids), dialect

    @cached_property
    def keys(self) -> list[Any]:
        if self._are_plain:
            return self.ids
        return [self._spell(self.dialect.key, self.kind.pk_of(one)) for one in self.ids]

    @cached_property
    def _are_plain(self) -> bool:
        """Whether the database takes and gives the ids themselves."""
        return bool(self.kind.has_uuids and self.dialect.connection.features.has_native_uuid_field)

    @cached_property
    def array(self) -> str:
        """The keys as one text: a set's statement names them a dozen times."""
        return as_array(self.keys)

    @cached_property
    def by_key(self) -> dict[Any, UUID]:
        """The subjects' ids by what the database returns for their keys."""
        return dict(zip(self.keys, self.ids, strict=True))

    def name(self, key: Any) -> UUID:
        """Return the id of the subject whose key the database returned."""
        found: UUID = key if self._are_plain else self.by_key[key]
        return found

    def forms(self, field: Any) -> list[Any]:
        """Return how a column spells each subject; without one, the ids in plain text."""
        if field is None:
            return [str(one) for one in self.ids]
        field = plain_field(field)
        if isinstance(field, models.UUIDField):
            if self._are_plain:
                return self.ids
            return [self._spell(field, one) for one in self.ids]
        keys = [self.kind.pk_of(one) for one in self.ids]
        if isinstance(field, models.CharField | models.TextField):
            keys = [str(key) for key in keys]
        return [self._spell(field, key) for key in keys]

    def _spell(self, field: Any, value: Any) -> Any:
        return field.get_db_prep_value(value, self.dialect.connection)


def dialect_of(connection: Any, key: Any) -> Dialect:
    """Return the dialect of a connection; NotImplementedError for a database that is not ours."""
    kinds: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "sqlite": SQLite}
    try:
        return kinds[connection.vendor](connection, key)
    except KeyError:
        raise NotImplementedError(f"erasure does not speak {connection.vendor}") from None


def plain_field(field: Any) -> Any:
    """Return the field that stores a value, at the end of a chain of keys that are keys."""
    while field.is_relation:
        field = field.target_field
    return field


def is_spelled_alike(field: Any, key: Any) -> bool:
    """Whether a column holds a subject's key in the very form of the subject's own column."""
    field, key = plain_field(field), plain_field(key)
    for kind in (models.UUIDField, models.IntegerField, models.CharField | models.TextField):
        if isinstance(key, kind):
            return isinstance(field, kind)
    return bool(type(field) is type(key))
