"""Who somebody is within an organization, and the one way in which a change of it begins.

Lock order: the people concerned by id, then the organization, then its children. The acting person
is among those locked, so that nobody acts who is being deleted at that moment; and whoever gains a
role is, so that nobody becomes an owner whose account ends at that moment.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from audit.actors import Actor
from erasure.exceptions import ActorGone, SubjectNotFound
from erasure.subjects import lock_subjects
from organizations.exceptions import OrganizationArchived, RoleMissing
from organizations.models import Membership, Organization, Role

RANKS = {Role.MEMBER.value: 1, Role.ADMIN.value: 2, Role.OWNER.value: 3}


@dataclass(frozen=True, slots=True)
class Standing:
    """What an actor is within an organization: ``role`` is what counts for rights. A key of the
    organization itself counts as an admin, the system as an owner."""

    organization: Organization
    role: str
    people: dict[UUID, Any] = field(default_factory=dict)
    """The locked rows of those who were to be locked and exist."""

    @property
    def id(self) -> UUID:
        return self.organization.pk

    def require(self, least: str) -> None:
        """Raise RoleMissing for an actor of a lower role."""
        if RANKS[self.role] < RANKS[least]:
            raise RoleMissing(self.id, least)

    def require_over(self, *roles: str) -> None:
        """Raise RoleMissing unless the actor may change what people of these roles are: admins
        run the organization, but an owner is made, changed and removed by owners only."""
        self.require(Role.OWNER if Role.OWNER in roles else Role.ADMIN)


def read_standing(
    actor: Actor, organization_id: UUID, *, least: str = Role.MEMBER.value
) -> Standing:
    """Return who the actor is in a living organization, archived or not. Changes nothing.

    Raises SubjectNotFound, also to whoever does not belong to it, or RoleMissing.
    """
    organization = Organization.live.filter(pk=organization_id).first()
    return _stand(actor, organization, least, {})


def lock_for_change(
    actor: Actor,
    organization_id: UUID,
    *,
    least: str,
    people: Collection[UUID] = (),
    beside: Collection[UUID] = (),
    even_archived: bool = False,
) -> Standing:
    """Lock whoever and whatever a change concerns, in the caller's transaction, and return who the
    actor is there. ``beside`` names other organizations that the change will count.

    Raises ActorGone, SubjectNotFound, OrganizationArchived or RoleMissing.
    """
    locked = lock_people(actor, people)
    found = lock_subjects("organization", {organization_id, *beside})
    organization = found.get(organization_id)
    if organization is not None and (organization.is_deleted or not organization.is_active):
        organization = None
    standing = _stand(actor, organization, least, locked)
    if not even_archived:
        forbid_archived(standing.organization)
    return standing


def lock_joining(actor: Actor, organization_id: UUID, user_id: UUID) -> Standing:
    """Lock somebody who is about to join by an invitation, then the organization. The invitation
    takes the place of a role: what the actor is there does not count.

    Raises ActorGone for a user who does not live, SubjectNotFound or OrganizationArchived.
    """
    locked = lock_people(actor, [user_id])
    if not is_live(locked.get(user_id)):
        raise ActorGone(user_id)
    found = lock_subjects("organization", [organization_id]).get(organization_id)
    if found is None or found.is_deleted or not found.is_active:
        raise SubjectNotFound("organization")
    forbid_archived(found)
    return Standing(found, Role.MEMBER.value, locked)


def lock_people(actor: Actor, people: Collection[UUID]) -> dict[UUID, Any]:
    """Lock the acting person and others, by id. Raises ActorGone when the former has ended."""
    wanted = {*people, actor.user_id} - {None}
    locked = lock_subjects("user", [pk for pk in wanted if pk])
    if actor.user_id is not None and not is_live(locked.get(actor.user_id)):
        raise ActorGone(actor.user_id)
    return locked


def forbid_archived(organization: Any) -> None:
    """Raise OrganizationArchived for a locked organization that is archived."""
    if organization.archived_at is not None:
        raise OrganizationArchived(organization.pk)


def is_live(user: Any) -> bool:
    return user is not None and user.is_active and not user.is_deleted


def _stand(
    actor: Actor, organization: Organization | None, least: str, locked: dict[UUID, Any]
) -> Standing:
    role = _role_of(actor, organization.pk) if organization is not None else None
    if organization is None or role is None:
        raise SubjectNotFound("organization")
    standing = Standing(organization, role, locked)
    standing.require(least)
    return standing


def _role_of(actor: Actor, organization_id: UUID) -> str | None:
    if actor.kind == "system":
        return Role.OWNER.value
    if actor.organization_id == organization_id:
        return Role.ADMIN.value
    if actor.user_id is None:
        return None
    mine = Membership.objects.filter(organization_id=organization_id, user_id=actor.user_id)
    role: str | None = mine.values_list("role", flat=True).first()
    return role
