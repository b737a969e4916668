"""Who belongs to an organization: joining, roles, leaving, and passing it on.

Nobody leaves it ownerless: whatever takes an owner away asks ``forbid_ownerless`` under the lock.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.exceptions import RightMissing, SubjectNotFound
from organizations.exceptions import AlreadyMember, HeirRefused, MemberNotFound
from organizations.models import Membership, Role
from organizations.ownership import forbid_ownerless
from organizations.standing import Standing, is_live, lock_for_change, read_standing


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A member as the others see one. Addresses are nobody's business."""

    user_id: UUID
    username: str
    name: str
    role: str
    is_active: bool
    joined_at: datetime


def list_members(
    *, actor: Actor, organization_id: UUID, after: UUID | None, limit: int
) -> tuple[list[MemberFacts], UUID | None]:
    """Return the living members to one of them, by id, a page at a time, and after which id the
    next page begins, None when there is none. Raises SubjectNotFound."""
    read_standing(actor, organization_id)
    rows = _living(organization_id)
    if after is not None:
        rows = rows.filter(user_id__gt=after)
    page = list(rows.order_by("user_id")[: limit + 1])
    found = [_facts(row) for row in page[:limit]]
    return found, found[-1].user_id if len(page) > limit else None


def add_member(
    *, actor: Actor, organization_id: UUID, user_id: UUID, role: str, now: datetime
) -> None:
    """Make a live user a member. Raises ActorGone, SubjectNotFound, OrganizationArchived,
    RoleMissing or AlreadyMember."""
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.ADMIN, people=[user_id])
        standing.require_over(role)
        if not is_live(standing.people.get(user_id)):
            raise SubjectNotFound("user")
        join(actor=actor, standing=standing, user_id=user_id, role=role, now=now)


def join(*, actor: Actor, standing: Standing, user_id: UUID, role: str, now: datetime) -> None:
    """Write a membership and its event in the caller's transaction, user and organization locked.
    Raises AlreadyMember."""
    try:
        with transaction.atomic():
            Membership.objects.create(
                organization=standing.organization, user_id=user_id, role=role, joined_at=now
            )
    except IntegrityError as error:
        raise AlreadyMember(standing.id) from error
    _record("member.added", actor, standing, now, member=str(user_id), role=role)


def change_role(
    *, actor: Actor, organization_id: UUID, user_id: UUID, role: str, now: datetime
) -> MemberFacts:
    """Give a member another role: owners any, admins that of an admin or member, and never an
    owner's. Raises ActorGone, SubjectNotFound, OrganizationArchived, RoleMissing, MemberNotFound,
    HeirRefused for an owner who could not act, or SoleOwner."""
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.ADMIN, people=[user_id])
        member = _find(standing, user_id)
        standing.require_over(member.role, role)
        if role == Role.OWNER and not is_live(standing.people.get(user_id)):
            raise HeirRefused(organization_id)
        if member.role == Role.OWNER and role != Role.OWNER:
            forbid_ownerless([user_id], within=organization_id)
        _set_role(actor, standing, member, role, now)
        return _facts(member)


def remove_member(*, actor: Actor, organization_id: UUID, user_id: UUID, now: datetime) -> None:
    """End somebody's membership: owners anybody's, admins that of admins and members, everybody
    their own. Raises ActorGone, SubjectNotFound, OrganizationArchived, RoleMissing, MemberNotFound
    or SoleOwner."""
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.MEMBER, people=[user_id])
        is_own = user_id == actor.user_id
        if not is_own:
            standing.require(Role.ADMIN)
        member = _find(standing, user_id)
        if not is_own:
            standing.require_over(member.role)
        if member.role == Role.OWNER:
            forbid_ownerless([user_id], within=organization_id)
        # A crash before the commit leaves the member where they were.
        member.delete()
        how = "left" if is_own else "removed"
        _record("member.removed", actor, standing, now, member=str(user_id), how=how)


def leave_organization(*, actor: Actor, organization_id: UUID, now: datetime) -> None:
    """End the acting user's own membership. Raises RightMissing for an actor that is no user, and
    what ``remove_member`` raises."""
    remove_member(actor=actor, organization_id=organization_id, user_id=_user_of(actor), now=now)


def transfer_ownership(
    *, actor: Actor, organization_id: UUID, to: UUID, keep_role: str, now: datetime
) -> MemberFacts:
    """Make another live member an owner, and the acting owner what ``keep_role`` says; return the
    new owner. Both happen or neither. Raises RightMissing, ActorGone, SubjectNotFound,
    OrganizationArchived, RoleMissing, MemberNotFound, HeirRefused or SoleOwner."""
    giver = _user_of(actor)
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.OWNER, people=[to])
        if to == giver or not is_live(standing.people.get(to)):
            raise HeirRefused(organization_id)
        heir, own = _find(standing, to), _find(standing, giver)
        _set_role(actor, standing, heir, Role.OWNER, now)
        if keep_role != Role.OWNER:
            forbid_ownerless([giver], within=organization_id)
        _set_role(actor, standing, own, keep_role, now)
        _record("organization.transferred", actor, standing, now, giver=str(giver), heir=str(to))
        return _facts(heir)


def _set_role(
    actor: Actor, standing: Standing, member: Membership, role: str, now: datetime
) -> None:
    if member.role == role:
        return
    before, member.role = member.role, role
    # Not save(): it would write a row anew that has gone meanwhile.
    if not Membership.objects.filter(pk=member.pk).update(role=role):
        raise MemberNotFound(member.user_id)
    _record(
        "member.role_changed",
        actor,
        standing,
        now,
        member=str(member.user_id),
        role=str(role),
        before=before,
    )


def _record(action: str, actor: Actor, standing: Standing, now: datetime, **facts: Any) -> None:
    subject = Reference("organization", standing.id)
    record(
        action,
        actor=actor,
        subject=subject,
        organization_id=standing.id,
        now=now,
        facts=facts,
    )


def _living(organization_id: UUID) -> Any:
    rows = Membership.objects.filter(organization_id=organization_id, user__is_deleted=False)
    return rows.select_related("user")


def _find(standing: Standing, user_id: UUID) -> Membership:
    member: Membership | None = _living(standing.id).filter(user_id=user_id).first()
    if member is None:
        raise MemberNotFound(user_id)
    return member


def _facts(row: Membership) -> MemberFacts:
    user: Any = row.user
    return MemberFacts(
        user_id=row.user_id,
        username=user.username,
        name=user.name,
        role=str(row.role),
        is_active=user.is_active,
        joined_at=row.joined_at,
    )


def _user_of(actor: Actor) -> UUID:
    if actor.user_id is None:
        raise RightMissing("account")
    return actor.user_id
