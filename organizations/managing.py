"""The users that an organization manages: who they are, and how one of them goes.

They are provisioned in ``accounts.joining``, where users come to be.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference
from erasure.deleting import restore, suspend_locked
from erasure.models import DeletionRequest
from erasure.progress import Progress, ScheduledDeletion, describe_progress, hand_out
from organizations.exceptions import ManagedUserNotFound
from organizations.models import ManagedUser, Membership, Role
from organizations.ownership import forbid_ownerless
from organizations.standing import lock_for_change, read_standing


@dataclass(frozen=True, slots=True)
class ManagedFacts:
    """A managed user as the managing organization sees it."""

    user_id: UUID
    external_id: str
    username: str
    name: str
    email: str
    is_active: bool
    created_at: datetime


def list_managed_users(
    *, actor: Actor, organization_id: UUID, after: UUID | None, limit: int
) -> tuple[list[ManagedFacts], UUID | None]:
    """Return the living managed users to those who run the organization, in the order in which
    they were provisioned, a page at a time, and after which row the next page begins, None when
    there is none. Raises SubjectNotFound or RoleMissing."""
    read_standing(actor, organization_id, least=Role.ADMIN)
    rows = _living(organization_id)
    if after is not None:
        rows = rows.filter(pk__gt=after)
    page = list(rows.order_by("pk")[: limit + 1])
    last = page[limit - 1].pk if len(page) > limit else None
    return [_facts(row) for row in page[:limit]], last


def get_managed_user(*, actor: Actor, organization_id: UUID, user_id: UUID) -> ManagedFacts:
    """Return one managed user; raises SubjectNotFound, RoleMissing or ManagedUserNotFound."""
    read_standing(actor, organization_id, least=Role.ADMIN)
    if (row := _living(organization_id).filter(user_id=user_id).first()) is None:
        raise ManagedUserNotFound(user_id)
    return _facts(row)


def remove_managed_user(
    *, actor: Actor, organization_id: UUID, user_id: UUID, now: datetime
) -> ScheduledDeletion:
    """Soft delete a managed user and schedule the erasure; return it with the token of its status
    link. The user stays managed, so that the organization can follow and undo it.

    Raises ActorGone, SubjectNotFound, OrganizationArchived, RoleMissing, ManagedUserNotFound,
    SoleOwner or DeletionInProgress.
    """
    subject = Reference("user", user_id)
    with transaction.atomic(durable=True):
        standing = lock_for_change(
            actor,
            organization_id,
            least=Role.ADMIN,
            people=[user_id],
            # Evaluated when the users are locked: what this one owns is counted, too.
            beside=Membership.objects.filter(user_id=user_id, role=Role.OWNER).values_list(
                "organization_id", flat=True
            ),
        )
        if not _living(organization_id).filter(user_id=user_id).exists():
            raise ManagedUserNotFound(user_id)
        forbid_ownerless([user_id])
        request = suspend_locked(
            actor=actor,
            subject=subject,
            locked={subject: standing.people[user_id]},
            organization_id=organization_id,
            now=now,
        )
    return hand_out(request)


def restore_managed_user(
    *, actor: Actor, organization_id: UUID, user_id: UUID, now: datetime
) -> Progress:
    """Undo the deletion of a managed user within its grace period, at the wish of those who run
    the organization; return how it stands.

    Raises SubjectNotFound, OrganizationArchived, RoleMissing, ManagedUserNotFound, or what
    ``deleting.restore`` raises.
    """
    subject = Reference("user", user_id)
    with transaction.atomic(durable=True):
        lock_for_change(actor, organization_id, least=Role.ADMIN, people=[user_id])
        managed = ManagedUser.objects.filter(organization_id=organization_id, user_id=user_id)
        # Not what the user or staff have asked for: that is theirs to take back.
        asked = DeletionRequest.objects.about(subject).open()
        mine = asked.filter(organization_id=organization_id).first()
        if mine is None or not managed.exists():
            raise ManagedUserNotFound(user_id)
    # The right to it was just looked at, so that no permission of staff is asked for.
    request = restore(actor=actor, subject=subject, now=now, deletion_id=mine.pk, by_link=True)
    found = DeletionRequest.objects.with_hold().get(pk=request.pk)
    return describe_progress(found, now=now)


def _living(organization_id: UUID) -> Any:
    rows = ManagedUser.objects.filter(organization_id=organization_id, user__is_deleted=False)
    return rows.select_related("user")


def _facts(row: ManagedUser) -> ManagedFacts:
    user: Any = row.user
    return ManagedFacts(
        user_id=row.user_id,
        external_id=row.external_id,
        username=user.username,
        name=user.name,
        email=user.email,
        is_active=user.is_active,
        created_at=row.created_at,
    )
