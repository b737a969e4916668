"""The export: all of one person's data, and nothing of anybody else's."""

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection, connections, models, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent, EventDetail
from erasure.exceptions import SubjectNotFound
from erasure.export import export_subject, open_export
from erasure.models import LegalHold
from erasure.policies import DELETE, Anonymise, Detach, Keep, Loose
from tests.bystanders import charlie_untouched
from tests.erasure.throwaway import APP, planted, to_user
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

ACTOR = Actor.system("test")


class Archive:
    """A finished export, unpacked."""

    def __init__(self, subject: Reference) -> None:
        self.file = io.BytesIO()
        self.exported = export_subject(
            actor=ACTOR, subject=subject, into=self.file, now=timezone.now()
        )
        self.zip = zipfile.ZipFile(self.file)
        self.manifest = json.loads(self.zip.read("manifest.json"))
        self.readme = self.zip.read("README.txt").decode()

    def data(self, label: str) -> Any:
        return json.loads(self.zip.read(f"data/{label.lower()}.json"))

    def everything(self) -> str:
        return "\n".join(
            self.zip.read(name).decode(errors="replace") for name in self.zip.namelist()
        )


def of(user: User) -> Archive:
    return Archive(Reference("user", user.pk))


@pytest.mark.django_db
def test_it_holds_what_is_held_with_names_and_values() -> None:
    with charlie_untouched():
        ann = UserFactory(username="ann", email="ann@example.org", name="Änn")
        MembershipFactory(user=ann, role="owner")
        give_key(ann)
        archive = of(ann)
        user = archive.data("accounts.User")
        assert user["model"] == "accounts.User"
        (row,) = user["rows"]
        assert (row["id"], row["username"], row["email"]) == (str(ann.pk), "ann", "ann@example.org")
        assert row["name"] == "Änn"
        assert set(row) == set(user["fields"])
        assert [one["role"] for one in archive.data("organizations.Membership")["rows"]] == [
            "owner"
        ]
        assert len(archive.data("apikeys.ApiKey")["rows"]) == 1


@pytest.mark.django_db
def test_secrets_are_left_out_and_it_says_so() -> None:
    ann = UserFactory(password="argon2$secret-hash")
    SessionFactory(user=ann, session_data="signed-in-data")
    secret = give_key(ann)
    archive = of(ann)
    everything = archive.everything()
    assert "argon2$secret-hash" not in everything
    assert "signed-in-data" not in everything
    assert secret not in everything
    assert "digest" in archive.data("apikeys.ApiKey")["left_out"]
    assert "digest" not in archive.data("apikeys.ApiKey")["rows"][0]
    assert archive.data("accounts.User")["left_out"] == ["password"]
    assert "Left out: password." in archive.readme


@pytest.mark.django_db
def test_nobody_elses_data_is_in_it() -> None:
    with charlie_untouched():
        ann = UserFactory(username="ann")
        bob = UserFactory(
            username="bobby-stranger", email="bob@stranger.example", name="Bob Stranger"
        )
        organization = OrganizationFactory()
        MembershipFactory(user=ann, organization=organization)
        MembershipFactory(user=bob, organization=organization)
        InvitationFactory(organization=organization, invited_by=ann, email="guest@stranger.example")
        archive = of(ann)
        everything = archive.everything().lower()
        assert "stranger" not in everything
        assert "charlie" not in everything
        assert str(bob.pk) not in everything


@pytest.mark.django_db
def test_a_row_that_only_mentions_the_subject_shows_the_link_alone() -> None:
    ann = UserFactory()
    invitation = InvitationFactory(invited_by=ann, email="guest@stranger.example")
    mine = InvitationFactory(email=ann.email.upper())
    found = of(ann).data("organizations.Invitation")
    assert found["mentions"] == [{"id": str(invitation.pk), "invited_by": str(ann.pk)}]
    assert [(one["id"], one["email"]) for one in found["rows"]] == [(str(mine.pk), mine.email)]


@pytest.mark.django_db
def test_what_staff_wrote_of_others_is_not_theirs() -> None:
    staff, ann = UserFactory(is_staff=True), UserFactory()
    for subject, placed_by, reason in ((ann, staff, "about ann"), (staff, ann, "about staff")):
        LegalHold.objects.create(
            subject_kind="user",
            subject_id=subject.pk,
            reason=reason,
            placed_at=timezone.now(),
            placed_by_id=placed_by.pk,
        )
    found = of(staff).data("erasure.LegalHold")
    assert [row["reason"] for row in found["rows"]] == ["about staff"]
    assert [row["placed_by_id"] for row in found["mentions"]] == [str(staff.pk)]
    assert "about ann" not in json.dumps(found)


@pytest.mark.django_db
def test_events_and_their_personal_details_are_in_it() -> None:
    ann = UserFactory()
    event = AuditEvent.objects.create(
        at=timezone.now(),
        action="user.changed",
        actor_kind="user",
        actor_id=ann.pk,
        channel="test",
    )
    EventDetail.objects.create(
        event_id=event.pk, person_id=ann.pk, field="address", value="192.0.2.9"
    )
    archive = of(ann)
    assert [one["action"] for one in archive.data("audit.AuditEvent")["rows"]] == ["user.changed"]
    assert [one["value"] for one in archive.data("audit.EventDetail")["rows"]] == ["192.0.2.9"]


