"""Where data lies beside the database's tables: stored files, caches, mail, sessions in files.

Each function yields what can be read, and names through ``note`` what cannot.
"""

import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import gettempdir
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.cache import caches
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.core.mail.backends import filebased
from django.db import models
from django.tasks import task_backends
from django.tasks.backends.dummy import DummyBackend
from django.tasks.backends.immediate import ImmediateBackend

from erasure.unpacking import (
    TooLarge,
    read_chunks,
    unpack_cached,
    unpack_file,
    unpack_mail,
    unpack_session,
)

Note = Callable[[str], None]
ASSETS = "staticfiles"
"""The storage of the code's own files."""
BETWEEN_MAILS = b"-" * 79 + b"\n"


class Item(NamedTuple):
    """Something with a name that bytes can be read from. The name may itself be personal."""

    where: str
    column: str
    key: str
    chunks: Iterable[bytes]


def read_stores(note: Note) -> Iterator[Item]:
    """Yield everything that lies outside the database's tables."""
    for read in (read_storages, read_caches, read_mail, read_session_files, read_tasks):
        yield from read(note)


# --- stored files -----------------------------------------------------------------------------


def known_storages() -> dict[str, Storage]:
    """Return every storage that may hold people's files, by alias, or by field where a model's
    field brings one of its own."""
    found = {alias: storages[alias] for alias in settings.STORAGES if alias != ASSETS}
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_fields:
            if isinstance(field, models.FileField) and field.storage not in found.values():
                found[f"{model._meta.label}.{field.name}"] = field.storage
    return found


def read_storages(note: Note) -> Iterator[Item]:
    for alias, storage in known_storages().items():
        if _is_nowhere(storage):
            continue
        where = f"storage {alias}"
        try:
            yield from _read_storage(where, storage, "", note)
        except NotImplementedError:
            note(f"{where}: its files cannot be listed")


def _is_nowhere(storage: Storage) -> bool:
    """Whether it is Django's default storage and nobody has said where it lies."""
    return (
        isinstance(storage, FileSystemStorage)
        and storage._location is None  # type: ignore[attr-defined]
        and not settings.MEDIA_ROOT
    )


def _read_storage(where: str, storage: Storage, folder: str, note: Note) -> Iterator[Item]:
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        note(f"{where}: a folder that cannot be read ({type(error).__name__})")
        return
    for name in sorted(folders):
        path = f"{folder}/{name}" if folder else name
        yield Item(where, "name", path, [name.encode()])
        yield from _read_storage(where, storage, path, note)
    for name in sorted(files):
        path = f"{folder}/{name}" if folder else name
        yield Item(where, "name", path, [name.encode()])
        yield from _read_file(where, path, lambda path=path: storage.open(path), note)  # type: ignore[misc]


def _read_file(where: str, path: str, open_file: Callable[[], Any], note: Note) -> Iterator[Item]:
    try:
        with open_file() as file:
            yield Item(where, "content", path, read_chunks(file))
            for part in unpack_file(file):
                yield Item(where, "content, unpacked", path, part)
    except FileNotFoundError:
        return
    except (OSError, EOFError, NotImplementedError, RuntimeError) as error:
        note(f"{where}: a file that cannot be read ({type(error).__name__})")
    except (zipfile.BadZipFile, zlib.error):
        note(f"{where}: a packed file that is damaged or encrypted")
    except TooLarge:
        note(f"{where}: a packed file that unpacks to more than a gigabyte")


# --- caches -----------------------------------------------------------------------------------


def read_caches(note: Note) -> Iterator[Item]:
    for alias in settings.CACHES:
        cache: Any = caches[alias]
        where = f"cache {alias}"
        if isinstance(cache, LocMemCache):
            note(f"{where}: every process keeps one of its own, and only this one's was searched")
            held: Any = cache
            with held._lock:
                entries = list(held._cache.items())
            for key, value in entries:
                yield Item(where, "key", key, [key.encode()])
                yield Item(where, "value", key, [bytes(value)])
        elif isinstance(cache, FileBasedCache):
            listed: Any = cache
            for name in listed._list_cache_files():
                value = _read_if_there(Path(name))
                yield Item(where, "value", Path(name).name, [unpack_cached(value)])
        elif not isinstance(cache, DatabaseCache | DummyCache):
            # A database cache is a table and is searched with the others.
            note(f"{where} ({type(cache).__name__}): its entries cannot be listed; they expire")


# --- mail, sessions, tasks --------------------------------------------------------------------


def read_mail(note: Note) -> Iterator[Item]:
    """Yield mails that wait in this process or that a backend has written to files."""
    for number, message in enumerate(getattr(mail, "outbox", [])):
        yield Item("mail outbox", "message", str(number), [unpack_mail(bytes(message.message()))])
    for folder in sorted(_mail_folders()):
        for path in sorted(folder.glob("*.log")):
            for number, message in enumerate(_read_if_there(path).split(BETWEEN_MAILS)):
                where = f"{path.name}, mail {number + 1}"
                yield Item("mail folder", "message", where, [message, b"\n", unpack_mail(message)])


def _mail_folders() -> set[Path]:
    named = f"{filebased.__name__}.EmailBackend"
    mailers: Any = getattr(settings, "MAILERS", None)
    if mailers is not None:
        return {
            Path(mailer["OPTIONS"]["file_path"])
            for mailer in mailers.values()
            if mailer.get("BACKEND") == named
        }
    with warnings.catch_warnings():
        # Django asks projects to move on to MAILERS; a search reads what this one still has.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        legacy: Any = settings
        return {Path(legacy.EMAIL_FILE_PATH)} if named == legacy.EMAIL_BACKEND else set()


def read_session_files(note: Note) -> Iterator[Item]:
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.file":
        return
    folder = Path(settings.SESSION_FILE_PATH or gettempdir())
    for path in sorted(folder.glob(f"{settings.SESSION_COOKIE_NAME}*")):
        value = _read_if_there(path)
        yield Item("session files", "session", path.name, [value, b"\n", unpack_session(value)])


def read_tasks(note: Note) -> Iterator[Item]:
    """Yield tasks that wait in this process. Those of a database backend lie in its tables."""
    for alias in task_backends.settings:
        backend: Any = task_backends[alias]
        if isinstance(backend, DummyBackend):
            for result in backend.results:
                text = repr((result.args, result.kwargs))
                yield Item(f"tasks {alias}", "arguments", result.id, [text.encode()])
        elif not isinstance(backend, ImmediateBackend) and not _keeps_tables(backend):
            note(f"tasks {alias} ({type(backend).__name__}): its queue cannot be listed")


def _keeps_tables(backend: Any) -> bool:
    """Whether the backend's package is an installed app with models: then its queue is a table."""
    package = type(backend).__module__.split(".")[0]
    return any(
        config.name.split(".")[0] == package and any(config.get_models())
        for config in apps.get_app_configs()
    )


def _read_if_there(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
