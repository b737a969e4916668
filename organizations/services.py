"""Creating, staffing and tearing down organizations."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from apikeys.exceptions import OrganizationNotRun
from apikeys.services import IssuedKey, issue_key
from audit.actors import Actor
from audit.events import Reference, record
from erasure.approval import approve
from erasure.brakes import forbid_paused
from erasure.closing import Erasure
from erasure.deleting import forbid_blocked, lock_with_companions, suspend_locked
from erasure.exceptions import DeletionInProgress, SubjectNotFound
from erasure.executor import Erasures, begin_family, finish_family
from erasure.models import DeletionRequest
from erasure.rights import require_staff
from erasure.subjects import lock_subject, lock_subjects
from organizations.exceptions import NotOrganizationOwner
from organizations.models import Invitation, ManagedUser, Membership, Organization, Role
from organizations.ownership import forbid_ownerless

INVITATION_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class OrganizationDeletion:
    """A finished teardown: rows removed by model, and the managed users erased along with it."""

    organization_id: UUID
    deletion_id: UUID
    counts: Mapping[str, int]
    managed_users: tuple[Erasure, ...] = field(default=())


def create_organization(
    *, actor: Actor, owner_id: UUID, name: str, slug: str, now: datetime
) -> UUID:
    """Create an organization with its first owner; return its id."""
    with transaction.atomic(durable=True):
        if lock_subject(Reference("user", owner_id)) is None:
            raise SubjectNotFound("user")
        organization = Organization.objects.create(name=name, slug=slug, created_at=now)
        Membership.objects.create(
            organization=organization, user_id=owner_id, role=Role.OWNER, joined_at=now
        )
        subject = Reference("organization", organization.pk)
        record("organization.created", actor=actor, subject=subject, now=now)
        return organization.pk


def add_member(
    *, actor: Actor, organization_id: UUID, user_id: UUID, role: str, now: datetime
) -> None:
    """Make a live user a member. Locks the user, then the organization."""
    with transaction.atomic(durable=True):
        user = lock_subject(Reference("user", user_id))
        subject = Reference("organization", organization_id)
        if user is None or user.is_deleted or lock_subject(subject) is None:
            raise SubjectNotFound("user" if user is None or user.is_deleted else "organization")
        Membership.objects.create(
            organization_id=organization_id, user_id=user_id, role=role, joined_at=now
        )
        facts = {"member": str(user_id), "role": role}
        record("member.added", actor=actor, subject=subject, now=now, facts=facts)


def invite(
    *, actor: Actor, organization_id: UUID, email: str, role: str, now: datetime
) -> tuple[UUID, str]:
    """Write an invitation; return its id and its single-use token, of which a digest is kept."""
    token = secrets.token_urlsafe(32)
    with transaction.atomic(durable=True):
        subject = Reference("organization", organization_id)
        if lock_subject(subject) is None:
            raise SubjectNotFound("organization")
        invitation = Invitation.objects.create(
            organization_id=organization_id,
            invited_by_id=actor.user_id,
            email=email,
            role=role,
            token_digest=hashlib.sha256(token.encode()).hexdigest(),
            created_at=now,
            expires_at=now + INVITATION_LIFETIME,
        )
        facts = {"invitation": str(invitation.pk), "role": role}
        record("invitation.created", actor=actor, subject=subject, now=now, facts=facts)
    return invitation.pk, token


def create_organization_key(
    *,
    actor: Actor,
    organization_id: UUID,
    name: str,
    wanted: frozenset[str],
    expires_at: datetime | None,
    now: datetime,
) -> IssuedKey:
    """Create a platform key for an organization that the actor owns or administers.

    Raises OrganizationNotRun, ScopesNotGrantable or ExpiryInThePast.
    """
    with transaction.atomic(durable=True):
        lock_subject(Reference("organization", organization_id))
        if organization_id not in administered_by(actor):
            raise OrganizationNotRun(organization_id)
        return issue_key(
            actor=actor,
            owner=Reference("organization", organization_id),
            name=name,
            wanted=wanted,
            expires_at=expires_at,
            now=now,
        )


def administered_by(actor: Actor) -> list[UUID]:
    """Return the live organizations that the acting user owns or administers."""
    if actor.user_id is None:
        return []
    runs = Membership.objects.administering(actor.user_id)
    return list(runs.values_list("organization_id", flat=True))


def delete_organization(
    *, actor: Actor, organization_id: UUID, now: datetime
) -> OrganizationDeletion:
    """Tear down an organization at its owner's wish, with everything it owns, for ever.

    Raises SubjectNotFound, NotOrganizationOwner, UnderLegalHold, DeletionInProgress, or SoleOwner
    when a user that it manages is the only owner of another organization.
    """
    owners = Membership.objects.live_owners().filter(organization_id=organization_id)
    with transaction.atomic(durable=True):
        managed = _lock_for_teardown(organization_id)
        if not owners.filter(user_id=actor.user_id).exists():
            raise NotOrganizationOwner(organization_id)
        begun = _begin_teardown(actor, organization_id, managed, now)
    return _finish_teardown(begun, actor, organization_id, now)


def schedule_deletion(
    *, actor: Actor, organization_id: UUID, now: datetime, plan_id: str = ""
) -> DeletionRequest:
    """Soft delete an organization at an owner's wish, the users that it manages with it, and
    schedule the erasure.

    ``plan_id`` names the plan that was looked at. A legal hold does not stop this: the data stays.
    Raises SubjectNotFound, NotOrganizationOwner, Blocked, PlanDrifted or DeletionInProgress.
    """
    subject = Reference("organization", organization_id)
    require_owner(actor, organization_id)
    plan = approve(subject, plan_id) if plan_id else None
    with transaction.atomic(durable=True):
        locked = lock_with_companions(subject)
        # Asked again under the lock: somebody may have deleted it or taken the role meanwhile.
        require_owner(actor, organization_id)
        forbid_blocked(subject)
        return suspend_locked(
            actor=actor,
            subject=subject,
            locked=locked,
            now=now,
            planned=plan.as_record() if plan else None,
            plan_id=plan_id,
        )


def require_owner(actor: Actor, organization_id: UUID) -> None:
    """Raise SubjectNotFound for an organization that does not live, and NotOrganizationOwner unless
    the actor is one of its owners."""
    if not Organization.objects.filter(pk=organization_id, is_deleted=False).exists():
        raise SubjectNotFound("organization")
    owners = Membership.objects.live_owners().filter(organization_id=organization_id)
    if actor.user_id is None or not owners.filter(user_id=actor.user_id).exists():
        raise NotOrganizationOwner(organization_id)


def teardown_organization(
    *, actor: Actor, organization_id: UUID, reference: str, now: datetime
) -> OrganizationDeletion:
    """Tear down an organization as staff, who need not own it. Raises what
    ``delete_organization`` raises, but RightMissing or Paused in place of NotOrganizationOwner."""
    require_staff(actor, "organizations.teardown_organization")
    forbid_paused()
    with transaction.atomic(durable=True):
        managed = _lock_for_teardown(organization_id)
        begun = _begin_teardown(actor, organization_id, managed, now, reference)
    return _finish_teardown(begun, actor, organization_id, now)


def _lock_for_teardown(organization_id: UUID) -> dict[UUID, Any]:
    """Lock the managed users, then the organization, and return the users that it manages.

    The users must be known before the organization is locked, and may change until it is: if
    somebody provisioned one in between, the lock order would be broken, so the caller is told that
    the organization is busy and nothing was done.
    """
    managed = ManagedUser.objects.filter(organization_id=organization_id)
    users = lock_subjects("user", managed.values_list("user_id", flat=True))
    # Their other organizations are counted too, and all are locked at once, in id order.
    owned = Membership.objects.filter(user_id__in=users, role=Role.OWNER)
    others = owned.values_list("organization_id", flat=True) if users else ()
    organization = lock_subjects("organization", {organization_id, *others}).get(organization_id)
    if organization is None or organization.is_deleted:
        raise SubjectNotFound("organization")
    if set(managed.values_list("user_id", flat=True)) - users.keys():
        raise DeletionInProgress("organization", organization_id)
    return users


def _begin_teardown(
    actor: Actor,
    organization_id: UUID,
    managed: dict[UUID, Any],
    now: datetime,
    reference: str = "",
) -> Erasures | DeletionRequest:
    if managed:
        forbid_ownerless(managed.keys(), spare=organization_id)
    subject = Reference("organization", organization_id)
    locked: dict[Reference, Any] = {Reference("user", pk): row for pk, row in managed.items()}
    locked[subject] = Organization.objects.get(pk=organization_id)
    # The row goes last: the database takes what hangs on it. A crash before the commit leaves
    # the organization and its managed users as they were.
    return begin_family(actor=actor, subject=subject, locked=locked, now=now, reference=reference)


def _finish_teardown(
    begun: Erasures | DeletionRequest, actor: Actor, organization_id: UUID, now: datetime
) -> OrganizationDeletion:
    done, companions = finish_family(begun, actor=actor, now=now)
    return OrganizationDeletion(
        organization_id=organization_id,
        deletion_id=done.request_id,
        counts=done.counts,
        managed_users=tuple(companions),
    )
