"""Erasures that somebody waits for: one subject, in one transaction, rows, counts, state, receipt
and event. Unattended ones are ``erasure.purging``'s affair and pass the same places."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models, transaction

from audit.actors import Actor
from audit.events import Reference
from erasure import notices, requests
from erasure.approval import approve
from erasure.brakes import forbid_paused
from erasure.closing import Erasure, close_one, intend_one
from erasure.closure import closure_of
from erasure.deleting import forbid_blocked, lock_with_companions
from erasure.exceptions import SubjectNotFound
from erasure.files import note_files
from erasure.holds import forbid_held
from erasure.models import DeletionRequest
from erasure.planner import Plan, make_plan
from erasure.rights import require_staff, right_to_erase
from erasure.subjects import get_kind

LOGS = "audit.EventDetail"
"""The personal values beside the events: a contract may have a call of its own for them."""


def erase_now(
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    plan_id: str = "",
    reference: str = "",
    only_deleted: bool = False,
) -> Erasure:
    """Erase a subject for ever on behalf of staff, its companions before it.

    ``plan_id`` names the plan that was looked at; ``reference`` is the case that this belongs to.
    With ``only_deleted`` a subject that has been restored meanwhile counts as not found. Raises
    RightMissing, Paused, SubjectNotFound, Blocked, UnderLegalHold, DeletionInProgress, PlanDrifted
    or LedgerUnavailable.
    """
    kind = get_kind(subject.kind)
    require_staff(actor, right_to_erase(kind))
    forbid_paused()
    if plan_id:
        approve(subject, plan_id)
    with transaction.atomic(durable=True):
        locked = lock_with_companions(subject)
        if only_deleted and not kind.is_suspended(locked[subject]):
            raise SubjectNotFound(subject.kind)
        forbid_blocked(subject)
        done, _ = erase_family(
            actor=actor, subject=subject, locked=locked, now=now, reference=reference
        )
        return done


def erase_family(
    *,
    actor: Actor,
    subject: Reference,
    locked: Mapping[Reference, Any],
    now: datetime,
    reference: str = "",
) -> tuple[Erasure, list[Erasure]]:
    """Erase a locked subject and before it its locked companions, each under a request of its own,
    in the caller's transaction. Returns the subject's erasure and theirs."""
    forbid_held(subject)
    request = requests.begin(actor=actor, subject=subject, now=now, reference=reference)
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
        for companion in get_kind(subject.kind).companions([subject.id]).get(subject.id, ())
        if companion in locked
    ]
    return finish_erasure(request, locked[subject], actor=actor, now=now), companions


def erase_locked(
    *,
    actor: Actor,
    subject: Reference,
    instance: models.Model,
    now: datetime,
    organization_id: UUID | None = None,
    cause_id: UUID | None = None,
    keep_logs: bool = False,
    reference: str = "",
    is_repeat: bool = False,
) -> Erasure:
    """Erase a subject in the caller's transaction, given its locked row.

    With ``keep_logs`` the personal values in the audit log stay, for a caller whose contract
    erases them by a call of their own. With ``is_repeat`` nobody is told, since they were told
    before a backup undid it. Raises UnderLegalHold, DeletionInProgress or
    LedgerUnavailable. A crash before the commit leaves everything as it was.
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
    return finish_erasure(
        request, instance, actor=actor, now=now, keep_logs=keep_logs, is_repeat=is_repeat
    )


def finish_erasure(
    request: DeletionRequest,
    instance: Any | None,
    *,
    actor: Actor,
    now: datetime,
    keep_logs: bool = False,
    is_repeat: bool = False,
) -> Erasure:
    """Remove whatever there still is of a subject and close its request, in the caller's
    transaction. Holds are the caller's affair; the row, if it exists, is locked."""
    subject = request.subject
    intend_one(request, instance, now=now)
    told = [instance] if instance is not None and not is_repeat else []
    whom = notices.gather(subject.kind, told)
    note_files(subject.kind, [subject.id], now=now)
    spare = (LOGS,) if keep_logs else ()
    tally = closure_of(subject.kind).carry_out([subject.id], spare=spare)
    add_counts(request, tally.removed.get(subject.id, {}))
    request.told = whom[subject.id].channels if subject.id in whom else []
    facts = {"reference": request.reference} if request.reference else {}
    done = close_one(request, actor=actor, now=now, facts=facts)
    notices.tell_erased([request], whom)
    return done


def add_counts(request: DeletionRequest, removed: Mapping[str, int]) -> None:
    """Add to a request's counts what one more transaction removed."""
    counts = dict(request.counts)
    for label, rows in removed.items():
        counts[label] = counts.get(label, 0) + rows
    request.counts = counts


def preview(subject: Reference) -> Plan | None:
    """Return the plan of an erasure without touching anything; None when the subject is gone."""
    try:
        return make_plan(subject)
    except SubjectNotFound:
        return None
