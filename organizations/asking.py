"""What an owner asks for about an organization: what its deletion would take, the deletion, and the
way back."""

from datetime import datetime
from uuid import UUID

from audit.actors import Actor
from audit.events import Reference
from erasure.models import DeletionRequest
from erasure.planner import Plan, make_plan
from erasure.progress import Progress, ScheduledDeletion, describe_progress, hand_out
from organizations.services import cancel_deletion, require_owner, schedule_deletion


def preview_organization(*, actor: Actor, organization_id: UUID, cap: int | None = None) -> Plan:
    """Return what deleting an organization would do, to one of its owners. Changes nothing.

    Raises SubjectNotFound or NotOrganizationOwner.
    """
    require_owner(actor, organization_id)
    return make_plan(Reference("organization", organization_id), cap=cap)


def schedule_own_organization(
    *, actor: Actor, organization_id: UUID, slug: str, now: datetime, plan_id: str = ""
) -> ScheduledDeletion:
    """Soft delete an organization at an owner's wish and schedule the erasure; return it with the
    token of its status link, of which a digest is kept. Raises what ``schedule_deletion`` raises.
    """
    request = schedule_deletion(
        actor=actor, organization_id=organization_id, slug=slug, plan_id=plan_id, now=now
    )
    return hand_out(request)


def cancel_own_deletion(*, actor: Actor, organization_id: UUID, now: datetime) -> Progress:
    """Take the scheduled deletion of an organization back at an owner's wish, and return how it
    stands. Raises what ``cancel_deletion`` raises."""
    request = cancel_deletion(actor=actor, organization_id=organization_id, now=now)
    found = DeletionRequest.objects.with_hold().get(pk=request.pk)
    return describe_progress(found, now=now)
