"""Looks for what is left of a person: identifiers in everything that the service stores.

Tables as the catalogue lists them, stored files, caches, mail, sessions; with ``raw`` also what
lies behind the tables, deleted pages included. A hit says where and in which form, never what.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections

from audit.events import Reference
from erasure import references
from erasure.needles import Match, Matcher
from erasure.policies import Keep, declared
from erasure.rawbytes import read_raw
from erasure.snapshots import one_moment
from erasure.stores import Item, read_stores
from erasure.subjects import kind_names
from erasure.tables import (
    NUMBER,
    TIME,
    TRUTH,
    UUIDS,
    Block,
    Column,
    NotSearchable,
    Table,
    quote,
    read_blocks,
    read_tables,
)
from erasure.unpacking import unpack_session

SESSION_DATA = "session_data"
"""What Django calls the column of a session's contents, which it compresses."""

Progress = Callable[[str, int, int], None]


class Hit(NamedTuple):
    """Where an identifier was found. ``needle`` is its place among those searched for."""

    needle: int
    where: str
    column: str
    key: str
    form: str


class Kept(NamedTuple):
    """A subject's opaque id where a policy keeps it, and the reason that the policy gives."""

    hit: Hit
    because: str


@dataclass
class Findings:
    """Iterates over its hits, and is true when there are any.

    ``kept`` are opaque ids that stay as declared and are no hits. ``unsearched`` names in words
    what could not be looked into; ``is_cut`` says that there are more hits than were asked for.
    """

    hits: list[Hit] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    unsearched: list[str] = field(default_factory=list)
    tables: int = 0
    read: int = 0
    is_cut: bool = False
    identifiers: int = 0

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def about(self, first: int, number: int) -> "Findings":
        """Return what was found of some of the identifiers, by the place of the first."""
        mine = range(first, first + number)
        return replace(
            self,
            hits=[hit for hit in self.hits if hit.needle in mine],
            kept=[one for one in self.kept if one.hit.needle in mine],
            identifiers=number,
        )


class _Enough(Exception):
    """As many hits as were asked for."""


def search(
    needles: Sequence[str],
    *,
    skip_tables: Collection[str] = (),
    raw: bool = False,
    limit: int = 10_000,
    on_progress: Progress | None = None,
) -> Findings:
    """Search for all identifiers at once and say where each one lies.

    One pass over the data, however many identifiers; memory stays flat. ``on_progress`` hears
    what is being read, its number and how many there are. Raises TooShort.
    """
    matcher = Matcher(needles, spell_otherwise)
    return _Search(matcher, limit, on_progress or _say_nothing).run(skip_tables, raw=raw)


def spell_otherwise(text: str) -> list[str]:
    """Return how a subject's id is written elsewhere: the UUID behind ``usr_…``, and that for a
    UUID."""
    try:
        uuid = UUID(text)
    except ValueError:
        found = [named for kind in kind_names() if (named := references.read(text, kind))]
        return [str(named.id) for named in found]
    spelled = {references.spell(Reference(kind, uuid)) for kind in kind_names()}
    return sorted(spelled - {str(uuid)})


