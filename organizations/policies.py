"""Organizations as subjects of deletion, and what happens to the tables of this room."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import F, Lookup, OuterRef, Q, Subquery
from django.db.models.functions import Lower
from django.db.models.lookups import IsNull
from django.utils import timezone

from apikeys.services import revoke_keys_of_organization
from audit.actors import Actor
from audit.events import Reference
from erasure.exceptions import OwnersGone
from erasure.models import DeletionRequest
from erasure.policies import DELETE, Detach, Loose, policy
from erasure.subjects import (
    REMOVED,
    Affected,
    Blocker,
    Effect,
    SubjectKind,
    keep_telling,
    lock_subjects,
    register,
)
from organizations.billing.orders import order_cancel, order_pause, order_resume
from organizations.billing.papers import tell_effect, tell_orders
from organizations.exceptions import SlugTaken
from organizations.models import ManagedUser, Membership, Organization
from organizations.oauth.services import end_tokens_of_organization
from organizations.ownership import find_ownerless, has_live_owner
from organizations.webhooks.foreseen import foresee_told
from organizations.webhooks.outbox import prepare_last


class HasAddress(Lookup[Any]):
    """The condition that an address is not empty, in the very words of the index on living ones: a
    parameter in their place would hide from a plan that is kept that the index fits."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        return f"NOT ({column} = '')", params


def not_taken_since(users: Any) -> Q:
    """An invitation quotes its invitee's address, and goes with the invitee, whoever wrote it. Not
    when somebody else has taken the address since: then it is theirs."""
    living = get_user_model()._default_manager.filter(HasAddress(F("email"), True))
    others = living.filter(is_deleted=False).exclude(pk__in=users).alias(low=Lower("email"))
    theirs = others.filter(low=Lower(OuterRef("email"))).order_by()
    # Looked up one by one: as an EXISTS the planner may read all users for a few hundred addresses.
    return Q(IsNull(Subquery(theirs.values("pk")[:1]), True))


policy(
    "organizations.Organization",
    personal=["name", "slug"],
    opaque=["id", "is_active", "is_deleted", "deleted_at", "archived_at", "created_at"],
)
policy(
    "organizations.Membership",
    links={"organization": DELETE, "user": DELETE},
    opaque=["id", "role", "joined_at"],
)
policy(
    "organizations.Invitation",
    links={
        "organization": DELETE,
        "invited_by": Detach("The invitation is the organization's and the invitee's."),
    },
    loose=[
        Loose(
            "email",
            kind="user",
            to="email",
            ignore_case=True,
            where=not_taken_since,
            fate=DELETE,
        )
    ],
    personal=["email"],
    secret=["token_digest"],
    opaque=["id", "role", "created_at", "expires_at", "sent_at"],
)
policy(
    "organizations.ManagedUser",
    links={"organization": DELETE, "user": DELETE},
    personal=["external_id"],
    opaque=["id", "created_at"],
)


