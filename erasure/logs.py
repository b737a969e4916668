"""What the audit log holds about somebody, erased by itself."""

from datetime import datetime

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from audit.forgetting import redact_person
from erasure.holds import forbid_held
from erasure.subjects import lock_subject


def erase_logs(*, actor: Actor, subject: Reference, now: datetime) -> int:
    """Erase every personal value of the events that a subject acted in or that are about it; return
    how many there were. GDPR Art. 17(1).

    Works before and after the subject's own erasure; repeating it is harmless. Raises
    UnderLegalHold.
    """
    with transaction.atomic(durable=True):
        lock_subject(subject)
        forbid_held(subject)
        removed = redact_person(subject.id)
        facts = {"values": removed}
        record(f"{subject.kind}.logs_erased", actor=actor, subject=subject, now=now, facts=facts)
    return removed
