"""Carries out an erasure. One subject, one transaction: rows, counts, state and audit event."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from django.db import models, transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure import requests
from erasure.closure import closure_of
from erasure.exceptions import SubjectNotFound, UnderLegalHold
from erasure.holds import forbid_held
from erasure.models import DeletionRequest
from erasure.planner import Plan, make_plan
from erasure.subjects import lock_subject

LOGS = "audit.EventDetail"

logger = logging.getLogger("sexton.erasure")


@dataclass(frozen=True, slots=True)
class Erasure:
    """A finished erasure: the request that carried it and the rows removed, by model."""

    subject: Reference
    request_id: UUID
    counts: dict[str, int]


@dataclass
class PurgeReport:
    """What a purge did: finished erasures, and the requests that failed with their reasons."""

    erased: list[Erasure] = field(default_factory=list)
    failed: dict[UUID, str] = field(default_factory=dict)


def erase_locked(
    *,
    actor: Actor,
    subject: Reference,
    instance: models.Model,
    now: datetime,
    organization_id: UUID | None = None,
    keep_logs: bool = False,
    facts: Mapping[str, str] | None = None,
) -> Erasure:
    """Erase a subject in the caller's transaction, given its locked row.

    With ``keep_logs`` the personal values in the audit log stay, for a caller whose contract
    erases them by a call of their own. Raises UnderLegalHold or DeletionInProgress. A crash
    before the commit leaves everything as it was.
    """
    forbid_held(subject)
    request = requests.begin(actor=actor, subject=subject, now=now, organization_id=organization_id)
    return _erase(request, instance, actor=actor, now=now, keep_logs=keep_logs, facts=facts or {})


def purge_due(
    *, actor: Actor, clock: Callable[[], datetime], limit: int | None = None
) -> PurgeReport:
    """Erase every subject that is due, each in its own transaction.

    A failing one is named in the report and left for a later run while the others go on. ``clock``
    is read for each subject, since a lease counts from its claim; ``limit`` bounds the subjects.
    """
    report = PurgeReport()
    tried: set[UUID] = set()
    while limit is None or len(tried) < limit:
        request = requests.claim_due(now=clock(), skip=tried)
        if request is None:
            break
        tried.add(request.pk)
        try:
            report.erased.append(execute(request, actor=actor, now=clock()))
        except UnderLegalHold:
            requests.release(request)
        except Exception as error:
            logger.exception("erasure failed", extra={"deletion": str(request.pk)})
            report.failed[request.pk] = requests.fail(request, error, now=clock())
    return report


def execute(request: DeletionRequest, *, actor: Actor, now: datetime) -> Erasure:
    """Erase the subject of a claimed request. Everything is read again under the lock."""
    with transaction.atomic(durable=True):
        instance = lock_subject(request.subject)
        forbid_held(request.subject)
        mine = DeletionRequest.objects.select_for_update().get(
            pk=request.pk, lease_token=request.lease_token
        )
        return _erase(mine, instance, actor=actor, now=now, facts={})


def preview(subject: Reference) -> Plan | None:
    """Return the plan of an erasure without touching anything; None when the subject is gone."""
    try:
        return make_plan(subject)
    except SubjectNotFound:
        return None


def _erase(
    request: DeletionRequest,
    instance: models.Model | None,
    *,
    actor: Actor,
    now: datetime,
    keep_logs: bool = False,
    facts: Mapping[str, str],
) -> Erasure:
    subject = request.subject
    counts: dict[str, int] = {}
    if instance is not None:
        spare = {LOGS} if keep_logs else ()
        tally = closure_of(subject.kind).carry_out([subject.id], spare=spare)
        counts = tally.removed.get(subject.id, {})
    requests.complete(request, counts=counts, now=now)
    record(
        f"{subject.kind}.erased",
        actor=actor,
        subject=subject,
        now=now,
        organization_id=request.organization_id,
        facts={"deletion": str(request.pk), "removed": counts, **facts},
    )
    return Erasure(subject=subject, request_id=request.pk, counts=counts)