class OrganizationKind(SubjectKind):
    """The users that an organization manages are its companions: whoever deletes it gives each a
    deletion of its own, with the organization's as its cause, and whoever restores it restores
    those that came from this cause. The hooks here see to the organization itself."""

    name = "organization"
    model_label = "organizations.Organization"
    manages = True
    rank = 1
    born_field = "created_at"
    view_permission = "organizations.view_organization"
    restore_permission = "organizations.restore_organization"
    erase_permission = "organizations.teardown_organization"

    def label(self, instance: Any) -> str:
        return str(instance.name)

    def addresses(self, instance: Any) -> list[str]:
        """Those of its live owners: they had a say in it."""
        owners = Membership.objects.live_owners().filter(organization_id=instance.pk)
        found = owners.exclude(user__email="").order_by("user_id")
        return list(found.values_list("user__email", flat=True))

    def identifiers(self, instance: Any) -> list[str]:
        """Slug and name, unless they are mere words or another organization's too. Not the
        owners' addresses: the owners stay."""
        [found] = self.identify([instance])
        return found

    def identify(self, instances: Sequence[Any]) -> list[list[str]]:
        texts = {one.pk: keep_telling(dict.fromkeys([one.slug, one.name])) for one in instances}
        wanted = {text for some in texts.values() for text in some}
        rows = Organization.objects.filter(is_deleted=False)
        rows = rows.filter(Q(slug__in=wanted) | Q(name__in=wanted)) if wanted else rows.none()
        bearers: dict[str, set[UUID]] = {}
        for pk, *names in rows.values_list("pk", "slug", "name"):
            for name in names:
                bearers.setdefault(name, set()).add(pk)
        return [
            [text for text in texts[one.pk] if not bearers.get(text, set()) - {one.pk}]
            for one in instances
        ]

    def search(self, text: str) -> Q | None:
        return Q(name__icontains=text) | Q(slug__icontains=text) if text else None

    def named(self, text: str) -> Q | None:
        return Q(slug=text) if text else None

    def lock_family(self, ids: Collection[UUID]) -> None:
        """Lock the other organizations that the managed users own, by id; the users themselves are
        locked before the organizations are."""
        managed = ManagedUser.objects.filter(organization_id__in=ids).values("user_id")
        owned = Membership.objects.filter(user_id__in=managed, role="owner")
        others = owned.exclude(organization_id__in=ids).values_list("organization_id", flat=True)
        if known := set(others):
            lock_subjects("organization", known)

    def blockers(self, ids: Collection[UUID]) -> dict[UUID, list[Blocker]]:
        """Managed users who are the only owner of another organization, which would stay behind
        without one. Covers what ``UserKind.blockers`` would say of the companions."""
        managed = ManagedUser.objects.filter(organization_id__in=ids)
        owners = Membership.objects.filter(role="owner", user_id__in=managed.values("user_id"))
        if not owners.exclude(organization_id__in=ids).exists():
            return {}
        found: dict[UUID, list[Blocker]] = {}
        for organization_id, users in self._managed(ids).items():
            stuck = find_ownerless(users, spare=[organization_id])
            if stuck:
                others = {one.id: one for many in stuck.values() for one in many}
                names = ", ".join(sorted(one.name for one in others.values()))
                found[organization_id] = [
                    Blocker(
                        code="sole_owner",
                        text=f"A user that it manages is the only owner of: {names}",
                        facts={
                            "organizations": [
                                {"id": str(one.id), "name": one.name, "members": one.members}
                                for one in others.values()
                            ]
                        },
                    )
                ]
        return found

    def affected(self, subject_id: UUID) -> list[Affected]:
        """The users that go along."""
        managed = ManagedUser.objects.filter(organization_id=subject_id).select_related("user")
        return [
            Affected(Reference("user", one.user_id), str(one.user.username), "is erased with it")
            for one in managed.order_by("user_id")
        ]

    def effects(self, subject_id: UUID) -> list[Effect]:
        """What becomes of its subscription, and who is told."""
        return [*tell_effect(subject_id), *foresee_told(self.name, subject_id)]

    def order_effects(
        self, ids: Collection[UUID], *, actor: Actor, now: datetime
    ) -> Mapping[UUID, Sequence[str]]:
        """Have the subscriptions cancelled, and prepare the last event about each."""
        order_cancel(ids, actor=actor, now=now)
        prepare_last(self.name, ids, now=now)
        return tell_orders(ids)

    def companions(self, ids: Collection[UUID]) -> dict[UUID, list[Reference]]:
        return {
            organization_id: [Reference("user", user_id) for user_id in users]
            for organization_id, users in self._managed(ids).items()
        }

    def count_companions(self, subject_id: UUID, *, cap: int) -> int:
        managed = ManagedUser.objects.filter(organization_id=subject_id).order_by()
        return managed.values("pk")[:cap].count()

    def next_companions(
        self, subject_id: UUID, *, after: Reference | None, limit: int
    ) -> list[Reference]:
        managed = ManagedUser.objects.filter(organization_id=subject_id).order_by("user_id")
        if after is not None:
            managed = managed.filter(user_id__gt=after.id)
        ids = managed.values_list("user_id", flat=True)[:limit]
        return [Reference("user", user_id) for user_id in ids]

    def among_companions(
        self, subject_id: UUID, subjects: Collection[Reference]
    ) -> list[Reference]:
        ids = [one.id for one in subjects if one.kind == "user"]
        if not ids:
            return []
        managed = ManagedUser.objects.filter(organization_id=subject_id, user_id__in=ids)
        known = set(managed.values_list("user_id", flat=True))
        return [one for one in subjects if one.kind == "user" and one.id in known]

    def pivots(self, subject_id: UUID) -> list[Reference]:
        """The managed users who own another organization, too: the rule that none is left without
        an owner is kept in the request."""
        managed = ManagedUser.objects.filter(organization_id=subject_id).values("user_id")
        owned = Membership.objects.filter(role="owner", user_id__in=managed)
        others = owned.exclude(organization_id=subject_id).order_by("user_id")
        ids = others.values_list("user_id", flat=True).distinct()
        return [Reference("user", user_id) for user_id in ids]

    def takers(self, ids: Collection[UUID]) -> set[UUID]:
        managed = ManagedUser.objects.filter(organization_id__in=ids).order_by()
        return set(managed.values_list("organization_id", flat=True).distinct())

    def suspend(self, instance: Any, *, actor: Actor, now: datetime) -> dict[str, Any]:
        """Flags down, keys and tokens dead, nothing collected while it may still come back."""
        before: dict[str, Any] = {
            "is_active": instance.is_active,
            "owned": has_live_owner(instance.pk),
        }
        instance.is_deleted, instance.is_active, instance.deleted_at = True, False, now
        instance.save(update_fields=["is_deleted", "is_active", "deleted_at"])
        revoke_keys_of_organization(instance.pk, now=now)
        if removed := end_tokens_of_organization(instance.pk):
            before[REMOVED] = removed
        order_pause(instance.pk, actor=actor, now=now)
        return before

    def resume(self, instance: Any, before: Mapping[str, Any], *, actor: Actor) -> None:
        """Put the flags back. Raises SlugTaken when another organization bears the slug by now,
        and OwnersGone when those who owned it have left meanwhile."""
        if _is_taken(instance):
            raise SlugTaken(instance.pk)
        if _lacks_owners(instance, before):
            raise OwnersGone(instance.pk)
        instance.is_deleted, instance.deleted_at = False, None
        instance.is_active = before.get("is_active", True)
        try:
            with transaction.atomic():
                instance.save(update_fields=["is_deleted", "deleted_at", "is_active"])
        except IntegrityError as error:
            # Somebody took the slug between the look and the write; the constraint saw it.
            raise SlugTaken(instance.pk) from error
        order_resume(instance.pk, actor=actor, now=timezone.now())

    def foresee_resume(self, instance: Any) -> str:
        if _is_taken(instance):
            return "Another organization bears the slug by now."
        about = DeletionRequest.objects.about(Reference("organization", instance.pk))
        open_one = about.open().first()
        if open_one is not None and _lacks_owners(instance, open_one.before):
            return "None of its owners is left. One of them must come back first."
        return ""

    def _managed(self, ids: Collection[UUID]) -> dict[UUID, list[UUID]]:
        rows = ManagedUser.objects.filter(organization_id__in=ids).order_by("user_id")
        found: dict[UUID, list[UUID]] = {}
        for organization_id, user_id in rows.values_list("organization_id", "user_id"):
            found.setdefault(organization_id, []).append(user_id)
        return found


def _others(organization: Any) -> Any:
    return Organization.objects.filter(is_deleted=False).exclude(pk=organization.pk)


def _is_taken(organization: Any) -> bool:
    return bool(_others(organization).filter(slug=organization.slug).exists())


def _lacks_owners(organization: Any, before: Mapping[str, Any]) -> bool:
    """Whether an organization that had an owner when it was deleted would come back without one.
    Owners that it manages itself come back with it."""
    return bool(before.get("owned")) and not (
        has_live_owner(organization.pk)
        or Membership.objects.filter(
            organization=organization,
            role="owner",
            user__managed_membership__organization=organization,
        ).exists()
    )


register(OrganizationKind())
