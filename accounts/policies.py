"""Users as subjects of deletion, and what happens to the tables of this room."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Lower

from accounts.exceptions import NameTaken
from accounts.models import Session, User
from apikeys.services import revoke_keys_of_user
from audit.actors import Actor
from audit.events import Reference
from audit.statements import update
from erasure.policies import DELETE, policy
from erasure.subjects import (
    REMOVED,
    Affected,
    Blocker,
    Effect,
    SubjectKind,
    keep_telling,
    register,
)
from organizations.models import Membership
from organizations.oauth.services import end_tokens_of_user
from organizations.ownership import find_ownerless, lock_owned
from organizations.webhooks.foreseen import foresee_told
from organizations.webhooks.outbox import prepare_last

policy(
    "accounts.User",
    personal=["username", "email", "name"],
    secret=["password"],
    opaque=[
        "id",
        "last_login",
        "is_superuser",
        "is_active",
        "is_staff",
        "is_deleted",
        "deleted_at",
        "date_joined",
    ],
)
policy("accounts.UserGroup", links={"user": DELETE}, opaque=["id", "group"])
policy(
    "accounts.Session",
    links={"user": DELETE},
    secret=["session_key", "session_data"],
    opaque=["expire_date"],
)


class UserKind(SubjectKind):
    name = "user"
    model_label = "accounts.User"
    prefix: ClassVar[str] = "usr"
    noun = "account"
    born_field = "date_joined"
    view_permission = "accounts.view_user"
    restore_permission = "accounts.restore_user"
    erase_permission = "accounts.erase_user"

    def label(self, instance: Any) -> str:
        return str(instance.username)

    def addresses(self, instance: Any) -> list[str]:
        return [instance.email] if instance.email else []

    def identifiers(self, instance: Any) -> list[str]:
        """The username, unless it is a mere word, and the address; neither when it is somebody
        else's by now, as it can be once the account is deleted."""
        [found] = self.identify([instance])
        return found

    def identify(self, instances: Sequence[Any]) -> list[list[str]]:
        # Nobody else can bear what a live user has.
        deleted = [one for one in instances if one.is_deleted]
        names, addresses = _find_borne(deleted) if deleted else (set(), set())
        return [
            [
                *(text for text in keep_telling([one.username]) if text not in names),
                *(text for text in self.addresses(one) if text.lower() not in addresses),
            ]
            if one.is_deleted
            else [*keep_telling([one.username]), *self.addresses(one)]
            for one in instances
        ]

    def search(self, text: str) -> Q | None:
        return (
            Q(username__icontains=text) | Q(email__icontains=text) | Q(name__icontains=text)
            if text
            else None
        )

    def named(self, text: str) -> Q | None:
        return Q(username=text) | Q(email__iexact=text) if text else None

    def lock_family(self, ids: Collection[UUID]) -> None:
        """Lock the organizations that these users own: whether one stays without an owner is
        counted under this lock."""
        lock_owned(ids)

    def blockers(self, ids: Collection[UUID]) -> dict[UUID, list[Blocker]]:
        """Sole owners of organizations. Users who were deleted before own nothing any more."""
        return {
            user_id: [
                Blocker(
                    code="sole_owner",
                    text="It would leave without an owner: "
                    + ", ".join(one.name for one in organizations),
                    facts={
                        "organizations": [
                            {"id": str(one.id), "name": one.name, "members": one.members}
                            for one in organizations
                        ]
                    },
                )
            ]
            for user_id, organizations in find_ownerless(ids).items()
        }

    def affected(self, subject_id: UUID) -> list[Affected]:
        """The organizations that lose a member."""
        mine = Membership.objects.filter(user_id=subject_id).select_related("organization")
        return [
            Affected(
                Reference("organization", one.organization_id),
                one.organization.name,
                "loses an owner" if one.role == "owner" else "loses a member",
            )
            for one in mine.order_by("organization__name", "organization_id")
        ]

    def effects(self, subject_id: UUID) -> list[Effect]:
        """Who is told."""
        return foresee_told(self.name, subject_id)

    def order_effects(
        self, ids: Collection[UUID], *, actor: Actor, now: datetime
    ) -> Mapping[UUID, Sequence[str]]:
        """Prepare the last event about each."""
        prepare_last(self.name, ids, now=now)
        return {}

    def suspend(self, instance: Any, *, actor: Actor, now: datetime) -> dict[str, Any]:
        """Flags down; keys, tokens and sessions dead. The key that asked was used just now."""
        before: dict[str, Any] = {"is_active": instance.is_active}
        _set_flags(user_id=instance.pk, now=now)
        instance.is_deleted, instance.is_active, instance.deleted_at = True, False, now
        revoke_keys_of_user(instance.pk, used=actor.credential_id, now=now)
        if removed := end_tokens_of_user(instance.pk, beside=(Session,)):
            before[REMOVED] = removed
        return before

    def resume(self, instance: Any, before: Mapping[str, Any], *, actor: Actor) -> None:
        """Put the flags back. Raises NameTaken when somebody else bears the username or the
        address by now."""
        if taken := _find_taken(instance):
            raise NameTaken(instance.pk, taken)
        instance.is_deleted, instance.deleted_at = False, None
        instance.is_active = before.get("is_active", True)
        try:
            with transaction.atomic():
                instance.save(update_fields=["is_deleted", "deleted_at", "is_active"])
        except IntegrityError as error:
            # Somebody took the name between the look and the write; the constraint saw it.
            raise NameTaken(instance.pk, "username or email") from error

    def foresee_resume(self, instance: Any) -> str:
        taken = _find_taken(instance)
        what = {"username": "username", "email": "e-mail address"}.get(taken, "")
        return f"Somebody else bears the {what} by now." if what else ""


@update
def _set_flags(user_id: UUID, now: datetime) -> Any:
    changes = {"is_deleted": True, "is_active": False, "deleted_at": now}
    return User.objects.filter(pk=user_id), changes


def _find_borne(users: Sequence[Any]) -> tuple[set[str], set[str]]:
    """Return which of some users' names, and which of their addresses in lower case, somebody live
    bears."""
    live = User.objects.filter(is_deleted=False)
    names = live.filter(username__in={one.username for one in users})
    low = {one.email.lower() for one in users if one.email}
    addresses = live.exclude(email="").annotate(low=Lower("email")).filter(low__in=low)
    return (
        set(names.values_list("username", flat=True)),
        set(addresses.values_list("low", flat=True)) if low else set(),
    )


def _others(user: Any) -> Any:
    return User.objects.filter(is_deleted=False).exclude(pk=user.pk)


def _find_taken(user: Any) -> str:
    """Return which of a deleted user's names somebody else bears; empty when none."""
    others = _others(user)
    if others.filter(username=user.username).exists():
        return "username"
    if user.email and others.filter(email__iexact=user.email).exists():
        return "email"
    return ""


register(UserKind())