@pytest.mark.django_db
def test_the_manifest_counts_and_the_readme_explains() -> None:
    ann = UserFactory()
    MembershipFactory.create_batch(3, user=ann)
    archive = of(ann)
    counted = {one["model"]: one["rows"] for one in archive.manifest["contents"]}
    assert counted["organizations.Membership"] == 3
    assert counted["accounts.User"] == 1
    assert archive.manifest["rows"] == sum(counted.values()) == archive.exported.rows
    assert archive.manifest["subject"]["kind"] == "user"
    assert archive.manifest["subject"]["id"].startswith("usr_")
    assert "data/organizations.membership.json (3 records)" in archive.readme
    for article in ("Art. 15(3)", "Art. 20", "Art. 17", "Art. 77"):
        assert article in archive.readme
    assert "Nothing is held on you under:" in archive.readme
    assert all(len(line) <= 78 for line in archive.readme.splitlines())


@pytest.mark.django_db
def test_the_log_says_that_it_was_made_and_not_what_is_in_it() -> None:
    ann = UserFactory(username="ann-in-the-log")
    of(ann)
    event = AuditEvent.objects.get(action="user.exported")
    assert (event.subject_id, event.actor_kind, event.channel) == (ann.pk, "system", "test")
    assert set(event.facts) == {"models", "rows", "mentions", "files", "missing"}


@pytest.mark.django_db
def test_who_is_not_there_has_no_export() -> None:
    ann = UserFactory.build()
    with pytest.raises(SubjectNotFound):
        of(ann)
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_an_organization_has_one_too_and_names_those_that_it_manages() -> None:
    managed = ManagedUserFactory(user__name="Managed Stranger")
    archive = Archive(Reference("organization", managed.organization_id))
    assert len(archive.data("organizations.ManagedUser")["rows"]) == 1
    (companion,) = archive.manifest["companions"]
    assert companion.startswith("usr_")
    assert companion in archive.readme
    assert "Managed Stranger" not in archive.everything()


@pytest.mark.django_db
def test_an_open_export_starts_at_its_beginning() -> None:
    ann = UserFactory()
    with (
        open_export(actor=ACTOR, subject=Reference("user", ann.pk), now=timezone.now()) as file,
        zipfile.ZipFile(file) as archive,
    ):
        assert archive.testzip() is None
        assert "README.txt" in archive.namelist()


@pytest.mark.django_db(transaction=True)
def test_all_tables_are_read_as_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A colleague's change in the middle of the export is in no table of it."""
    ann = UserFactory()
    MembershipFactory(user=ann)

    def intrude(what: str, done: int, total: int) -> None:
        if done != 1:
            return
        other = connections.create_connection("default")
        try:
            with other.cursor() as cursor:
                cursor.execute("DELETE FROM organizations_membership")
        finally:
            other.close()

    file = io.BytesIO()
    export_subject(
        actor=ACTOR,
        subject=Reference("user", ann.pk),
        into=file,
        now=timezone.now(),
        on_progress=intrude,
    )
    with zipfile.ZipFile(file) as archive:
        assert len(json.loads(archive.read("data/organizations.membership.json"))["rows"]) == 1
    assert not ann.memberships.exists()
    assert not connection.in_atomic_block


class Planted:
    """A post with comments under it, tickets, invoices: every fate there is."""

    def __init__(self) -> None:
        class PlantedPost(models.Model):
            author = to_user(null=True)
            text = models.TextField()
            picture = models.FileField(blank=True)
            raw = models.BinaryField(default=bytes)
            document = models.JSONField(default=dict)

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "planted"

        class PlantedComment(models.Model):
            post = models.ForeignKey(PlantedPost, models.DB_CASCADE, related_name="+")
            author = to_user(null=True)
            text = models.TextField()

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "planted"

        class PlantedLike(models.Model):
            comment = models.ForeignKey(PlantedComment, models.DB_CASCADE, related_name="+")
            mood = models.TextField()

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "planted"

        class PlantedTicket(models.Model):
            customer = to_user(null=True)
            agent = to_user(null=True)
            customer_name = models.TextField()
            agent_name = models.TextField()

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "planted"

        class PlantedInvoice(models.Model):
            payer = models.UUIDField()
            address = models.TextField()

            class Meta:
                app_label = APP

            def __str__(self) -> str:
                return "planted"

        self.post, self.comment, self.like = PlantedPost, PlantedComment, PlantedLike
        self.ticket, self.invoice = PlantedTicket, PlantedInvoice


