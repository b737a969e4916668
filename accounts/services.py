"""How users leave: the soft delete, the erasures of each kind of caller, and the way back."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from accounts.exceptions import Oneself, SomebodyElse
from accounts.models import Session, User
from audit.actors import Actor
from audit.events import Reference, record
from erasure.approval import approve
from erasure.brakes import forbid_paused
from erasure.closing import Erasure
from erasure.deleting import restore, suspend_locked
from erasure.exceptions import ActorGone, RightMissing, SubjectNotFound
from erasure.executor import Erasures, begin_family, finish_family
from erasure.logs import erase_logs
from erasure.models import DeletionRequest
from erasure.rights import require_staff
from erasure.subjects import lock_subject
from organizations.leaving import Settlements, lock_leaving, settle
from organizations.models import ManagedUser
from organizations.ownership import forbid_ownerless


@dataclass(frozen=True, slots=True)
class Profile:
    id: UUID
    username: str
    email: str
    name: str
    date_joined: datetime


@dataclass(frozen=True, slots=True)
class SoftDeletion:
    """A user who has just been deleted, and when the data will be erased."""

    user_id: UUID
    deletion_id: UUID
    erase_due_at: datetime


def get_own_profile(*, actor: Actor, user_id: UUID) -> Profile:
    """Return the actor's own profile; raises SomebodyElse, SubjectNotFound or RightMissing."""
    _require_self(actor, user_id)
    user = User.live.filter(pk=user_id).first()
    if user is None:
        raise ActorGone(user_id)
    return Profile(user.pk, user.username, user.email, user.name, user.date_joined)


def soft_delete_own_account(*, actor: Actor, user_id: UUID, now: datetime) -> SoftDeletion:
    """Set the flags, end every credential and session, and schedule the erasure.

    A legal hold does not stop this: the data stays, and its erasure waits. Raises SomebodyElse,
    SubjectNotFound, SoleOwner, DeletionInProgress or ActorGone.
    """
    _require_self(actor, user_id)
    with transaction.atomic(durable=True):
        user = _lock_actor(actor)
        forbid_ownerless([user.pk])
        subject = Reference("user", user.pk)
        request = suspend_locked(actor=actor, subject=subject, locked={subject: user}, now=now)
    return SoftDeletion(user.pk, request.pk, request.due_at)


def schedule_deletion(
    *,
    actor: Actor,
    user_id: UUID,
    organizations: Settlements,
    now: datetime,
    plan_id: str = "",
    reference: str = "",
) -> DeletionRequest:
    """Soft delete a user and settle what becomes of the user's organizations, all or nothing.

    The actor is the user or staff. ``organizations`` says for each organization what the user
    wants; those that it leaves out must have another owner. ``plan_id`` names the plan that was
    looked at. Raises SomebodyElse, SubjectNotFound, ActorGone, SoleOwner, SettlementRefused,
    PlanDrifted or DeletionInProgress.
    """
    subject = Reference("user", user_id)
    is_own = user_id == actor.user_id
    if not is_own:
        require_staff(actor, "accounts.erase_user")
    plan = approve(subject, plan_id) if plan_id else None
    with transaction.atomic(durable=True):
        locked = lock_leaving(user_id, organizations)
        user = locked.get(subject)
        if user is None or user.is_deleted or not (user.is_active or not is_own):
            raise ActorGone(user_id) if is_own else SubjectNotFound("user")
        request = suspend_locked(
            actor=actor,
            subject=subject,
            locked=locked,
            now=now,
            planned=plan.as_record() if plan else None,
            plan_id=plan_id,
            reference=reference,
        )
        settle(actor=actor, deletion=request, settlements=organizations, locked=locked, now=now)
    return request


def erase_own_account(*, actor: Actor, now: datetime) -> Erasure:
    """Erase the actor's own account for ever. Raises RightMissing, ActorGone, SoleOwner,
    UnderLegalHold or DeletionInProgress."""
    with transaction.atomic(durable=True):
        begun = _begin(actor, _lock_actor(actor), now)
    return _finish(begun, actor, now)


def erase_managed_user(*, actor: Actor, reference: UUID | str, now: datetime) -> Erasure:
    """Erase a user that the acting organization manages; what the log holds stays.

    ``reference`` is the user's id or username. Raises RightMissing, Oneself, SubjectNotFound,
    SoleOwner, UnderLegalHold or DeletionInProgress.
    """
    organization_id = _require_organization(actor)
    user_id = _find_managed(organization_id, reference)
    if user_id is None:
        raise SubjectNotFound("user")
    _forbid_self(actor, user_id)
    with transaction.atomic(durable=True):
        user = lock_subject(Reference("user", user_id))
        # Reach is read again under the lock: the user may have left the organization meanwhile.
        if user is None or _find_managed(organization_id, user_id) is None:
            raise SubjectNotFound("user")
        begun = _begin(actor, user, now, organization_id=organization_id, keep_logs=True)
    return _finish(begun, actor, now)


