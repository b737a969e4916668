"""The residual search outside of the tables: files, caches, mail, sessions and tasks."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.contrib.sessions.backends.file import SessionStore as FileStore
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, Storage, storages
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.tasks import task
from django.tasks.backends.base import BaseTaskBackend
from pytest_django import Settings

from erasure.residue import search
from tests.erasure.test_residue import MARK, places


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Storage:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    return storages["default"]


@pytest.mark.django_db
def test_files_are_searched_by_name_and_content_packed_ones_too(media: Storage) -> None:
    media.save(f"uploads/{MARK}.txt", ContentFile(b"nothing"))
    media.save("uploads/plain.txt", ContentFile(b"x" * 5000 + MARK.encode()))
    media.save("uploads/packed.gz", ContentFile(gzip.compress(MARK.encode())))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inner.txt", MARK * 3)
    media.save("office.docx", ContentFile(archive.getvalue()))
    assert {(hit.where, hit.column, hit.key) for hit in search([MARK])} == {
        ("storage default", "name", "uploads/***.txt"),
        ("storage default", "content", "uploads/plain.txt"),
        ("storage default", "content, unpacked", "uploads/packed.gz"),
        ("storage default", "content, unpacked", "office.docx"),
    }


@pytest.mark.django_db
@pytest.mark.parametrize("before", [0, 5, (1 << 20) - 10, 1 << 20])
def test_what_lies_across_two_chunks_of_a_file_is_found(media: Storage, before: int) -> None:
    media.save("large.bin", ContentFile(b"\0" * before + MARK.encode() + b"\0" * 5))
    assert places(search([MARK])) == {("storage default", "content", "plain")}


@pytest.mark.django_db
def test_a_damaged_archive_is_named_as_not_searched(media: Storage) -> None:
    media.save("broken.zip", ContentFile(b"PK\3\4 and no more"))
    found = search([MARK])
    assert not found
    assert "storage default: a packed file that is damaged or encrypted" in found.unsearched


@pytest.mark.django_db
def test_caches_are_searched(settings: Settings, tmp_path: Path) -> None:
    base = "django.core.cache.backends"
    settings.CACHES = {
        "default": {"BACKEND": f"{base}.locmem.LocMemCache", "LOCATION": "residue"},
        "file": {"BACKEND": f"{base}.filebased.FileBasedCache", "LOCATION": str(tmp_path)},
        "table": {"BACKEND": f"{base}.db.DatabaseCache", "LOCATION": "cache_table"},
        "far": {"BACKEND": "tests.erasure.test_residue_elsewhere.Far"},
        "none": {"BACKEND": f"{base}.dummy.DummyCache"},
    }
    call_command("createcachetable", verbosity=0)
    for alias in ("default", "file", "table"):
        caches[alias].set("of-somebody", {"who": MARK})
    caches["default"].set(f"of-{MARK}", 1)
    found = search([MARK])
    assert {(hit.where, hit.column) for hit in found} == {
        ("cache default", "value"),
        ("cache default", "key"),
        ("cache file", "value"),
        ("cache_table", "value"),
    }
    assert "cache far (Far): its entries cannot be listed; they expire" in found.unsearched
    assert any("every process keeps one of its own" in one for one in found.unsearched)
    caches["default"].clear()


class Far(BaseCache):
    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)


@pytest.mark.django_db
def test_mail_is_searched_as_its_reader_sees_it(settings: Settings, tmp_path: Path) -> None:
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    EmailMessage("subject", "body", to=[MARK]).send()
    assert {(hit.where, hit.column) for hit in search([MARK])} == {("mail outbox", "message")}
    base = "django.core.mail.backends"
    options = {"file_path": str(tmp_path)}
    settings.MAILERS = {
        "default": {"BACKEND": f"{base}.filebased.EmailBackend", "OPTIONS": options}
    }
    EmailMessage("other", "ä" * 200 + MARK, to=["x@example.org"]).send()
    assert ("mail folder", "message") in {(hit.where, hit.column) for hit in search([MARK])}


@pytest.mark.django_db
def test_sessions_in_files_are_searched(settings: Settings, tmp_path: Path) -> None:
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.file"
    settings.SESSION_FILE_PATH = str(tmp_path)
    FileStore._storage_path = str(tmp_path)  # type: ignore[attr-defined]
    store = FileStore()
    store["seen"] = [MARK] * 20
    store.save()
    assert {(hit.where, hit.column) for hit in search([MARK])} == {("session files", "session")}
    del FileStore._storage_path  # type: ignore[attr-defined]


class Unlisted(Storage):
    """A storage that can keep files and cannot say which."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        raise FileNotFoundError


class Broken(InMemoryStorage):
    """A storage whose files cannot be read."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        raise PermissionError


@pytest.mark.django_db
def test_storages_that_cannot_be_listed_or_read_are_named(settings: Settings) -> None:
    here = "tests.erasure.test_residue_elsewhere"
    settings.STORAGES = {
        **settings.STORAGES,
        "far": {"BACKEND": f"{here}.Unlisted"},
        "broken": {"BACKEND": f"{here}.Broken"},
    }
    storages["broken"].save("x.txt", ContentFile(b"x"))
    found = search([MARK])
    assert "storage far: its files cannot be listed" in found.unsearched
    assert "storage broken: a file that cannot be read (PermissionError)" in found.unsearched


@pytest.mark.django_db
def test_the_default_storage_is_left_alone_where_nobody_said_where_it_lies(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MEDIA_ROOT it is the folder that the process was started in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text(MARK)
    settings.MEDIA_ROOT = ""
    assert not search([MARK])


@task
def remind(address: str) -> None:
    """A task that is never run."""


@pytest.mark.django_db
def test_tasks_that_wait_are_searched_and_queues_elsewhere_are_named(settings: Settings) -> None:
    settings.TASKS = {
        "default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"},
        "far": {"BACKEND": "tests.erasure.test_residue_elsewhere.FarTasks"},
    }
    remind.enqueue(MARK)
    found = search([MARK])
    assert {(hit.where, hit.column) for hit in found} == {("tasks default", "arguments")}
    assert "tasks far (FarTasks): its queue cannot be listed" in found.unsearched


class FarTasks(BaseTaskBackend):
    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        raise NotImplementedError
