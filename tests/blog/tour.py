"""One author's way out of the blog, from preview to receipt; prints what happened as JSON.

It runs in a process of its own, with the blog's settings: ``python -m tests.blog.tour FOLDER``.
"""

import io
import json
import sys
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

django.setup()

from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core import mail
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.serializers import serialize
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from erasure import receipts, signing
from erasure.deleting import restore, schedule_deletion
from erasure.executor import erase_now
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest
from erasure.people import person_of
from erasure.planner import make_plan
from erasure.subjects import get_kind
from tests.blog.models import Author, Comment, Post, Upload

SYSTEM = Actor.system("tour")
BYSTANDERS = ("auth.User", "blog.Author", "blog.Post", "blog.Comment", "blog.Upload")


def make_author(name: str, email: str = "", **flags: Any) -> Author:
    user = User.objects.create_user(name, email, "correct horse", **flags)
    return Author.objects.create(user=user, pen_name=name.title())


def write(author: Author, **links: Any) -> Post:
    post = Post.objects.create(author=author, title=f"By {author}", text="Marrow.", **links)
    Upload.objects.create(
        author=author, post=post, file=ContentFile(str(author).encode(), f"{author}.txt")
    )
    return post


def make_world() -> tuple[Author, Author]:
    """Alice who leaves and Charlie who stays, in each other's posts and threads."""
    staff = make_author("staff", is_staff=True, is_superuser=True)
    Comment.objects.create(post=write(staff), text="Left no address.")
    alice, charlie = make_author("alice", "Alice@example.com"), make_author("charlie")
    hers, his = write(alice), write(charlie, editor=alice)
    first = Comment.objects.create(post=his, author=charlie, text="Mine.")
    mine = Comment.objects.create(post=his, author=alice, answers=first, text="Alice's.")
    Comment.objects.create(post=his, author=charlie, answers=mine, text="To Alice.")
    Comment.objects.create(post=hers, author=charlie, text="On her post.")
    Comment.objects.create(post=his, email="alice@EXAMPLE.com", text="Not signed in.")
    Client().force_login(alice.user)
    log(charlie, alice)
    return alice, charlie


def log(who: Author, whom: Author) -> None:
    LogEntry.objects.create(
        user=who.user,
        content_type=ContentType.objects.get_for_model(User),
        object_id=str(whom.user_id),
        object_repr=str(whom),
        action_flag=CHANGE,
    )


def rows() -> dict[str, str]:
    """Every row of the blog as text, by model and key."""
    return {
        f"{label} {row.pk}": serialize("json", [row])
        for label in BYSTANDERS
        for row in apps.get_model(label)._default_manager.all()
    }


def run(*arguments: str) -> str:
    out = io.StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        out.write(f"exit {end.code}")
    return out.getvalue()


def tour(folder: Path) -> dict[str, Any]:
    alice, charlie = make_world()
    kind = get_kind("author")
    subject = Reference("author", kind.id_of(alice.user_id))
    file = Path(alice.upload_set.get().file.path)
    told: dict[str, Any] = {"file_before": file.exists()}

    told["plan"] = make_plan(subject).as_facts()
    told["dry_run"] = json.loads(run("erase_author", "alice", "--json"))
    run("export_user", "alice", "--output", str(folder / "alice.zip"))
    with zipfile.ZipFile(folder / "alice.zip") as archive:
        told["exported"] = sorted(archive.namelist())
    told["map"] = [row["label"] for row in json.loads(run("erasure_map", "--format", "json"))]

    now = timezone.now()
    staff = Client()
    staff.force_login(User.objects.get(username="staff"))
    schedule_deletion(actor=SYSTEM, subject=subject, now=now)
    told["login_while_deleted"] = Client().login(username="alice", password="correct horse")
    restore(actor=SYSTEM, subject=subject, now=now)
    told["login_when_restored"] = Client().login(username="alice", password="correct horse")
    before = rows()
    deletion = schedule_deletion(
        actor=person_actor("staff"), subject=subject, now=now - timedelta(days=8)
    )
    told["desk_before"] = look(staff, deletion.pk)
    told["purge_dry_run"] = json.loads(run("purge_accounts", "--json"))
    told["purge"] = json.loads(run("purge_accounts", "--execute", "--json"))
    told["purge_again"] = json.loads(run("purge_accounts", "--execute", "--json"))
    told["sweep"] = json.loads(run("sweep", "--execute", "--json"))
    told["worker"] = run("worker", "--once")
    deletion.refresh_from_db()
    told["desk_after"] = look(staff, deletion.pk)
    told["state"] = deletion.state
    told["file_after"] = file.exists()
    after = rows()
    told["gone"] = sorted(before.keys() - after.keys())
    told["changed"] = sorted(key for key in after if before.get(key) != after[key])
    told["log"] = list(LogEntry.objects.values_list("object_repr", flat=True))
    told["ledger"] = [
        entry.state for _, entry in open_ledger().read() if entry.deletion_id == deletion.pk
    ]
    told["mails"] = [(it.subject, it.to) for it in mail.outbox]
    # They are sent: this outbox only keeps them for tests, and the search would find them.
    mail.outbox.clear()
    told["residue"] = run("verify_erasure", "alice@example.com", "--json")
    told["keys_served"] = staff.get("/.well-known/jwks.json").json() == signing.key_set()
    (folder / "receipt.jws").write_text(receipts.receipt_of(deletion))
    told["subject"] = str(subject.id)

    # Charlie has no address, and yet a comment that has none is not his.
    erase_now(actor=SYSTEM, subject=person_of(charlie.user), now=timezone.now())
    told["comments_left"] = list(Comment.objects.values_list("text", flat=True))
    told["users_left"] = list(User.objects.values_list("username", flat=True))
    told["ours"] = sorted(
        {name.partition(".")[0] for name in sys.modules}
        & {"accounts", "organizations", "apikeys", "contracts", "config", "rest_framework"}
    )
    return told


def person_actor(username: str) -> Actor:
    """A member of staff as the desk names them: their rights are looked up again by it."""
    person = person_of(User.objects.get(username=username))
    return Actor(kind=person.kind, id=person.id, channel="tour", person_id=person.id)


def look(staff: Client, deletion: Any) -> list[int]:
    """Open the review desk's pages and return how each answers."""
    desk = "/admin/erasure/deletionrequest/"
    found = [staff.get(desk), staff.get(f"{desk}?q=alice"), staff.get(f"{desk}{deletion}/change/")]
    found += [staff.get(f"/admin/{it}/") for it in ("erasure/legalhold", "audit/auditevent")]
    return [one.status_code for one in found]


if __name__ == "__main__":
    assert DeletionRequest.objects.count() == 0
    json.dump(tour(Path(sys.argv[1])), sys.stdout)
