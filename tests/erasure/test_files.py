"""Stored files go with their rows: after the commit, after a crash, and never while another row
names them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage, Storage, storages
from django.db import models, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from erasure import files
from erasure.closure import closure_of
from erasure.models import DoomedFile
from erasure.policies import DELETE, Anonymise, Detach
from tests.bystanders import charlie_untouched
from tests.erasure.throwaway import APP, planted, to_user
from tests.factories import UserFactory

elsewhere = InMemoryStorage()


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Storage:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    vars(elsewhere).update(vars(InMemoryStorage()))
    return storages["default"]


@pytest.fixture
def upload(transactional_db: None, media: Storage) -> Iterator[Any]:
    class PlantedUpload(models.Model):
        user = to_user(null=True)
        text = models.TextField(default="")
        file = models.FileField()
        copy = models.FileField(storage=elsewhere, blank=True)

        class Meta:
            app_label = APP

        def __str__(self) -> str:
            return "planted"

    declaration = {
        "links": {"user": DELETE},
        "personal": ["file", "copy", "text"],
        "opaque": ["id"],
    }
    with planted(PlantedUpload, **declaration) as model:
        yield model


def give(model: Any, user: User, name: str, copy: str = "") -> Any:
    row = model(user=user)
    row.file.save(name, ContentFile(b"content"), save=False)
    if copy:
        row.copy.save(copy, ContentFile(b"content"), save=False)
    row.save()
    return row


def erase(user: User) -> int:
    """Erase as the executor does: note, remove rows, commit."""
    with transaction.atomic():
        noted = files.note_files("user", [user.pk], now=timezone.now())
        closure_of("user").carry_out([user.pk])
    return noted


def test_files_go_when_the_rows_are_gone(upload: Any, media: Storage) -> None:
    with charlie_untouched():
        charlie = User.objects.get(username="charlie")
        give(upload, charlie, "charlie.txt", "charlie-copy.txt")
        ann = UserFactory()
        give(upload, ann, "one.txt", "copy.txt")
        give(upload, ann, "two.txt")
        assert erase(ann) == 3
        assert media.listdir("")[1] == ["charlie.txt"]
        assert elsewhere.listdir("")[1] == ["charlie-copy.txt"]
        assert not DoomedFile.objects.exists()


def test_nothing_is_removed_when_the_erasure_is_rolled_back(upload: Any, media: Storage) -> None:
    ann = UserFactory()
    give(upload, ann, "one.txt")
    with transaction.atomic():
        files.note_files("user", [ann.pk], now=timezone.now())
        closure_of("user").carry_out([ann.pk])
        transaction.set_rollback(True)
    assert files.remove_noted() == 0
    assert media.exists("one.txt")
    assert not DoomedFile.objects.exists()


def test_a_crash_after_the_commit_forgets_no_file(
    upload: Any, media: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = UserFactory()
    give(upload, ann, "one.txt")
    with monkeypatch.context() as crash:
        crash.setattr(files, "remove_noted", lambda: 0)
        erase(ann)
    assert media.exists("one.txt")
    assert files.count_noted() == 1
    assert files.remove_noted() == 1
    assert files.remove_noted() == 0
    assert not media.exists("one.txt")
    assert files.count_noted() == 0


def test_a_crash_between_file_and_note_is_made_good(upload: Any, media: Storage) -> None:
    DoomedFile.objects.create(
        field=f"{APP}.PlantedUpload.file", name="gone-already.txt", noted_at=timezone.now()
    )
    DoomedFile.objects.create(
        field=f"{APP}.PlantedUpload.file", name="../outside.txt", noted_at=timezone.now()
    )
    assert files.remove_noted() == 2
    assert not DoomedFile.objects.exists()


def test_a_file_that_another_row_names_stays_until_none_does(upload: Any, media: Storage) -> None:
    ann, bob = UserFactory(), UserFactory()
    row = give(upload, ann, "shared.txt")
    other = upload.objects.create(user=bob, file=row.file.name)
    erase(ann)
    assert media.exists("shared.txt")
    other.delete()
    assert files.remove_noted() == 1
    assert not media.exists("shared.txt")


def test_the_same_name_in_another_storage_is_another_file(upload: Any, media: Storage) -> None:
    ann, bob = UserFactory(), UserFactory()
    give(upload, ann, "name.txt")
    give(upload, bob, "other.txt", "name.txt")
    erase(ann)
    assert not media.exists("name.txt")
    assert elsewhere.exists("name.txt")


def test_a_storage_that_fails_keeps_its_notes_and_the_others_go_on(
    upload: Any, media: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ann = UserFactory()
    give(upload, ann, "secret-name.txt", "copy.txt")
    with monkeypatch.context() as broken:
        broken.setattr(elsewhere, "delete", lambda name: (_ for _ in ()).throw(OSError(name)))
        erase(ann)
    assert not media.exists("secret-name.txt")
    assert [note.name for note in DoomedFile.objects.all()] == ["copy.txt"]
    assert "copy.txt" not in caplog.text
    assert files.remove_noted() == 1


def test_more_files_than_are_looked_at_in_one_go(
    upload: Any, media: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "AT_ONCE", 3)
    ann, bob = UserFactory(), UserFactory()
    kept = give(upload, ann, "0-kept.txt")
    upload.objects.create(user=bob, file=kept.file.name)
    for number in range(8):
        give(upload, ann, f"{number}.txt")
    assert erase(ann) == 9
    assert media.listdir("")[1] == ["0-kept.txt"]


@pytest.mark.django_db(transaction=True)
def test_an_overwritten_field_loses_its_file_and_a_detached_row_keeps_it(media: Storage) -> None:
    class PlantedNote(models.Model):
        author = to_user(null=True)
        reviewer = to_user(null=True)
        picture = models.FileField(blank=True)
        report = models.FileField(blank=True)

        class Meta:
            app_label = APP

        def __str__(self) -> str:
            return "planted"

    declaration = {
        "links": {
            "author": Anonymise({"picture": ""}, "Others answered it."),
            "reviewer": Detach("It is its author's."),
        },
        "personal": ["picture"],
        "opaque": ["id", "report"],
    }
    with planted(PlantedNote, **declaration) as model:
        ann = UserFactory()
        row = model(author=ann)
        row.picture.save("ann.png", ContentFile(b"x"), save=False)
        row.report.save("report.pdf", ContentFile(b"x"), save=False)
        row.save()
        other = model(reviewer=ann)
        other.picture.save("other.png", ContentFile(b"x"), save=False)
        other.save()
        assert erase(ann) == 1
        assert sorted(media.listdir("")[1]) == ["other.png", "report.pdf"]
        row.refresh_from_db()
        assert (row.author_id, row.picture.name, row.report.name) == (None, "", "report.pdf")


@pytest.mark.django_db
def test_models_without_files_cost_no_query(django_assert_num_queries: Any) -> None:
    ann = UserFactory()
    with django_assert_num_queries(0):
        assert files.note_files("user", [ann.pk], now=timezone.now()) == 0
