"""The soft delete of any subject, and the way back: same grace, same states, same events.

Lock order: companions before the subject that takes them along, kind by kind in their rank, each
kind by id. A subject's organizations and other parents come after it, by its kind's own hook.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure import notices, requests
from erasure.approval import approve
from erasure.closing import note_restored
from erasure.exceptions import (
    Blocked,
    DeletionInProgress,
    NotRestorable,
    SubjectNotFound,
    TakenAlong,
)
from erasure.models import DeletionRequest
from erasure.rights import require_staff, right_to_erase, right_to_restore
from erasure.subjects import (
    REMOVED,
    SubjectKind,
    companions_at_once,
    get_kind,
    lock_order,
    lock_subject,
    lock_subjects,
)

Locked = dict[Reference, Any]
"""Rows whose locks this transaction holds, by subject."""


def schedule_deletion(
    *, actor: Actor, subject: Reference, now: datetime, plan_id: str = "", reference: str = ""
) -> DeletionRequest:
    """Soft delete a subject on behalf of staff, its companions with it, and schedule the erasure.

    ``plan_id`` names the plan that was looked at. A legal hold does not stop this: the data stays,
    and its erasure waits. Raises RightMissing, SubjectNotFound, Blocked, PlanDrifted or
    DeletionInProgress.
    """
    require_staff(actor, right_to_erase(get_kind(subject.kind)))
    plan = approve(subject, plan_id) if plan_id else None
    with transaction.atomic(durable=True):
        locked = lock_with_companions(subject)
        forbid_blocked(subject)
        return suspend_locked(
            actor=actor,
            subject=subject,
            locked=locked,
            now=now,
            planned=plan.as_record() if plan else None,
            plan_id=plan_id,
            reference=reference,
        )


def grace_period() -> timedelta:
    """Return how long a soft delete can be restored: the setting GRACE_PERIOD, or 14 days."""
    found: timedelta = getattr(settings, "GRACE_PERIOD", timedelta(days=14))
    return found


def lock_with_companions(subject: Reference, *, also: Collection[Reference] = ()) -> Locked:
    """Lock a subject, and before it whoever goes along with it: all of them, or where these are
    too many for a request, those on whom something else depends. What is to be locked ``also``, in
    its place in the order of locks, is not among what this returns.

    They must be known before the subject is locked and may change until it is: if one joined in
    between, the lock order would be broken, so the caller is told that the subject is busy.
    Raises SubjectNotFound or DeletionInProgress.
    """
    companions = set(companions_at_once(subject))
    early = lock_all([*companions, *also, *([subject] if also else [])])
    locked = {one: row for one, row in early.items() if one in companions}
    if (instance := lock_subject(subject)) is None:
        raise SubjectNotFound(subject.kind)
    locked[subject] = instance
    if set(companions_at_once(subject)) - locked.keys():
        raise DeletionInProgress(subject.kind, subject.id)
    return locked


def lock_all(subjects: Any) -> Locked:
    """Lock subjects of any kinds in the order of locks; those that are gone are left out."""
    wanted = list(subjects)
    locked: Locked = {}
    for name in lock_order(subject.kind for subject in wanted):
        ids = [subject.id for subject in wanted if subject.kind == name]
        found = lock_subjects(name, ids)
        locked |= {Reference(name, pk): row for pk, row in found.items()}
    return locked


def forbid_blocked(subject: Reference) -> None:
    """Raise Blocked when something must be settled first. Call it with the subject locked."""
    kind = get_kind(subject.kind)
    kind.lock_family([subject.id])
    if blockers := kind.blockers([subject.id]).get(subject.id):
        raise Blocked(subject.kind, subject.id, blockers)


def suspend_locked(
    *,
    actor: Actor,
    subject: Reference,
    locked: Mapping[Reference, Any],
    now: datetime,
    organization_id: UUID | None = None,
    cause_id: UUID | None = None,
    planned: Mapping[str, Any] | None = None,
    plan_id: str = "",
    reference: str = "",
    at_once: bool = False,
) -> DeletionRequest:
    """Soft delete a locked subject and its locked companions in the caller's transaction.

    With ``at_once`` their erasure follows without a grace period, and what the soft delete removes
    for good is counted with it. The guards are the caller's affair. Companions that are on their
    way out already keep the deletion that they have, and a kind that knows no soft delete is only
    scheduled. Raises DeletionInProgress.
    """
    kind = get_kind(subject.kind)
    instance = locked[subject]
    stays = kind.is_suspended(instance) or type(kind).suspend is SubjectKind.suspend
    before = {} if stays else kind.suspend(instance, actor=actor, now=now)
    removed = before.pop(REMOVED, {})
    request = requests.schedule(
        actor=actor,
        subject=subject,
        due_at=now + grace_period(),
        now=now,
        before=before,
        counts=removed if at_once else {},
        organization_id=organization_id,
        cause_id=cause_id,
        planned=planned,
        plan_id=plan_id,
        reference=reference,
    )
    facts = {"deletion": str(request.pk)}
    if reference:
        facts["reference"] = reference
    if cause_id:
        facts["cause"] = str(cause_id)
    record(
        f"{subject.kind}.deleted",
        actor=actor,
        subject=subject,
        now=now,
        organization_id=organization_id,
        facts=facts,
        keep_details=actor.id == subject.id,
    )
    notices.tell_requested(request)
    for companion in kind.among_companions(subject.id, list(locked)):
        if get_kind(companion.kind).is_suspended(locked[companion]):
            continue
        suspend_locked(
            actor=actor,
            subject=companion,
            locked=locked,
            now=now,
            organization_id=subject.id,
            cause_id=request.pk,
            reference=reference,
            at_once=at_once,
        )
    return request


def restore(
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    reference: str = "",
    deletion_id: UUID | None = None,
    by_link: bool = False,
) -> DeletionRequest:
    """Undo a soft delete within its grace period, with all that it took along, and return its
    request. Credentials that died stay dead.

    ``deletion_id`` says which deletion is meant: a later one of the same subject is not undone.
    With ``by_link`` the caller has checked the link that was mailed at the deletion, and no
    permission is asked for. Raises RightMissing, SubjectNotFound, NotRestorable, GraceExpired,
    TakenAlong, or the kind's own RestoreError when somebody else bears a name by now.
    """
    if not by_link:
        require_staff(actor, right_to_restore(get_kind(subject.kind)))
    arguments: dict[str, Any] = {
        "actor": actor,
        "subject": subject,
        "now": now,
        "reference": reference,
        "deletion_id": deletion_id,
    }
    try:
        with transaction.atomic(durable=True):
            return _restore(**arguments)
    except IntegrityError:
        # Somebody took a name between the look and the write; a second look sees who has it.
        with transaction.atomic(durable=True):
            return _restore(**arguments)


def _restore(
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    reference: str,
    deletion_id: UUID | None,
) -> DeletionRequest:
    locked = lock_all([subject, *_taken_along(subject), *_takers(subject)])
    if subject not in locked:
        raise SubjectNotFound(subject.kind)
    request = _resume(actor, subject, locked, now, reference)
    if deletion_id is not None and request.pk != deletion_id:
        raise NotRestorable(subject.id)
    if (taker := requests.find_taker(request)) is not None:
        raise TakenAlong(subject.id, taker.subject)
    causes = [request.pk]
    while children := _children(causes):
        # All were written in one transaction with the request, so all were known and are locked.
        for child in children:
            if child.subject in locked:
                _resume(actor, child.subject, locked, now, reference)
        causes = [child.pk for child in children if child.subject in locked]
    return request


def _resume(
    actor: Actor, subject: Reference, locked: Locked, now: datetime, reference: str
) -> DeletionRequest:
    request = requests.cancel(subject=subject, now=now)
    get_kind(subject.kind).resume(locked[subject], request.before, actor=actor)
    facts = {"deletion": str(request.pk)}
    if reference:
        facts["reference"] = reference
    record(
        f"{subject.kind}.restored",
        actor=actor,
        subject=subject,
        now=now,
        organization_id=request.organization_id,
        facts=facts,
    )
    notices.tell_restored(request)
    note_restored(request, locked[subject], now=now)
    return request


def _takers(subject: Reference) -> list[Reference]:
    mine = DeletionRequest.objects.about(subject).open()
    return [taker.subject for one in mine if (taker := requests.find_taker(one)) is not None]


def _taken_along(subject: Reference) -> list[Reference]:
    """Return the subjects whose deletion came with that of this one, at whatever remove."""
    mine = DeletionRequest.objects.about(subject).open().values_list("pk", flat=True)
    found: list[Reference] = []
    causes = list(mine)
    while children := _children(causes):
        found += [child.subject for child in children]
        causes = [child.pk for child in children]
    return found


def _children(causes: list[UUID]) -> list[DeletionRequest]:
    scheduled = DeletionRequest.State.SCHEDULED
    rows = DeletionRequest.objects.filter(cause_id__in=causes, state=scheduled)
    return list(rows.order_by("subject_id")) if causes else []
