"""Events as the tree needs them: values in the order of an entry, read by SQL of our own.

Model instances of a million events would take minutes to make. Ids and times come as text from the
database, or are brought into the same form here.
"""

import json
import re
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections

from audit.entries import FIELDS
from audit.evidence import CLAIMED, keys_of, owners_of
from audit.statements import as_array

TABLE, DETAILS = "audit_auditevent", "audit_eventdetail"
MANY = 5_000

PLACE = {name: number for number, name in enumerate(FIELDS)}

_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)((?!\.000000)\.\d{6})?", re.ASCII)
"""A time as SQLite keeps it: in UTC, without a fraction of nought."""

_CLAIM = [PLACE[name] for name in CLAIMED]
_PEOPLE = [PLACE[name] for name in ("actor_kind", "actor_id", "person_id", "subject_id")]


def claim_of(values: Sequence[Any]) -> list[Any]:
    """Return of an entry's values what ``Claims.add`` takes."""
    return [values[place] for place in _CLAIM]


def owners_in(values: Sequence[Any]) -> tuple[str | None, str | None]:
    """Return whose erasure takes the personal values of an entry."""
    return owners_of(*[values[place] for place in _PEOPLE])


def keys_in(values: Sequence[Any]) -> list[str]:
    """Return by what claims name them."""
    return keys_of(owners_in(values), values[PLACE["subject_kind"]])


class Detail(NamedTuple):
    """A personal value, and whose erasure takes it: the person who acted, and the subject where
    that is another."""

    field: str
    value: str
    salt: bytes
    person_id: str | None
    subject_id: str | None


class Row(NamedTuple):
    """An event: its position, None before it is sealed, and its values as FIELDS names them."""

    seq: int | None
    values: Sequence[Any]

    @property
    def id(self) -> str:
        return str(self.values[PLACE["id"]])


def read_rows(where: str, params: Sequence[Any] = ()) -> Generator[Row]:
    """Yield the events that a condition finds, in its order, without holding them all."""
    with closing(_read(["sealed_seq"], where, params)) as rows:
        for (seq,), values in rows:
            yield Row(seq, values)


def read_waiting(
    where: str = "", params: Sequence[Any] = ()
) -> Generator[tuple[Row, bytes | None]]:
    """Yield the events that wait for their seal, each with the code that vouches for it."""
    with closing(_read(["mac"], f"WHERE sealed_seq IS NULL {where}", params)) as rows:
        for (mac,), values in rows:
            yield Row(None, values), mac


class Waiting(NamedTuple):
    """An event that waits for its seal, with the code that vouches for it, and its place in the
    order of ids."""

    place: Any
    row: Row
    mac: bytes | None