@pytest.fixture
def blog(transactional_db: None, settings: Settings, tmp_path: Path) -> Any:
    settings.MEDIA_ROOT = str(tmp_path)
    made = Planted()
    with (
        planted(
            made.post,
            links={"author": DELETE},
            personal=["text", "picture", "raw", "document"],
            opaque=["id"],
        ),
        planted(
            made.comment,
            links={"post": DELETE, "author": DELETE},
            personal=["text"],
            opaque=["id"],
        ),
        planted(made.like, links={"comment": DELETE}, personal=["mood"], opaque=["id"]),
        planted(
            made.ticket,
            links={
                "customer": Anonymise({"customer_name": ""}, "The agent's answer stays."),
                "agent": Detach("It is the customer's."),
            },
            personal=["customer_name", "agent_name"],
            opaque=["id"],
        ),
        planted(
            made.invoice,
            loose=[
                Loose(
                    "payer",
                    kind="user",
                    fate=Keep("Tax law.", "Art. 17(3)(b) GDPR", timedelta(days=3650)),
                )
            ],
            personal=["address"],
            opaque=["id"],
        ),
    ):
        yield made


def test_a_strangers_comment_on_ones_post_is_a_mention(blog: Any) -> None:
    ann, bob = UserFactory(), UserFactory()
    post = blog.post.objects.create(author=ann, text="ann's post")
    foreign = blog.post.objects.create(author=bob, text="bob's post")
    stranger = blog.comment.objects.create(post=post, author=bob, text="bob's comment")
    own = blog.comment.objects.create(post=foreign, author=ann, text="ann's comment")
    blog.like.objects.create(comment=own, mood="of ann's comment")
    like = blog.like.objects.create(comment=stranger, mood="of bob's comment")
    archive = of(ann)
    comments = archive.data(f"{APP}.PlantedComment")
    assert [row["text"] for row in comments["rows"]] == ["ann's comment"]
    assert comments["mentions"] == [{"id": stranger.pk, "post": post.pk}]
    likes = archive.data(f"{APP}.PlantedLike")
    assert [row["mood"] for row in likes["rows"]] == ["of ann's comment"]
    assert likes["mentions"] == [{"id": like.pk, "comment": stranger.pk}]
    assert "bob's" not in archive.everything()


def test_of_a_row_with_two_people_only_ones_own_fields_are_shown(blog: Any) -> None:
    ann, agent = UserFactory(), UserFactory()
    ticket = blog.ticket.objects.create(
        customer=ann, agent=agent, customer_name="Ann", agent_name="Agent Smith"
    )
    (row,) = of(ann).data(f"{APP}.PlantedTicket")["rows"]
    assert row["customer_name"] == "Ann"
    assert "agent_name" not in row
    found = of(agent).data(f"{APP}.PlantedTicket")
    assert found["rows"] == []
    assert found["mentions"] == [{"id": ticket.pk, "agent": str(agent.pk)}]


def test_what_is_kept_by_law_is_in_it_with_reason_and_retention(blog: Any) -> None:
    ann = UserFactory()
    blog.invoice.objects.create(payer=ann.pk, address="1 Ann Street")
    archive = of(ann)
    (row,) = archive.data(f"{APP}.PlantedInvoice")["rows"]
    assert row["address"] == "1 Ann Street"
    readme = " ".join(archive.readme.split())
    assert "Kept for 10 years after the erasure. Tax law. Legal basis: Art. 17(3)(b)" in readme


def test_files_bytes_and_documents_are_in_it(blog: Any) -> None:
    ann = UserFactory()
    post = blog.post(author=ann, text="x", raw=b"\0\xff", document={"deep": ["ä"]})
    post.picture.save("holiday.png", ContentFile(b"pixels" * 1000))
    gone = blog.post.objects.create(author=ann, text="y", picture="gone.png")
    odd = blog.post.objects.create(author=ann, text="z", picture="../../etc/passwd")
    archive = of(ann)
    rows = {row["id"]: row for row in archive.data(f"{APP}.PlantedPost")["rows"]}
    row = rows[post.pk]
    assert row["raw"] == {"base64": "AP8="}
    assert row["document"] == {"deep": ["ä"]}
    assert archive.zip.read(row["picture"]["file"]) == b"pixels" * 1000
    assert (archive.manifest["files"], archive.manifest["missing"]) == (1, 2)
    assert rows[gone.pk]["picture"]["name"] == "gone.png"
    assert ".." not in rows[odd.pk]["picture"]["file"]
    assert "2 stored files are named but no longer there." in archive.readme


def test_memory_does_not_grow_with_the_rows(blog: Any) -> None:
    import tracemalloc

    ann = UserFactory()

    def peak(rows: int) -> int:
        with transaction.atomic():
            blog.post.objects.bulk_create(
                (blog.post(author=ann, text="t" * 1000) for _ in range(rows)), batch_size=500
            )
        with Path("/dev/null").open("wb") as nowhere:
            tracemalloc.start()
            export_subject(
                actor=ACTOR,
                subject=Reference("user", ann.pk),
                into=nowhere,
                now=timezone.now(),
            )
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most

    peak(1)
    few, many = peak(2000), peak(8000)
    assert many < few + 2_000_000
