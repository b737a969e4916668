"""The ledger: what was erased, written down outside the database.

A backup that is restored brings erased people back. The ledger is what remembers them meanwhile: a
file, or objects in a storage, that only ever grows. It holds opaque ids and times, never a person's
data. An erasure writes ``intent`` and waits for the disk before its rows go; after the commit it
writes ``done``, or ``void`` when nothing was committed. A restore within the grace period writes
``restored``, so that an old backup does not purge whoever came back.

    {"state":"done","id":"…","at":"…","kind":"user","subject":"…","born":"…","deletion":"…",
     "generation":1,"sum":"…"}
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from django.conf import settings

State = Literal["intent", "done", "void", "restored"]
STATES = ("intent", "done", "void", "restored")


class Entry(NamedTuple):
    """One line. An erasure's intent and its end share their ``id``.

    ``born`` is when the subject's row came to be, as ``born_text`` writes it: by it a replay tells
    the subject from a stranger who bears the same key.
    """

    id: UUID
    at: datetime
    kind: str
    subject_id: UUID
    born: str
    deletion_id: UUID
    generation: int
    state: State = "intent"


class Ledger(Protocol):
    """Where entries are kept. A position says how far somebody has read."""

    def __bool__(self) -> bool:
        """Whether there is a ledger at all: development can do without."""
        ...

    @property
    def identity(self) -> str:
        """The name that the ledger gave itself when it was made; empty before its first entry.

        Raises LedgerUnavailable when it cannot be read.
        """
        ...

    def create(self) -> str:
        """Make the ledger unless it is there, and return its identity."""
        ...

    def intend(self, entries: Sequence[Entry]) -> None:
        """Write what is about to happen and return when it would survive a power cut.

        One wait for the disk, however many entries. Raises LedgerUnavailable; then roll back.
        """
        ...

    def finish(self, entries: Sequence[Entry], state: State = "done") -> None:
        """Write how intents ended, after the commit. Nobody waits for the disk: an end that a
        power cut takes is found out from the database by the next sweep."""
        ...

    def read(self, position: int = 0) -> Iterator[tuple[int, Entry]]:
        """Yield entries from a position on, each with the position behind it.

        What was torn by a crash or damaged since is left out. A storage may yield again what lies
        a little before the position, since clocks differ. Raises LedgerUnavailable.
        """
        ...

    def end(self) -> int:
        """Return the position behind the last entry."""
        ...

    def has_grown(self, since: int) -> bool:
        """Whether there may be entries behind a position. Cheap: asked at every request."""
        ...


def open_ledger() -> Ledger:
    """Return the ledger that the setting ERASURE_LEDGER names: a file's path, or an alias of
    STORAGES. Empty means none, and then whatever is written to it goes nowhere."""
    return _open(str(getattr(settings, "ERASURE_LEDGER", "")))


def born_text(born: datetime | None) -> str:
    """Return the form in which the ledger holds a birth; empty when the kind knows none."""
    return born.astimezone(UTC).isoformat() if born else ""


class Batch(list[Entry]):
    """Entries that are written twice, when they begin and when they end: what both lines have in
    common is spelled once."""

    tails: list[str] | None = None


def write_lines(entries: Iterable[Entry], state: State | None = None) -> str:
    """Return entries as lines, each with its checksum."""
    known = entries if isinstance(entries, Batch) else Batch(entries)
    if known.tails is None:
        known.tails = _spell(known)
    lines = []
    for entry, tail in zip(known, known.tails, strict=True):
        body = f'{{"state":"{state or entry.state}",{tail}'
        lines.append(f'{body},"sum":"{checksum(body)}"}}\n')
    return "".join(lines)


def _spell(entries: Iterable[Entry]) -> list[str]:
    tails = []
    moments: dict[datetime, str] = {}
    for entry_id, at, kind, subject, born, deletion, generation, _ in entries:
        # The entries of a set share their moment.
        if (moment := moments.get(at)) is None:
            moment = moments[at] = at.astimezone(UTC).isoformat()
        tails.append(
            f'"id":"{entry_id}","at":"{moment}","kind":{quote(kind)},"subject":"{subject}",'
            f'"born":{quote(born)},"deletion":"{deletion}","generation":{generation}'
        )
    return tails


def read_line(line: str) -> Entry | None:
    """Return the entry of one line; None when the line is torn, damaged or no entry."""
    body, mark, rest = line.rstrip("\n").rpartition(',"sum":"')
    if not mark or rest != f'{checksum(body)}"}}':
        return None
    found = json.loads(body + "}")
    if found.get("state") not in STATES:
        return None
    return Entry(
        id=UUID(found["id"]),
        at=datetime.fromisoformat(found["at"]),
        kind=found["kind"],
        subject_id=UUID(found["subject"]),
        born=found["born"],
        deletion_id=UUID(found["deletion"]),
        generation=found["generation"],
        state=found["state"],
    )


def write_header(identity: UUID, made_at: datetime) -> str:
    """Return the first line of a ledger, which says which one it is."""
    body = f'{{"ledger":"{identity}","version":1,"made_at":"{made_at.isoformat()}"'
    return f'{body},"sum":"{checksum(body)}"}}\n'


def read_header(line: str) -> str:
    """Return the identity that a header names; ValueError when it is none."""
    body, _, rest = line.rstrip("\n").rpartition(',"sum":"')
    if rest != f'{checksum(body)}"}}':
        raise ValueError("no header")
    found = json.loads(body + "}")
    if found.get("version") != 1:
        raise ValueError("unknown version")
    return str(UUID(found["ledger"]))


def checksum(body: str) -> str:
    return sha256(body.encode()).hexdigest()[:16]


class NoLedger:
    """Stands for a ledger where none is configured."""

    identity = ""

    def __bool__(self) -> bool:
        return False

    def create(self) -> str:
        return ""

    def intend(self, entries: Sequence[Entry]) -> None:
        pass

    def finish(self, entries: Sequence[Entry], state: State = "done") -> None:
        pass

    def read(self, position: int = 0) -> Iterator[tuple[int, Entry]]:
        return iter(())

    def end(self) -> int:
        return 0

    def has_grown(self, since: int) -> bool:
        return False


@cache
def _open(name: str) -> Ledger:
    from erasure.ledgerfile import FileLedger
    from erasure.ledgerstorage import StorageLedger

    if not name:
        return NoLedger()
    return StorageLedger(name) if name in settings.STORAGES else FileLedger(Path(name))
