"""Every table of a database as its own catalogue lists it, and its contents in blocks of bytes.

The catalogue and not the models: a table that no model knows holds personal data just as well.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

BLOCK = 1 << 20
"""Bytes that are looked at in one go; only a single larger row makes a larger block."""

TEXT = "text"
UUIDS = "uuid"
UUID_TEXT = "uuid in text"
"""SQLite's form of one. Any other text fits as well."""
NUMBER = "number"
TIME = "time"
TRUTH = "truth"
OTHER = "other"


class Column(NamedTuple):
    """A column and the family of its type: what decides whether an identifier fits into it."""

    name: str
    family: str
    raw: bool = True
    """Whether the database can send it as the very bytes that are looked for."""
    form: str = TEXT
    """Its type in the database's own words, where that matters for reading it."""


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    unread: str = ""
    """Why it cannot be read; empty when it can."""
    packed: bool = False
    """Whether its rows are small enough to be strung together by the database."""
    rowid: str = ""
    """What SQLite calls a row's number in this table; empty without one."""

    def __str__(self) -> str:
        return self.name if self.schema in ("", "public") else f"{self.schema}.{self.name}"


class Place(NamedTuple):
    column: str
    key: str


class Rows(Protocol):
    """Some rows of a table as one run of bytes, which can say where in it something lies."""

    @property
    def data(self) -> bytes: ...

    def place(self, start: int, end: int) -> Place | None:
        """Return column and key of what lies between; None when no single value holds it."""


class Block(Protocol):
    """Some values of a table as one run of bytes."""

    @property
    def data(self) -> bytes: ...

    def rows(self) -> Iterable[Rows]:
        """Return the same row by row, for whoever has found something in the bytes."""


Wanted = Callable[[Column], bool]


def read_tables(connection: Any) -> list[Table]:
    """Return every table, in order of schema and name. Raises NotSearchable."""
    from erasure import pgtables, sqlitetables

    if connection.vendor == "postgresql":
        return pgtables.read_tables(connection)
    if connection.vendor == "sqlite":
        return sqlitetables.read_tables(connection)
    raise NotSearchable(f"a database of the kind {connection.vendor}")


def read_blocks(
    connection: Any, table: Table, wanted: Wanted, uuids: Collection[UUID] = ()
) -> Iterator[Block]:
    """Yield the contents of a table's wanted columns; memory stays flat. Of columns of UUIDs only
    the rows with one of ``uuids`` need to be in it.

    Call it inside ``one_moment``, so that no row moves about meanwhile.
    """
    from erasure import pgtables, sqlitetables

    if not any(map(wanted, table.columns)):
        return iter(())
    if connection.vendor == "postgresql":
        return pgtables.read_blocks(connection, table, wanted, uuids)
    return sqlitetables.read_blocks(connection, table, wanted)


def quote(name: str) -> str:
    """Return a name from the catalogue as SQL. Django's own quoting trusts in tame names."""
    return '"' + name.replace('"', '""') + '"'


class NotSearchable(Exception):
    """What a search cannot look into, in words that follow "Not searched:"."""
