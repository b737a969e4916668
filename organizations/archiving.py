"""Putting an organization to rest, and waking it again: read-only, everything kept.

Nothing ends with it: the keys and tokens of an archived organization are refused while it rests and
work again afterwards, members stay members, and billing is left as it is. Whoever changes something
within an organization asks ``forbid_archived`` under its lock.
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from organizations.founding import OrganizationFacts, describe
from organizations.models import Role
from organizations.standing import forbid_archived, lock_for_change

__all__ = ["archive_organization", "forbid_archived", "unarchive_organization"]


def archive_organization(
    *, actor: Actor, organization_id: UUID, now: datetime
) -> OrganizationFacts:
    """Archive an organization at an owner's wish; one that is archived stays as it is.

    Raises ActorGone, SubjectNotFound or RoleMissing.
    """
    return _set_archived(actor, organization_id, now, "organization.archived", at=now)


def unarchive_organization(
    *, actor: Actor, organization_id: UUID, now: datetime
) -> OrganizationFacts:
    """Wake an archived organization at an owner's wish, its keys and tokens with it; one that is
    awake stays as it is. Raises what ``archive_organization`` raises."""
    return _set_archived(actor, organization_id, now, "organization.unarchived", at=None)


def _set_archived(
    actor: Actor, organization_id: UUID, now: datetime, action: str, *, at: datetime | None
) -> OrganizationFacts:
    with transaction.atomic(durable=True):
        standing = lock_for_change(actor, organization_id, least=Role.OWNER, even_archived=True)
        row = standing.organization
        if (row.archived_at is None) != (at is None):
            row.archived_at = at
            row.save(update_fields=["archived_at"])
            subject = Reference("organization", row.pk)
            record(action, actor=actor, subject=subject, now=now)
        return describe(standing, actor)
