"""The last transaction of any erasure: the rest of a subject goes, and its request closes."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from audit.actors import Actor
from audit.evidence import LOGS_KEPT
from erasure import notices
from erasure.closing import Erasure, close_one, intend_one
from erasure.closure import closure_of
from erasure.draining import Drain
from erasure.files import note_files
from erasure.models import DeletionRequest
from erasure.subjects import get_kind

LOGS = "audit.EventDetail"
"""The personal values beside the events: a contract may have a call of its own for them."""


def finish_erasure(
    request: DeletionRequest,
    instance: Any | None,
    *,
    actor: Actor,
    now: datetime,
    spare: Collection[str] = (),
    is_repeat: bool = False,
    drain: Drain | None = None,
) -> Erasure:
    """Remove whatever there still is of a subject and close its request, in the caller's
    transaction. Holds are the caller's affair; the row, if it exists, is locked. ``spare`` names
    models that are left alone. ``drain`` has removed the bulk of the rows before. With
    ``is_repeat`` nobody is told, since they were told before a backup undid it."""
    subject = request.subject
    intend_one(request, instance, now=now)
    told = [instance] if instance is not None and not is_repeat else []
    whom = notices.gather(subject.kind, told)
    ordered = get_kind(subject.kind).order_effects([subject.id], actor=actor, now=now)
    note_files(subject.kind, [subject.id], now=now)
    closure = closure_of(subject.kind)
    tally = drain.finish() if drain else closure.carry_out([subject.id], spare=spare)
    add_counts(request, tally.removed.get(subject.id, {}))
    channels = whom[subject.id].channels if subject.id in whom else []
    request.told = [*channels, *ordered.get(subject.id, ())]
    facts: dict[str, Any] = {"reference": request.reference} if request.reference else {}
    if LOGS in spare:
        facts[LOGS_KEPT] = True
    done = close_one(request, actor=actor, now=now, facts=facts)
    notices.tell_erased([request], whom)
    return done


def add_counts(request: DeletionRequest, removed: Mapping[str, int]) -> None:
    """Add to a request's counts what one more transaction removed."""
    counts = dict(request.counts)
    for label, rows in removed.items():
        counts[label] = counts.get(label, 0) + rows
    request.counts = counts
