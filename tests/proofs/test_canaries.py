"""Canaries: a subject with a unique mark in every field that can hold one. Before the erasure each
mark is found, afterwards none is: not in a dump of the database, in files, caches or sessions."""

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import mail
from django.core.checks import run_checks
from django.core.files.storage import InMemoryStorage
from django.core.management import call_command
from django.db import connection, models
from django.db.models import DB_CASCADE
from django.utils import timezone
from pytest_django import Settings

from erasure.models import DeletionRequest
from erasure.physical import truncate_wal
from erasure.policies import DELETE, Anonymise, Detach, Loose
from erasure.residue import search
from erasure.subjects import get_kind
from tests.bystanders import charlie_untouched
from tests.erasure.throwaway import APP, planted, to_user
from tests.proofs.canaries import Planter, dump_database, find_in_dump, find_personal_fields, plant

UNMARKED = {
    "accounts.CanaryThread.answer": "It is somebody else's, who answered.",
}
"""Fields that no canary sits in, each with the reason."""

KEPT = {"billing.Subscription.customer", "billing.Subscription.subscription"}
"""What the order to cancel quotes, which is kept: it names nobody, and leads to the invoices."""

elsewhere = InMemoryStorage()


class Rich:
    """Models with a field of every type, reached over links, grandchildren and loose references."""

    def __init__(self) -> None:
        class CanaryDocument(models.Model):
            owner = to_user(null=True)
            title = models.CharField(max_length=50)
            body = models.TextField()
            home = models.URLField()
            facts = models.JSONField()
            raw = models.BinaryField()
            upload = models.FileField()
            copy = models.FileField(storage=elsewhere)
            size = models.IntegerField(default=0)

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "canary"

        class CanaryNote(models.Model):
            document = models.ForeignKey(CanaryDocument, DB_CASCADE, related_name="+")
            text = models.TextField()

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "canary"

        class CanaryTrace(models.Model):
            person = models.UUIDField()
            address = models.CharField(max_length=200)

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "canary"

        class CanaryThread(models.Model):
            starter = to_user(null=True)
            answerer = to_user(null=True)
            question = models.TextField()
            picture = models.FileField(blank=True)
            answer = models.TextField(default="")

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "canary"

        self.document, self.note = CanaryDocument, CanaryNote
        self.trace, self.thread = CanaryTrace, CanaryThread


@pytest.fixture
def rich(transactional_db: None, settings: Settings, tmp_path: Path) -> Iterator[None]:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    vars(elsewhere).update(vars(InMemoryStorage()))
    made = Rich()
    with (
        planted(
            made.document,
            links={"owner": DELETE},
            personal=["title", "body", "home", "facts", "raw", "upload", "copy"],
            opaque=["id", "size"],
        ),
        planted(made.note, links={"document": DELETE}, personal=["text"], opaque=["id"]),
        planted(
            made.trace,
            loose=[Loose("person", kind="*", fate=DELETE)],
            personal=["address"],
            opaque=["id"],
        ),
        planted(
            made.thread,
            links={
                "starter": Anonymise({"question": "", "picture": ""}, "Others answered."),
                "answerer": Detach("The thread is its starter's."),
            },
            personal=["question", "picture", "answer"],
            opaque=["id"],
        ),
    ):
        yield


def erase(planter: Planter) -> None:
    """Let the purge find a deletion of the subject that is due."""
    past = timezone.now() - timedelta(days=30)
    kind = get_kind(planter.subject.kind)
    kind.model._base_manager.filter(pk=planter.subject.id).update(is_deleted=True)
    DeletionRequest.objects.create(
        subject_kind=planter.subject.kind,
        subject_id=planter.subject.id,
        channel="test",
        requested_by_kind="system",
        requested_at=past,
        due_at=past,
    )
    call_command("purge_accounts", "--execute", stdout=io.StringIO())
    assert DeletionRequest.objects.get(subject_id=planter.subject.id).state == "completed"


@pytest.mark.parametrize("kind", ["user", "organization"])
def test_every_mark_is_found_before_the_erasure_and_none_afterwards(rich: None, kind: str) -> None:
    with charlie_untouched():
        planter = plant(kind)
        marks = list(planter.marks)

        before = search(marks)
        missed = {planter.marks[marks[n]] for n in range(len(marks))} - {
            planter.marks[marks[hit.needle]] for hit in before
        }
        assert not missed, f"The search does not find {missed}"
        assert not before.is_cut
        in_dump = find_in_dump(dump_database(), planter.marks)
        assert in_dump >= set(marks) - planter.packed - planter.inside

        erase(planter)
        # What was delivered is out of the house; nothing is queued.
        mail.outbox.clear()

        marks = [mark for mark in marks if planter.marks[mark] not in KEPT]
        after = search(marks)
        assert not list(after), (
            f"Left: {[(hit, planter.marks[marks[hit.needle]]) for hit in after]}"
        )
        left = find_in_dump(dump_database(), {mark: planter.marks[mark] for mark in marks})
        assert not left, f"Left in the dump: {[planter.marks[mark] for mark in left]}"
        if connection.vendor == "sqlite":
            assert truncate_wal().truncated
            assert not list(search(marks, raw=True))


def test_every_personal_field_holds_a_canary(rich: None) -> None:
    """So that a model which nobody thought of cannot slip through the test above."""
    marked = {field for kind in ("user", "organization") for field in plant(kind).marks.values()}
    assert find_personal_fields() - marked == set(UNMARKED), (
        "A personal field holds no canary. Is there a link or a loose reference that leads to its "
        "model? Otherwise add it to UNMARKED, with the reason."
    )


def test_a_row_that_the_erasure_misses_is_found(rich: None) -> None:
    """The positive control: a table that nobody declared keeps its mark, and the search sees it."""
    planter = plant("user")
    mark = next(iter(planter.marks))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE forgotten (id integer PRIMARY KEY, text varchar(99))")
        cursor.execute("INSERT INTO forgotten VALUES (1, %s)", [f"of {mark}"])
    try:
        erase(planter)
        assert [(hit.where, hit.column, hit.key) for hit in search([mark])] == [
            ("forgotten", "text", "1")
        ]
        assert find_in_dump(dump_database(), planter.marks) == {mark}
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE forgotten")


def find_errors(model: type[models.Model]) -> list[str]:
    """Return what Django's checks have against a model."""
    label = model._meta.label
    return [str(found) for found in run_checks() if label in str(found)]


@pytest.mark.django_db(transaction=True)
def test_a_model_without_a_policy_fails_the_check() -> None:
    class CanaryForgotten(models.Model):
        user = to_user()
        text = models.TextField()

        class Meta:
            app_label = APP

        def __str__(self) -> str:
            return "canary"

    with planted(CanaryForgotten):
        assert find_errors(CanaryForgotten)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("left_out", ["text", "file", "person", "nothing"])
def test_a_field_or_a_loose_reference_without_a_fate_fails_the_check(left_out: str) -> None:
    class CanaryHalf(models.Model):
        user = to_user()
        text = models.TextField()
        file = models.FileField()
        person = models.UUIDField(db_index=True)

        class Meta:
            app_label = APP

        def __str__(self) -> str:
            return "canary"

    declaration = {
        "links": {"user": DELETE},
        "loose": [Loose("person", kind="user", fate=DELETE)] if left_out != "person" else [],
        "personal": {"text", "file"} - {left_out},
        "opaque": ["id"],
    }
    with planted(CanaryHalf, **declaration):
        assert bool(find_errors(CanaryHalf)) == (left_out != "nothing")