class _Search:
    def __init__(self, matcher: Matcher, limit: int, on_progress: Progress) -> None:
        self.matcher, self.limit, self.on_progress = matcher, limit, on_progress
        self.findings = Findings(identifiers=len(matcher.needles))
        self._seen: set[Hit] = set()
        self._declared = {
            model._meta.db_table: (model, policy) for model, policy in declared().items()
        }

    def run(self, skip_tables: Collection[str], *, raw: bool) -> Findings:
        tables = [
            (connections[alias], table)
            for alias in connections
            for table in self._tables(alias)
            if str(table) not in skip_tables
        ]
        steps = len(tables) + 1 + raw
        try:
            for number, (connection, table) in enumerate(tables):
                self.on_progress(str(table), number, steps)
                self._search_table(connection, table)
            self.on_progress("files, caches, mail", len(tables), steps)
            self._search_items(read_stores(self.findings.unsearched.append))
            if raw:
                self.on_progress("the database's own files", len(tables) + 1, steps)
                self._search_items(read_raw(self.findings.unsearched.append))
        except _Enough:
            self.findings.is_cut = True
        self.on_progress("done", steps, steps)
        return self.findings

    def _tables(self, alias: str) -> list[Table]:
        try:
            return read_tables(connections[alias])
        except NotSearchable as error:
            self.findings.unsearched.append(f"database {alias}: {error}")
            return []

    def _search_table(self, connection: Any, table: Table) -> None:
        where = str(table)
        if connection.alias != DEFAULT_DB_ALIAS:
            where = f"{connection.alias}: {table}"
        if table.unread:
            self.findings.unsearched.append(f"table {where}: {table.unread}")
            return
        self.findings.tables += 1
        with one_moment(connection):
            for block in read_blocks(connection, table, self._fits, self.matcher.uuids):
                self.findings.read += len(block.data)
                if self.matcher.find(block.data):
                    self._search_rows(block, where)
            if any(column.name == SESSION_DATA for column in table.columns):
                self._search_items(_read_sessions(connection, table, where))

    def _search_rows(self, block: Block, where: str) -> None:
        for rows in block.rows():
            for match in self.matcher.find(rows.data):
                if place := rows.place(match.start, match.end):
                    self._add(match, where, place.column, place.key)

    def _fits(self, column: Column) -> bool:
        """Whether a column's type can hold any of the identifiers."""
        if column.family == UUIDS:
            return bool(self.matcher.uuids)
        if column.family == NUMBER:
            return self.matcher.has_numbers
        if column.family == TIME:
            return self.matcher.has_dates
        return column.family != TRUTH

    def _search_items(self, items: Iterable[Item]) -> None:
        for item in items:
            for match in self._search_stream(item.chunks):
                self._add(match, item.where, item.column, item.key)

    def _search_stream(self, chunks: Iterable[bytes]) -> Iterator[Match]:
        """Yield the matches in a stream, those that lie across two chunks included."""
        tail, keep = b"", self.matcher.reach + 1
        for chunk in chunks:
            self.findings.read += len(chunk)
            block = tail + chunk
            # A match that ends with the block waits: the next byte may be a further digit.
            for match in self.matcher.find(block):
                if len(tail) <= match.end < len(block):
                    yield match
            tail = block[-keep:]
        for match in self.matcher.find(tail):
            if match.end == len(tail):
                yield match

    def _add(self, match: Match, where: str, column: str, key: str) -> None:
        # The key of a row and the name of a file may hold the very thing.
        hit = Hit(match.needle, where, column, self.matcher.mask(key), match.form)
        if hit in self._seen:
            return
        if len(self._seen) >= self.limit:
            raise _Enough
        self._seen.add(hit)
        if because := self._reason(match, where, column):
            self.findings.kept.append(Kept(hit, because))
        else:
            self.findings.hits.append(hit)

    def _reason(self, match: Match, where: str, column: str) -> str:
        """Return why a policy lets an id stay in a column; empty when it does not, or when what
        was found is no opaque id."""
        if self.matcher.needles[match.needle].uuid is None or where not in self._declared:
            return ""
        model, policy = self._declared[where]
        names = {one.column: one.name for one in model._meta.local_concrete_fields}
        name = names.get(column, "")
        fates = [one.fate for one in policy.loose if one.field == name]
        kept = [fate.because for fate in fates if isinstance(fate, Keep)]
        return next(iter(kept), policy.harmless.get(name, ""))


def _read_sessions(connection: Any, table: Table, where: str) -> Iterator[Item]:
    """Yield what stored sessions say, unpacked. The key of a session is a credential: not said."""
    name = ".".join(quote(part) for part in (table.schema, table.name) if part)
    with connection.chunked_cursor() as cursor:
        cursor.execute(f"SELECT {quote(SESSION_DATA)} FROM {name}")
        for number, (value,) in enumerate(cursor, start=1):
            data = unpack_session(str(value or "").encode())
            yield Item(where, f"{SESSION_DATA}, unpacked", f"row {number}", [data])


def _say_nothing(what: str, done: int, total: int) -> None:
    """Nobody listens."""
