"""The ledger as a file of JSON lines, shared by every process of one machine."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from erasure.exceptions import LedgerUnavailable
from erasure.ledger import Entry, State, read_header, read_line, write_header, write_lines


class FileLedger:
    """A position is an offset in bytes. Lines are appended under a lock, whole batches at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = ""
        self._seen_as = (0, 0, 0)
        self.written = 0
        self.unsettled = 0
        """Bytes that this process has appended, and intents without an end among them: so it can
        tell whether it was alone and has left nothing open."""

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return str(self.path)

    @property
    def identity(self) -> str:
        with _reported():
            try:
                there = self.path.stat()
                if _sight(there) == self._seen_as:
                    return self._identity
                with self.path.open("rb") as file:
                    found = read_header(file.readline().decode())
            except FileNotFoundError:
                if self._identity:
                    raise LedgerUnavailable(f"the ledger {self.path} has vanished") from None
                return ""
        if self._identity and found != self._identity:
            # The file was exchanged while we ran: an unmounted volume, most likely.
            raise LedgerUnavailable(f"{self.path} is no longer the ledger that it was")
        self._identity, self._seen_as = found, _sight(there)
        return found

    def create(self) -> str:
        if found := self.identity:
            return found
        with _reported():
            folder = self.path.parent
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f".{self.path.name}.{uuid4()}"
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                try:
                    os.write(descriptor, write_header(uuid4(), datetime.now(UTC)).encode())
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                # A link, and no rename: of two processes the second finds the first one's ledger.
                with suppress(FileExistsError):
                    os.link(draft, self.path)
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(folder)
        return self.identity

    def intend(self, entries: Sequence[Entry]) -> None:
        self._append(write_lines(entries), awaits_disk=True)
        self.unsettled += len(entries)

    def finish(self, entries: Sequence[Entry], state: State = "done") -> None:
        self._append(write_lines(entries, state), awaits_disk=False)
        if state != "restored":
            self.unsettled -= len(entries)

    def read(self, position: int = 0) -> Iterator[tuple[int, Entry]]:
        if not self.identity:
            if position:
                raise LedgerUnavailable(f"the ledger {self.path} is missing")
            return
        with _reported(), self.path.open("rb") as file:
            if position > os.fstat(file.fileno()).st_size:
                raise LedgerUnavailable(f"the ledger {self.path} has lost its end")
            file.seek(position)
            for line in file:
                if not line.endswith(b"\n"):
                    # Somebody is writing it, or died while doing so: not there yet.
                    return
                position += len(line)
                entry = read_line(line.decode(errors="replace"))
                if entry is not None:
                    yield position, entry

    def end(self) -> int:
        with _reported():
            try:
                return self.path.stat().st_size
            except FileNotFoundError:
                return 0

    def has_grown(self, since: int) -> bool:
        return self.end() != since

    def _append(self, text: str, *, awaits_disk: bool) -> None:
        if not text:
            return
        self.create()
        with _reported():
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                try:
                    self.written += _write_whole(descriptor, text.encode())
                finally:
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
                if awaits_disk:
                    # Outside of the lock, so that those who wait for it share one write to disk.
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _sight(there: os.stat_result) -> tuple[int, int, int]:
    """Return what differs once another file lies there. Its number alone may be given out again."""
    return there.st_dev, there.st_ino, there.st_ctime_ns


def _write_whole(descriptor: int, data: bytes) -> int:
    """Append under the lock: all of it or, as far as the disk lets us, nothing. Return how much."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # A writer died in the middle of a line. Its own line ends here, so that ours is whole.
        data = b"\n" + data
    whole = len(data)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
    return whole


def write_safely(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, whatever happens, and wait for the disk. One
    that is there already stays as it is."""
    draft = path.with_name(f".{path.name}.{uuid4()}")
    try:
        with draft.open("x") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what the system says into the one exception that callers know."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise LedgerUnavailable(f"{type(error).__name__}: {error}") from error
