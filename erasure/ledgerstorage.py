"""The ledger in a Django storage, such as a bucket: one object a batch, never overwritten."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage, storages
from uuid_utils.compat import uuid7

from erasure.exceptions import LedgerUnavailable
from erasure.ledger import Entry, State, read_header, read_line, write_header, write_lines

HEADER = "ledger.json"
SKEW = timedelta(hours=1)
"""By how much the clocks of two machines may differ before a reader misses an object."""


class StorageLedger:
    """A position is the time of an object in milliseconds, as its name has it.

    Names sort by time: ``2026/11/26/<uuid7>.jsonl``. A reader goes back an hour before its
    position, since a machine whose clock is slow writes names that lie in the past.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._identity = ""
        self._looked_at = 0.0

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return f"storage {self.alias}"

    @property
    def storage(self) -> Storage:
        return storages[self.alias]

    @property
    def identity(self) -> str:
        if self._identity:
            return self._identity
        try:
            with self.storage.open(HEADER) as file:
                self._identity = read_header(file.read().decode())
        except FileNotFoundError:
            return ""
        except Exception as error:
            raise _unavailable(error) from error
        return self._identity

    def create(self) -> str:
        if found := self.identity:
            return found
        name = self._save(HEADER, write_header(uuid4(), datetime.now(UTC)))
        if name != HEADER:
            # Somebody was faster, and the storage gave ours another name.
            self.storage.delete(name)
        return self.identity

    def intend(self, entries: Sequence[Entry]) -> None:
        self._append(write_lines(entries))

    def finish(self, entries: Sequence[Entry], state: State = "done") -> None:
        self._append(write_lines(entries, state))

    def read(self, position: int = 0) -> Iterator[tuple[int, Entry]]:
        if not self.identity:
            if position:
                raise LedgerUnavailable(f"the ledger in {self} is missing")
            return
        first = max(0, position - SKEW // timedelta(milliseconds=1))
        try:
            for name in self._names(first):
                reached = max(position, _time_of(name))
                with self.storage.open(name) as file:
                    text = file.read().decode(errors="replace")
                for line in text.splitlines():
                    entry = read_line(line)
                    if entry is not None:
                        yield reached, entry
        except LedgerUnavailable:
            raise
        except Exception as error:
            raise _unavailable(error) from error

    def end(self) -> int:
        if not self.identity:
            return 0
        try:
            return max((_time_of(name) for name in self._names(0, newest_only=True)), default=0)
        except Exception as error:
            raise _unavailable(error) from error

    def has_grown(self, since: int) -> bool:
        # Asking a bucket costs a round trip: once in so many seconds, and "no" meanwhile.
        now = time.monotonic()
        if now - self._looked_at < getattr(settings, "ERASURE_LEDGER_CHECK_SECONDS", 1):
            return False
        self._looked_at = now
        return True

    def _append(self, text: str) -> None:
        if text:
            self.create()
            self._save(f"{datetime.now(UTC):%Y/%m/%d}/{uuid7()}.jsonl", text)

    def _save(self, name: str, text: str) -> str:
        try:
            saved = self.storage.save(name, ContentFile(text.encode()))
            _sync(self.storage, saved)
        except Exception as error:
            raise _unavailable(error) from error
        return saved

    def _names(self, first: int, *, newest_only: bool = False) -> Iterator[str]:
        """Yield the names of objects in order, from a time on."""
        day = datetime.fromtimestamp(first / 1000, UTC).strftime("%Y/%m/%d")
        days = [
            f"{year}/{month}/{number}"
            for year in self._folders("")
            for month in self._folders(year)
            for number in self._folders(f"{year}/{month}")
        ]
        for folder in reversed(days) if newest_only else days:
            if folder >= day:
                names = sorted(self.storage.listdir(folder)[1])
                yield from (
                    f"{folder}/{name}"
                    for name in names
                    if name.endswith(".jsonl") and _time_of(name) >= first
                )
                if newest_only and names:
                    return

    def _folders(self, path: str) -> list[str]:
        return sorted(name for name in self.storage.listdir(path)[0] if name.isdigit())


def _time_of(name: str) -> int:
    """Return the milliseconds that an object's name begins with."""
    return UUID(name.rpartition("/")[2].removesuffix(".jsonl")).int >> 80


def _sync(storage: Storage, name: str) -> None:
    """Wait for the disk where a storage has one; a remote storage has answered when it was safe."""
    if not isinstance(storage, FileSystemStorage):
        return
    path = Path(storage.path(name))
    for each in (path, *_made_with(path, name)):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _made_with(path: Path, name: str) -> list[Path]:
    """The folders of an object's name: with the first object of a day they may be new as well."""
    return list(path.parents[: name.count("/") + 1])


def _unavailable(error: Exception) -> LedgerUnavailable:
    return LedgerUnavailable(f"{type(error).__name__}: {error}")
