"""What users ask for about their own account: what its deletion would take, and the deletion."""

from datetime import datetime
from uuid import UUID

from accounts.exceptions import SomebodyElse
from accounts.models import User
from accounts.services import schedule_deletion
from audit.actors import Actor
from audit.events import Reference
from erasure.exceptions import ActorGone, RightMissing, SubjectNotFound
from erasure.planner import Plan, make_plan
from erasure.progress import ScheduledDeletion, hand_out
from organizations.leaving import Settlements


def preview_own_account(*, actor: Actor, user_id: UUID, cap: int | None = None) -> Plan:
    """Return what deleting the actor's own account would do. Changes nothing.

    Raises RightMissing, SomebodyElse, SubjectNotFound or ActorGone.
    """
    require_self(actor, user_id)
    try:
        return make_plan(Reference("user", user_id), cap=cap)
    except SubjectNotFound:
        raise ActorGone(user_id) from None


def schedule_own_deletion(
    *,
    actor: Actor,
    user_id: UUID,
    now: datetime,
    organizations: Settlements | None = None,
    plan_id: str = "",
) -> ScheduledDeletion:
    """Soft delete the actor's own account and schedule its erasure, as ``schedule_deletion`` does;
    return it with the token of its status link, of which a digest is kept.

    Raises RightMissing, SomebodyElse, and what ``schedule_deletion`` raises.
    """
    require_self(actor, user_id)
    request = schedule_deletion(
        actor=actor, user_id=user_id, organizations=organizations or {}, plan_id=plan_id, now=now
    )
    return hand_out(request)


def require_self(actor: Actor, user_id: UUID) -> None:
    """Raise unless a user is the actor itself: RightMissing for an actor that is no user,
    SomebodyElse for another living user, SubjectNotFound for none."""
    if actor.user_id is None:
        raise RightMissing("account")
    if user_id != actor.user_id:
        if User.live.filter(pk=user_id).exists():
            raise SomebodyElse(user_id)
        raise SubjectNotFound("user")
