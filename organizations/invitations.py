"""Inviting people to an organization: one mail, one token, one use.

The token stands in the mail and nowhere else: it is made when the mail is written, and a digest of
it is kept. So whoever comes with it has read the mail that went to the invited address.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.exceptions import RightMissing, SubjectNotFound
from organizations.exceptions import AlreadyMember, InvitationNotFound, NotInvitee
from organizations.members import join
from organizations.models import Invitation, Membership, Role
from organizations.posting import ask_for_mail
from organizations.standing import Standing, lock_for_change, lock_joining, read_standing


@dataclass(frozen=True, slots=True)
class InvitationFacts:
    """A pending invitation as those who run the organization see it."""

    id: UUID
    email: str
    role: str
    invited_by: UUID | None
    created_at: datetime
    expires_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class Joined:
    """What came of an invitation."""

    organization_id: UUID
    user_id: UUID
    role: str


def invitation_lifetime() -> timedelta:
    """Return for how long an invitation holds: the setting INVITATION_LIFETIME, or 7 days."""
    found: timedelta = getattr(settings, "INVITATION_LIFETIME", timedelta(days=7))
    return found


def invite(
    *, actor: Actor, organization_id: UUID, email: str, role: str, now: datetime
) -> InvitationFacts:
    """Invite somebody by mail, on behalf of an admin, or of an owner if the role is that. An
    earlier invitation of the same address ends, its token with it.

    Raises ActorGone, SubjectNotFound, OrganizationArchived, RoleMissing or AlreadyMember.
    """
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.ADMIN)
        standing.require_over(role)
        theirs = {"user__email__iexact": email, "user__is_deleted": False}
        if Membership.objects.filter(organization_id=organization_id, **theirs).exists():
            raise AlreadyMember(organization_id)
        for earlier in Invitation.objects.filter(organization_id=organization_id).filter(
            email__iexact=email
        ):
            standing.require_over(earlier.role)
            _end(earlier, "invitation.revoked", actor, now)
        invitation = Invitation.objects.create(
            organization_id=organization_id,
            invited_by_id=actor.user_id,
            email=email,
            role=role,
            # Of a token that nobody has: the mail brings the one that works.
            token_digest=digest(secrets.token_urlsafe(32)),
            created_at=now,
            expires_at=now + invitation_lifetime(),
        )
        _record(invitation, "invitation.created", actor, now, role=str(role))
        ask_for_mail(invitation.pk)
    return _facts(invitation)


def list_invitations(
    *, actor: Actor, organization_id: UUID, after: UUID | None, limit: int, now: datetime
) -> tuple[list[InvitationFacts], UUID | None]:
    """Return the invitations that hold to those who run the organization, by id, a page at a time,
    and after which id the next page begins, None when there is none.

    Raises SubjectNotFound or RoleMissing.
    """
    read_standing(actor, organization_id, least=Role.ADMIN)
    rows = Invitation.objects.filter(organization_id=organization_id, expires_at__gt=now)
    if after is not None:
        rows = rows.filter(pk__gt=after)
    page = list(rows.order_by("pk")[: limit + 1])
    found = [_facts(row) for row in page[:limit]]
    return found, found[-1].id if len(page) > limit else None


def revoke_invitation(
    *, actor: Actor, organization_id: UUID, invitation_id: UUID, now: datetime
) -> None:
    """End an invitation, its token with it. Raises ActorGone, SubjectNotFound,
    OrganizationArchived, RoleMissing or InvitationNotFound."""
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.ADMIN)
        mine = Invitation.objects.filter(organization_id=organization_id, pk=invitation_id)
        if (invitation := mine.first()) is None:
            raise InvitationNotFound(invitation_id)
        standing.require_over(invitation.role)
        _end(invitation, "invitation.revoked", actor, now)


def accept_invitation(*, actor: Actor, token: str, now: datetime) -> Joined:
    """Make the acting user a member. The token must have been sent to the user's own address: a
    mail that was passed on lets nobody else in, and its invitation stays as it was.

    Raises RightMissing for an actor that is no user, ActorGone, InvitationNotFound, NotInvitee,
    OrganizationArchived or AlreadyMember.
    """
    if actor.user_id is None:
        raise RightMissing("account")
    found = find_invitation(token, now=now)
    with transaction.atomic(durable=True):
        standing = lock_invitation(found, actor.user_id, actor=actor)
        return take_up(found.pk, standing, token, user_id=actor.user_id, actor=actor, now=now)


def find_invitation(token: str, *, now: datetime) -> Invitation:
    """Return the invitation that a token belongs to; raises InvitationNotFound. Nothing is locked:
    whoever acts on it takes it up under the organization's lock."""
    rows = Invitation.objects.filter(token_digest=digest(token), expires_at__gt=now)
    living = rows.filter(organization__is_deleted=False, organization__is_active=True)
    if (found := living.select_related("organization").first()) is None:
        raise InvitationNotFound
    return found


def lock_invitation(found: Invitation, user_id: UUID, *, actor: Actor) -> Standing:
    """Lock the invited user and then the organization, in the caller's transaction. Raises
    ActorGone, InvitationNotFound or OrganizationArchived."""
    try:
        return lock_joining(actor, found.organization_id, user_id)
    except SubjectNotFound:
        raise InvitationNotFound(found.pk) from None


def take_up(
    invitation_id: UUID,
    standing: Standing,
    token: str,
    *,
    user_id: UUID,
    actor: Actor,
    now: datetime,
) -> Joined:
    """Use an invitation up for a user, both of them and the organization locked, in the caller's
    transaction. Raises InvitationNotFound, NotInvitee or AlreadyMember."""
    rows = Invitation.objects.filter(pk=invitation_id, token_digest=digest(token))
    invitation = rows.filter(organization_id=standing.id, expires_at__gt=now).first()
    if invitation is None:
        raise InvitationNotFound(invitation_id)
    user: Any = standing.people[user_id]
    if user.email.casefold() != invitation.email.casefold():
        raise NotInvitee(invitation_id)
    _end(invitation, "invitation.accepted", actor, now)
    join(actor=actor, standing=standing, user_id=user_id, role=invitation.role, now=now)
    return Joined(standing.id, user_id, str(invitation.role))


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def expired(now: datetime) -> Any:
    """Return the invitations that hold no more."""
    return Invitation.objects.filter(expires_at__lte=now)


def _end(invitation: Invitation, action: str, actor: Actor, now: datetime) -> None:
    _record(invitation, action, actor, now)
    invitation.delete()


def _record(invitation: Invitation, action: str, actor: Actor, now: datetime, **facts: Any) -> None:
    """Nothing personal: the address stands in the invitation only."""
    record(
        action,
        actor=actor,
        subject=Reference("organization", invitation.organization_id),
        organization_id=invitation.organization_id,
        now=now,
        facts={"invitation": str(invitation.pk), **facts},
    )


def _facts(row: Invitation) -> InvitationFacts:
    return InvitationFacts(
        id=row.pk,
        email=row.email,
        role=str(row.role),
        invited_by=row.invited_by_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        sent_at=row.sent_at,
    )
