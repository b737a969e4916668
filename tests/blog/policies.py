"""What happens to a blog's data when an author is erased."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q

from audit.actors import Actor
from erasure.policies import DELETE, Detach, Loose, policy
from erasure.subjects import SubjectKind, register


class AuthorKind(SubjectKind):
    """Whoever can sign in. The subject is Django's user; the profile and the rest go along."""

    name = "author"
    model_label = "auth.User"
    noun = "account"
    born_field = "date_joined"

    def label(self, instance: Any) -> str:
        return str(instance.username)

    def addresses(self, instance: Any) -> list[str]:
        return [instance.email] if instance.email else []

    def search(self, text: str) -> Q | None:
        return Q(username__icontains=text) | Q(email__icontains=text) if text else None

    def named(self, text: str) -> Q | None:
        return Q(username=text) | Q(email__iexact=text) if text else None

    def is_suspended(self, instance: Any) -> bool:
        return not instance.is_active

    def suspend(self, instance: Any, *, actor: Actor, now: datetime) -> dict[str, Any]:
        instance.is_active = False
        instance.save(update_fields=["is_active"])
        return {"is_active": True}

    def resume(self, instance: Any, before: Mapping[str, Any], *, actor: Actor) -> None:
        instance.is_active = before.get("is_active", False)
        instance.save(update_fields=["is_active"])


register(AuthorKind())

policy(
    "blog.Author",
    links={"user": DELETE},
    personal=["pen_name", "about"],
    opaque=["id"],
)
policy(
    "blog.Post",
    links={"author": DELETE, "editor": Detach("The post is its author's.")},
    personal=["title", "text"],
    opaque=["id", "published_at"],
)
policy(
    "blog.Comment",
    links={"post": DELETE, "author": DELETE, "answers": DELETE},
    loose=[Loose("email", kind="author", to="email", ignore_case=True, fate=DELETE)],
    personal=["text"],
    opaque=["id"],
)
policy(
    "blog.Upload",
    links={"author": DELETE, "post": DELETE},
    personal=["file"],
    opaque=["id"],
)