def erase_logs_of_managed_user(*, actor: Actor, reference: UUID | str, now: datetime) -> int:
    """Erase what the activity log holds about a user whom the acting organization manages, or
    managed until the user was erased; return how many values there were.

    Works before and after the account is gone, by id; repeating it is harmless. Raises
    RightMissing, Oneself, SubjectNotFound or UnderLegalHold.
    """
    organization_id = _require_organization(actor)
    user_id = _find_managed(organization_id, reference) or _find_erased(organization_id, reference)
    if user_id is None:
        raise SubjectNotFound("user")
    _forbid_self(actor, user_id)
    return erase_logs(actor=actor, subject=Reference("user", user_id), now=now)


def erase_user_as_operator(
    *,
    actor: Actor,
    user_id: UUID,
    now: datetime,
    reference: str = "",
    only_deleted: bool = False,
) -> Erasure:
    """Erase any user but oneself, logs included, on behalf of staff.

    ``reference`` is the case that the deletion belongs to. With ``only_deleted`` a user who has
    been restored meanwhile counts as not found. Raises RightMissing, Oneself,
    SubjectNotFound, Paused, SoleOwner, UnderLegalHold or DeletionInProgress.
    """
    require_staff(actor, "accounts.erase_user")
    _forbid_self(actor, user_id)
    forbid_paused()
    with transaction.atomic(durable=True):
        user = lock_subject(Reference("user", user_id))
        if user is None or (only_deleted and not user.is_deleted):
            raise SubjectNotFound("user")
        managed_by = ManagedUser.objects.filter(user_id=user_id).values_list("organization_id")
        organization = managed_by.first()
        begun = _begin(
            actor,
            user,
            now,
            organization_id=organization[0] if organization else None,
            reference=reference,
        )
    return _finish(begun, actor, now)


def restore_user(*, actor: Actor, user_id: UUID, now: datetime, reference: str = "") -> None:
    """Undo a soft delete within its grace period. The account comes back as it was; credentials
    that died stay dead.

    Raises RightMissing, SubjectNotFound, NotRestorable, GraceExpired, or NameTaken when somebody
    else bears the username or the e-mail address by now.
    """
    restore(actor=actor, subject=Reference("user", user_id), now=now, reference=reference)


def set_active(*, actor: Actor, user_id: UUID, is_active: bool, now: datetime) -> None:
    """Let a user in or lock them out, reversibly. Locking out ends sessions and never leaves an
    organization without an owner. Raises RightMissing, SubjectNotFound, Oneself or SoleOwner."""
    require_staff(actor, "accounts.change_user")
    _forbid_self(actor, user_id)
    with transaction.atomic(durable=True):
        subject = Reference("user", user_id)
        user = lock_subject(subject)
        if user is None or user.is_deleted:
            raise SubjectNotFound("user")
        if not is_active:
            forbid_ownerless([user_id])
            Session.objects.filter(user_id=user_id).delete()
        User.objects.filter(pk=user_id).update(is_active=is_active)
        action = "user.activated" if is_active else "user.deactivated"
        record(action, actor=actor, subject=subject, now=now)


def _begin(
    actor: Actor,
    user: User,
    now: datetime,
    *,
    organization_id: UUID | None = None,
    keep_logs: bool = False,
    reference: str = "",
) -> Erasures | DeletionRequest:
    """Erase a locked user. Guards first; then keys, sessions and all else go with the row."""
    if not user.is_deleted:
        forbid_ownerless([user.pk])
    subject = Reference("user", user.pk)
    return begin_family(
        actor=actor,
        subject=subject,
        locked={subject: user},
        organization_id=organization_id,
        now=now,
        keep_logs=keep_logs,
        reference=reference,
    )


def _finish(begun: Erasures | DeletionRequest, actor: Actor, now: datetime) -> Erasure:
    return finish_family(begun, actor=actor, now=now)


def _lock_actor(actor: Actor) -> User:
    """Lock the acting user, who must still live: a request that raced the deletion ends here."""
    if actor.user_id is None:
        raise RightMissing("account")
    user: User | None = lock_subject(Reference("user", actor.user_id))
    if user is None or user.is_deleted or not user.is_active:
        raise ActorGone(actor.user_id)
    return user


def _require_self(actor: Actor, user_id: UUID) -> None:
    if actor.user_id is None:
        raise RightMissing("account")
    if user_id != actor.user_id:
        if User.live.filter(pk=user_id).exists():
            raise SomebodyElse(user_id)
        raise SubjectNotFound("user")


def _forbid_self(actor: Actor, user_id: UUID) -> None:
    if user_id == actor.person_id:
        raise Oneself(user_id)


def _require_organization(actor: Actor) -> UUID:
    if actor.organization_id is None:
        raise RightMissing("organization")
    return actor.organization_id


def _find_managed(organization_id: UUID, reference: UUID | str) -> UUID | None:
    managed = ManagedUser.objects.filter(organization_id=organization_id)
    if isinstance(reference, UUID):
        named = managed.filter(user_id=reference)
    else:
        named = managed.filter(user__username=reference, user__is_deleted=False)
    return named.values_list("user_id", flat=True).first()


def _find_erased(organization_id: UUID, reference: UUID | str) -> UUID | None:
    if not isinstance(reference, UUID):
        return None
    past = DeletionRequest.objects.about(Reference("user", reference))
    known = past.filter(organization_id=organization_id)
    return known.values_list("subject_id", flat=True).first()