def read_next(after: Any, limit: int) -> list[Waiting]:
    """Return the next events that wait for their seal, those that lie after a place.

    Whatever somebody has put there can be read: where a database keeps bytes that are no text, they
    come as surrogates, which no entry of the service holds.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    place, further = "id::text", "AND id > %s"
    if connection.vendor == "sqlite":
        # An id can be of any type there, and cannot always be handed back.
        place = "rowid"
        further = f"AND id > (SELECT id FROM {TABLE} WHERE rowid = %s)"  # noqa: S608
    params = [limit] if after is None else [after, limit]
    where = f"{'' if after is None else further} ORDER BY sealed_seq, id LIMIT %s"
    with _reading_anything(connection):
        found = list(_read([place, "mac"], f"WHERE sealed_seq IS NULL {where}", params))
    return [Waiting(place, Row(None, values), mac) for (place, mac), values in found]


@contextmanager
def _reading_anything(connection: Any) -> Iterator[None]:
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    usual = connection.connection.text_factory
    connection.connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    try:
        yield
    finally:
        connection.connection.text_factory = usual


def _read(
    further: Sequence[str], where: str, params: Sequence[Any]
) -> Generator[tuple[Sequence[Any], Sequence[Any]]]:
    """Yield further columns as they are, and the values of an entry."""
    connection: Any = connections[DEFAULT_DB_ALIAS]
    is_postgres = connection.vendor == "postgresql"
    columns = ", ".join([*further, *map(_as_text if is_postgres else _as_kept, FIELDS)])
    sql = f"SELECT {columns} FROM {TABLE} {where}"  # noqa: S608 - names of our own
    first = len(further)
    with connection.chunked_cursor() as cursor:
        cursor.itersize = MANY
        cursor.execute(sql, list(params))
        while rows := cursor.fetchmany(MANY):
            for row in rows:
                values = row[first:]
                yield row[:first], values if is_postgres else _spell_sqlite(values)


def read_sealed(start: int, end: int) -> Generator[Row]:
    """Yield the events at positions from ``start`` up to ``end`` that are there, in order."""
    where = "WHERE sealed_seq >= %s AND sealed_seq < %s ORDER BY sealed_seq"
    return read_rows(where, (start, end))


def read_among(ids: Iterable[UUID]) -> Iterator[Row]:
    """Yield those of these events that are sealed, in the order of their positions."""
    among, param = _among([str(it) for it in ids])
    where = f"WHERE id {among} AND sealed_seq IS NOT NULL ORDER BY sealed_seq"
    return read_rows(where, [param])


def read_details(rows: Iterable[Row]) -> Mapping[int, Sequence[Detail]]:
    """Return the personal values of sealed events, by position."""
    positions = {row.id: row.seq or 0 for row in rows}
    found: dict[int, list[Detail]] = defaultdict(list)
    connection: Any = connections[DEFAULT_DB_ALIAS]
    # No join: a planner that takes the tables for empty compares each value with each event.
    among, param = _among(list(positions))
    is_postgres = connection.vendor == "postgresql"
    ids = ("event_id", "person_id", "subject_id")
    columns = ", ".join(map(_as_text, ids) if is_postgres else ids)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns}, field, value, salt FROM {DETAILS} "  # noqa: S608 - our own names
            f"WHERE event_id {among}",
            [param],
        )
        for *owners, name, value, salt in cursor.fetchall():
            # A number would be read as so many bytes of nought.
            raw = b"" if isinstance(salt, int) else bytes(salt)
            event, person, subject = owners if is_postgres else map(_dash, owners)
            if (seq := positions.get(str(event))) is not None:
                found[seq].append(Detail(name, value, raw, person, subject))
    return found


def _among(ids: Sequence[str]) -> tuple[str, Any]:
    """Return a condition, and its one parameter, that a column's id is among these."""
    if connections[DEFAULT_DB_ALIAS].vendor == "postgresql":
        return "= ANY(%s::uuid[])", as_array(ids)
    return "IN (SELECT value FROM json_each(%s))", json.dumps([it.replace("-", "") for it in ids])


def _as_text(field: str) -> str:
    if field == "at":
        # Not to_char's own T and Z: they are literals there. It leaves out that a year was before
        # Christ.
        text = """to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
        return f"CASE WHEN at < '0001-01-01Z' THEN at::text ELSE {text} END"
    if field == "id" or (field.endswith("_id") and field != "request_id"):
        return f"{field}::text"
    if field in ("facts", "commitments"):
        return f"{field}::text"
    return field


def _as_kept(field: str) -> str:
    # The driver makes a time of a column of times, and breaks off where it cannot.
    return "+at" if field == "at" else field


def _spell_sqlite(values: Sequence[Any]) -> Sequence[Any]:
    (action, actor, actor_kind, at, channel, hidden, key, facts, pk, org, outcome, *rest) = values
    person, request, subject, subject_kind = rest
    return (
        action,
        _dash(actor),
        actor_kind,
        _time(at),
        channel,
        hidden,
        _dash(key),
        facts,
        _dash(pk),
        _dash(org),
        outcome,
        _dash(person),
        request,
        _dash(subject),
        subject_kind,
    )


def _dash(value: str | None) -> str | None:
    """Return 32 digits of an id as the 36 characters that PostgreSQL gives."""
    if not isinstance(value, str):
        # What is no text is no id, and is spelled as none.
        return value
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"


def _time(at: Any) -> str:
    """Return a time as SQLite keeps it in the form of entries. In another spelling it is none: the
    database, which compares texts, would have it come before or after others."""
    if not (written := _WRITTEN.fullmatch(at) if isinstance(at, str) else None):
        return f"'{at}'"
    return f"{written[1]}T{written[2]}{written[3] or '.000000'}Z"
