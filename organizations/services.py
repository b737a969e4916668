"""Keys of organizations, closing them, and tearing them down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from apikeys.exceptions import OrganizationNotRun
from apikeys.services import IssuedKey, issue_key
from audit.actors import Actor
from audit.events import Reference
from erasure.approval import approve
from erasure.brakes import forbid_paused
from erasure.closing import Erasure
from erasure.deleting import forbid_blocked, lock_with_companions, restore, suspend_locked
from erasure.exceptions import DeletionInProgress, SubjectNotFound
from erasure.executor import Erasures, begin_family, hand_over, looks_large
from erasure.models import DeletionRequest
from erasure.rights import require_staff
from erasure.subjects import companions_at_once, lock_subject, lock_subjects
from organizations.exceptions import NotOrganizationOwner, WrongConfirmation
from organizations.models import Membership, Organization, Role
from organizations.ownership import forbid_ownerless


@dataclass(frozen=True, slots=True)
class OrganizationDeletion:
    """A teardown: rows removed by model, and the managed users erased along with it. One that is
    not finished has ended all access, and a worker does the rest."""

    organization_id: UUID
    deletion_id: UUID
    counts: Mapping[str, int]
    managed_users: tuple[Erasure, ...] = field(default=())
    is_finished: bool = True


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

    Raises OrganizationNotRun, OwnerArchived, ScopesNotGrantable or ExpiryInThePast.
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

    A small one is gone when this returns. A large one cannot be reached any more, by nobody and
    nothing, and a worker removes its rows.

    Raises SubjectNotFound, NotOrganizationOwner, UnderLegalHold, DeletionInProgress, or SoleOwner
    when a user that it manages is the only owner of another organization.
    """
    owners = Membership.objects.live_owners().filter(organization_id=organization_id)
    mine = owners.filter(user_id=actor.user_id)
    is_large = mine.exists() and looks_large(Reference("organization", organization_id))
    with transaction.atomic(durable=True):
        managed = _lock_for_teardown(organization_id)
        if not mine.exists():
            raise NotOrganizationOwner(organization_id)
        begun = _begin_teardown(actor, organization_id, managed, now, is_large)
    return _describe(begun, organization_id)


def schedule_deletion(
    *, actor: Actor, organization_id: UUID, slug: str, now: datetime, plan_id: str = ""
) -> DeletionRequest:
    """Soft delete an organization at an owner's wish, the users that it manages with it, and
    schedule the erasure. An archived organization may go, too.

    ``slug`` is what the owner typed to confirm it, and ``plan_id`` names the plan that was looked
    at. A legal hold does not stop this: the data stays. Raises SubjectNotFound,
    NotOrganizationOwner, WrongConfirmation, Blocked, PlanDrifted or DeletionInProgress.
    """
    subject = Reference("organization", organization_id)
    require_owner(actor, organization_id)
    plan = approve(subject, plan_id) if plan_id else None
    with transaction.atomic(durable=True):
        locked = lock_with_companions(subject)
        # Asked again under the lock: somebody may have deleted it or taken the role meanwhile.
        require_owner(actor, organization_id)
        if locked[subject].slug != slug:
            raise WrongConfirmation(organization_id)
        forbid_blocked(subject)
        return suspend_locked(
            actor=actor,
            subject=subject,
            locked=locked,
            now=now,
            planned=plan.as_record() if plan else None,
            plan_id=plan_id,
        )


def cancel_deletion(*, actor: Actor, organization_id: UUID, now: datetime) -> DeletionRequest:
    """Take a scheduled deletion back at the wish of any owner, with all that it took along; return
    its request. Keys stay ended, and an archived organization comes back archived.

    Raises SubjectNotFound, NotOrganizationOwner, or what ``deleting.restore`` raises.
    """
    if not Organization.objects.filter(pk=organization_id).exists():
        raise SubjectNotFound("organization")
    _require_live_owner(actor, organization_id)
    # An owner needs no permission of staff, and roles do not change while it is closed.
    subject = Reference("organization", organization_id)
    return restore(actor=actor, subject=subject, now=now, by_link=True)


def require_owner(actor: Actor, organization_id: UUID) -> None:
    """Raise SubjectNotFound for an organization that does not live, and NotOrganizationOwner unless
    the actor is one of its owners."""
    if not Organization.objects.filter(pk=organization_id, is_deleted=False).exists():
        raise SubjectNotFound("organization")
    _require_live_owner(actor, organization_id)


def _require_live_owner(actor: Actor, organization_id: UUID) -> None:
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
    is_large = looks_large(Reference("organization", organization_id))
    with transaction.atomic(durable=True):
        managed = _lock_for_teardown(organization_id)
        begun = _begin_teardown(actor, organization_id, managed, now, is_large, reference)
    return _describe(begun, organization_id)


def _lock_for_teardown(organization_id: UUID) -> dict[UUID, Any]:
    """Lock the managed users, then the organization, and return the users that it manages; where
    these are too many for a request, those who own another organization, too.

    The users must be known before the organization is locked, and may change until it is: if
    somebody provisioned one in between, the lock order would be broken, so the caller is told that
    the organization is busy and nothing was done.
    """
    subject = Reference("organization", organization_id)
    users = lock_subjects("user", [one.id for one in companions_at_once(subject)])
    # Their other organizations are counted too, and all are locked at once, in id order.
    owned = Membership.objects.filter(user_id__in=users, role=Role.OWNER)
    others = owned.values_list("organization_id", flat=True) if users else ()
    organization = lock_subjects("organization", {organization_id, *others}).get(organization_id)
    if organization is None or organization.is_deleted:
        raise SubjectNotFound("organization")
    if {one.id for one in companions_at_once(subject)} - users.keys():
        raise DeletionInProgress("organization", organization_id)
    return users


def _begin_teardown(
    actor: Actor,
    organization_id: UUID,
    managed: dict[UUID, Any],
    now: datetime,
    is_large: bool,
    reference: str = "",
) -> Erasures | DeletionRequest:
    if managed:
        forbid_ownerless(managed.keys(), spare=organization_id)
    subject = Reference("organization", organization_id)
    locked: dict[Reference, Any] = {Reference("user", pk): row for pk, row in managed.items()}
    locked[subject] = Organization.objects.get(pk=organization_id)
    # The row goes last: the database takes what hangs on it. A crash before the commit leaves
    # the organization and its managed users as they were.
    begun = begin_family(
        actor=actor,
        subject=subject,
        locked=locked,
        now=now,
        reference=reference,
        is_large=is_large,
    )
    hand_over(begun, now=now)
    return begun


def _describe(begun: Erasures | DeletionRequest, organization_id: UUID) -> OrganizationDeletion:
    if isinstance(begun, DeletionRequest):
        return OrganizationDeletion(organization_id, begun.pk, {}, is_finished=False)
    done, companions = begun
    return OrganizationDeletion(
        organization_id=organization_id,
        deletion_id=done.request_id,
        counts=done.counts,
        managed_users=tuple(companions),
    )
