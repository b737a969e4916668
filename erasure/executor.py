"""Erasures that somebody waits for. Of one subject and whoever goes along with it, in one
transaction, as long as there are no more rows than one may hold; larger ones in many small ones,
under a lease, as the purge does it, and by the purge should this process die."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models, transaction
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from erasure import requests
from erasure.along import tell_along
from erasure.approval import approve
from erasure.brakes import forbid_paused
from erasure.closing import Erasure
from erasure.counting import count_rows
from erasure.deleting import forbid_blocked, lock_with_companions, suspend_locked
from erasure.engines import wake_drain
from erasure.exceptions import SubjectNotFound, UnderLegalHold
from erasure.finishing import LOGS, finish_erasure
from erasure.foureyes import forbid_alone, lock_orderer
from erasure.holds import forbid_held, held_among, held_companions
from erasure.models import DeletionRequest
from erasure.planner import Plan, make_plan
from erasure.rights import require_staff, right_to_erase
from erasure.sets import LARGE
from erasure.subjects import companions_if_few, get_kind, has_many_companions, lock_order
from erasure.working import OnPiece, erase_stepwise

Erasures = tuple[Erasure, list[Erasure]]
"""That of the subject, and those of whoever went along."""


def erase_now(
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    plan_id: str = "",
    planned: Mapping[str, Any] | None = None,
    reference: str = "",
    only_deleted: bool = False,
    on_piece: OnPiece | None = None,
) -> Erasure:
    """Erase a subject for ever on behalf of staff, its companions before it, and wait for the end.

    ``plan_id`` names the plan that was looked at, and ``planned`` is its record, if it is at hand:
    then only material drift is refused. ``reference`` is the case that this belongs to.
    With ``only_deleted`` a subject that has been restored meanwhile counts as not found.
    ``on_piece`` hears of each transaction of a large one. Raises RightMissing, Paused,
    SecondPersonNeeded, SubjectNotFound, Blocked, UnderLegalHold, DeletionInProgress, PlanDrifted
    or LedgerUnavailable.
    """
    begun = _begin(actor, subject, now, plan_id, planned, reference, only_deleted)
    return finish_family(begun, actor=actor, now=now, on_piece=on_piece)


def erase_soon(
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    plan_id: str = "",
    planned: Mapping[str, Any] | None = None,
    reference: str = "",
    only_deleted: bool = False,
) -> Erasure | DeletionRequest:
    """The same for whoever cannot wait: a small subject is gone when this returns; of a large one
    the access has ended, and a worker does the rest. Returns the request then."""
    begun = _begin(actor, subject, now, plan_id, planned, reference, only_deleted, hands_over=True)
    return begun[0] if isinstance(begun, tuple) else begun


def hand_over(begun: Erasures | DeletionRequest, *, now: datetime) -> None:
    """Leave to a worker what ``begin_family`` has only begun, in the caller's transaction. Should
    the task get lost, the sweep finds a request that runs and that nobody has."""
    if isinstance(begun, DeletionRequest):
        requests.leave(begun, now=now)
        wake_drain(begun.pk)


def _begin(
    actor: Actor,
    subject: Reference,
    now: datetime,
    plan_id: str,
    planned: Mapping[str, Any] | None,
    reference: str,
    only_deleted: bool,
    *,
    hands_over: bool = False,
) -> Erasures | DeletionRequest:
    kind = get_kind(subject.kind)
    require_staff(actor, right_to_erase(kind))
    forbid_paused()
    if plan_id:
        approve(subject, plan_id, record=planned)
    with transaction.atomic(durable=True):
        locked = lock_with_companions(subject, also=lock_orderer(actor))
        forbid_alone(actor, now)
        if only_deleted and not kind.is_suspended(locked[subject]):
            raise SubjectNotFound(subject.kind)
        forbid_blocked(subject)
        begun = begin_family(
            actor=actor,
            subject=subject,
            locked=locked,
            now=now,
            reference=reference,
            ordered_by=actor.person_id,
        )
        if hands_over:
            hand_over(begun, now=now)
    return begun


def begin_family(
    *,
    actor: Actor,
    subject: Reference,
    locked: Mapping[Reference, Any],
    now: datetime,
    organization_id: UUID | None = None,
    keep_logs: bool = False,
    reference: str = "",
    ordered_by: UUID | None = None,
    is_large: bool | None = None,
) -> Erasures | DeletionRequest:
    """Erase a locked subject and before it its locked companions, each under a request of its own,
    in the caller's transaction. ``ordered_by`` is who wants it done at once and alone, and
    ``is_large`` what ``looks_large`` has said just before, if it was asked.

    If there is too much for one, access ends in it and the request of the subject is returned under
    a lease. ``finish_family`` takes either, after the commit. With ``keep_logs`` the personal
    values in the audit log stay, for a caller whose contract erases them by a call of their own.
    Raises UnderLegalHold, DeletionInProgress or LedgerUnavailable.
    """
    for kind in lock_order(one.kind for one in locked):
        ids = [one.id for one in locked if one.kind == kind]
        if held := held_among(ids):
            raise UnderLegalHold(kind, min(held))
    is_many = has_many_companions(subject)
    if is_many and (kept := held_companions(subject)):
        raise UnderLegalHold(kept[0].kind, kept[0].id)
    spare = (LOGS,) if keep_logs else ()
    if is_large is None:
        is_large = _is_large(locked)
    if is_many or is_large:
        return _take(actor, subject, locked, now, organization_id, spare, reference, ordered_by)
    request = requests.begin(
        actor=actor,
        subject=subject,
        now=now,
        organization_id=organization_id,
        reference=reference,
    )
    if request.attempts > 1 and DeletionRequest.objects.filter(cause_id=request.pk).exists():
        # Some of the family went in an earlier attempt, or are half gone: the request knows them.
        return _take(actor, subject, locked, now, organization_id, spare, reference, ordered_by)
    request.ordered_by_id = ordered_by
    companions = [
        erase_locked(
            actor=actor,
            subject=companion,
            instance=locked[companion],
            now=now,
            organization_id=subject.id,
            cause_id=request.pk,
            reference=reference,
        )
        for companion in get_kind(subject.kind).among_companions(subject.id, list(locked))
    ]
    request.along = tell_along([(one.subject, one.request_id) for one in companions])
    done = finish_erasure(request, locked[subject], actor=actor, now=now, spare=spare)
    return done, companions


def finish_family(
    begun: Erasures | DeletionRequest,
    *,
    actor: Actor,
    now: datetime,
    on_piece: OnPiece | None = None,
) -> Erasure:
    """Return the subject's erasure if ``begin_family`` has done it, or carry it to its end. Outside
    of any transaction. Raises UnderLegalHold, Paused, DeletionInProgress or LedgerUnavailable when
    something came in between: then the purge goes on from there as soon as it may."""
    if isinstance(begun, tuple):
        return begun[0]
    started = timezone.now()
    # A lease must be told the time that it is.
    return erase_stepwise(
        begun, actor=actor, clock=lambda: now + (timezone.now() - started), on_piece=on_piece
    )


def looks_large(subject: Reference) -> bool:
    """Whether too many rows go with a subject, and whoever goes along, for one transaction.

    To be asked before any lock is taken: the count costs more than all the rest of a request that
    leaves the rows to a worker, and what is added until then makes no difference.
    """
    # A count that fails in a transaction of its own leaves one around it usable.
    with transaction.atomic():
        along = companions_if_few(subject)
        return along is None or _is_large([*along, subject])


def _is_large(locked: Collection[Reference]) -> bool:
    family: dict[str, list[UUID]] = {}
    for one in locked:
        family.setdefault(one.kind, []).append(one.id)
    counted = count_rows(family, cap=LARGE)
    parts = (counted.removed, counted.detached, counted.anonymised)
    return counted.capped or sum(sum(part.values()) for part in parts) > LARGE


def _take(
    actor: Actor,
    subject: Reference,
    locked: Mapping[Reference, Any],
    now: datetime,
    organization_id: UUID | None,
    spare: Collection[str],
    reference: str,
    ordered_by: UUID | None,
) -> DeletionRequest:
    """Soft delete a subject, unless it is so already, and put its deletion under a lease."""
    if not get_kind(subject.kind).is_suspended(locked[subject]):
        suspend_locked(
            actor=actor,
            subject=subject,
            locked=locked,
            now=now,
            organization_id=organization_id,
            reference=reference,
            at_once=True,
        )
    request = requests.begin(
        actor=actor,
        subject=subject,
        now=now,
        organization_id=organization_id,
        reference=reference,
    )
    request.cursor = {**request.cursor, "large": True}
    # Not when the last row goes: who was told that it is gone is not billed until then.
    get_kind(subject.kind).order_effects([subject.id], actor=actor, now=now)
    if spare:
        request.cursor["spare"] = list(spare)
    request.ordered_by_id = ordered_by
    requests.take(request, now=now)
    return request


def erase_locked(
    *,
    actor: Actor,
    subject: Reference,
    instance: models.Model,
    now: datetime,
    organization_id: UUID | None = None,
    cause_id: UUID | None = None,
    reference: str = "",
    is_repeat: bool = False,
) -> Erasure:
    """Erase a subject in the caller's transaction, given its locked row.

    With ``is_repeat`` nobody is told, since they were told before a backup undid it. Raises
    UnderLegalHold, DeletionInProgress or LedgerUnavailable. A crash before the commit leaves
    everything as it was.
    """
    forbid_held(subject)
    request = requests.begin(
        actor=actor,
        subject=subject,
        now=now,
        organization_id=organization_id,
        cause_id=cause_id,
        reference=reference,
    )
    return finish_erasure(request, instance, actor=actor, now=now, is_repeat=is_repeat)


def preview(subject: Reference) -> Plan | None:
    """Return the plan of an erasure without touching anything; None when the subject is gone."""
    try:
        return make_plan(subject)
    except SubjectNotFound:
        return None
