"""A small world of models, of every shape that a closure must cope with, and its policies.

Subjects have whole numbers as keys. Nothing here is installed: the tables are made for a test and
dropped after it.
"""

from typing import Any, ClassVar

from django.apps.registry import Apps
from django.db import connection, models
from django.db.models import CASCADE, DB_CASCADE, DB_SET_NULL, DO_NOTHING, Q

from erasure.closure import Closure
from erasure.policies import DELETE, Anonymise, Detach, Fate, Keep, Loose, Policy
from erasure.subjects import SubjectKind

registry = Apps()


class Planted(models.Model):
    objects: ClassVar[models.Manager[Any]] = models.Manager()

    class Meta:
        abstract = True
        app_label = "planted"
        apps = registry


class Author(Planted):
    handle = models.CharField(max_length=20, unique=True)
    email = models.EmailField(blank=True)

    class Meta(Planted.Meta):
        pass


class Post(Planted):
    author = models.ForeignKey(Author, CASCADE)
    title = models.CharField(max_length=50)
    best = models.ForeignKey("Comment", DB_SET_NULL, null=True, related_name="+")

    class Meta(Planted.Meta):
        pass


class Comment(Planted):
    post = models.ForeignKey(Post, DB_CASCADE)
    parent = models.ForeignKey("self", DB_CASCADE, null=True)
    author = models.ForeignKey(Author, DB_SET_NULL, null=True)
    approved_by = models.ForeignKey(Author, DB_SET_NULL, null=True, related_name="+")

    class Meta(Planted.Meta):
        pass


class Like(Planted):
    """Reached over the post, over the comment and from the author: a diamond."""

    post = models.ForeignKey(Post, DB_CASCADE, null=True)
    comment = models.ForeignKey(Comment, DB_CASCADE, null=True)
    author = models.ForeignKey(Author, DB_CASCADE)

    class Meta(Planted.Meta):
        pass


class Badge(Planted):
    """Names its author by a column that is not the key."""

    handle = models.ForeignKey(Author, DB_CASCADE, to_field="handle")

    class Meta(Planted.Meta):
        pass


class Folder(Planted):
    owner = models.ForeignKey(Author, DB_CASCADE, null=True)
    cover = models.ForeignKey("File", DB_CASCADE, null=True, related_name="+")

    class Meta(Planted.Meta):
        pass


class File(Planted):
    """A folder shows a file of another folder, which goes with it: tables in a circle."""

    id = models.UUIDField(primary_key=True)
    folder = models.ForeignKey(Folder, DB_CASCADE)

    class Meta(Planted.Meta):
        pass


class Media(Planted):
    size = models.IntegerField()

    class Meta(Planted.Meta):
        pass


class Photo(Media):
    """Half of its row lies in the table of its base."""

    post = models.ForeignKey(Post, CASCADE)

    class Meta(Planted.Meta):
        pass


class Caption(Planted):
    media = models.ForeignKey(Media, CASCADE)

    class Meta(Planted.Meta):
        pass


class Subscriber(Planted):
    address = models.CharField(max_length=50)
    is_fixed = models.BooleanField(default=False)

    class Meta(Planted.Meta):
        pass


class Entry(Planted):
    """Names what it is about in words: a kind and a key, as text."""

    kind = models.CharField(max_length=10)
    key = models.CharField(max_length=40)
    text = models.CharField(max_length=50)

    class Meta(Planted.Meta):
        pass


class Invoice(Planted):
    author = models.ForeignKey(Author, DO_NOTHING, db_constraint=False, null=True)
    amount = models.IntegerField()

    class Meta(Planted.Meta):
        pass


class Pin(Planted):
    """Says in words who put it there, and stays."""

    by = models.CharField(max_length=20, blank=True)

    class Meta(Planted.Meta):
        pass


class Chore(Planted):
    arguments = models.JSONField()

    class Meta(Planted.Meta):
        pass


class Rating(Planted):
    """Stays, with the reviewer's words overwritten and the link cleared."""

    author = models.ForeignKey(Author, DB_SET_NULL, null=True)
    words = models.CharField(max_length=50)
    stars = models.IntegerField()

    class Meta(Planted.Meta):
        pass


TAX = Keep("The tax office asks for it.", "Art. 17(3)(b) GDPR", None)
THEIRS = Detach("Others read it too.")


def links(**fates: Fate) -> dict[str, Fate]:
    return fates


def declare(
    model: type[models.Model], link: dict[str, Fate], loose: tuple[Loose, ...] = ()
) -> Policy:
    nothing: frozenset[str] = frozenset()
    return Policy(model._meta.label, link, loose, nothing, nothing, nothing, {}, "")


def match_titles(author: Any) -> Q:
    return Q(text=f"about {author.handle}")


POLICIES: dict[type[models.Model], Policy] = {
    model: declare(model, link, loose)
    for model, link, loose in (
        (Author, links(), ()),
        (Post, links(author=DELETE, best=THEIRS), ()),
        (
            Comment,
            links(post=DELETE, parent=DELETE, author=THEIRS, approved_by=THEIRS),
            (),
        ),
        (Like, links(post=DELETE, comment=DELETE, author=DELETE), ()),
        (Badge, links(handle=DELETE), ()),
        (Folder, links(owner=DELETE, cover=DELETE), ()),
        (File, links(folder=DELETE), ()),
        (Media, links(), ()),
        (Photo, links(media_ptr=DELETE, post=DELETE), ()),
        (Caption, links(media=DELETE), ()),
        (
            Subscriber,
            links(),
            (
                Loose(
                    "address",
                    kind="author",
                    to="email",
                    ignore_case=True,
                    where=lambda authors: ~Q(is_fixed=True),
                    fate=DELETE,
                ),
            ),
        ),
        (
            Entry,
            links(),
            (
                Loose("key", kind="*", kind_field="kind", fate=Anonymise({"text": "gone"}, "So.")),
                Loose("text", kind="author", match=match_titles, fate=DELETE),
            ),
        ),
        (Invoice, links(author=TAX), ()),
        (Pin, links(), (Loose("by", kind="author", to="handle", fate=THEIRS),)),
        (Chore, links(), (Loose("arguments", kind="author", quoted=True, fate=DELETE),)),
        (Rating, links(author=Anonymise({"words": ""}, "The stars count on.")), ()),
    )
}


class AuthorKind(SubjectKind):
    name = "author"
    model_label = "planted.Author"

    @property
    def model(self) -> type[models.Model]:
        return Author


KIND = AuthorKind()
MODELS = list(POLICIES)


def build_closure() -> Closure:
    return Closure(KIND, POLICIES)


def create_tables(*wanted: type[models.Model]) -> None:
    with connection.schema_editor() as editor:
        for model in wanted or MODELS:
            editor.create_model(model)


def drop_tables(*wanted: type[models.Model]) -> None:
    with connection.schema_editor() as editor:
        for model in reversed(wanted or MODELS):
            editor.delete_model(model)
