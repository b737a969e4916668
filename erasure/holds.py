"""The one choke point for legal holds. Every path that erases passes ``forbid_held``."""

from datetime import date, datetime
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.exceptions import SubjectNotFound, UnderLegalHold
from erasure.models import LegalHold
from erasure.subjects import lock_subject


def is_held(subject: Reference) -> bool:
    return LegalHold.objects.active().on(subject).exists()


def forbid_held(subject: Reference) -> None:
    """Raise UnderLegalHold when a hold stands. Call it with the subject's row locked."""
    if is_held(subject):
        raise UnderLegalHold(subject.kind, subject.id)


def place_hold(
    *, actor: Actor, subject: Reference, reason: str, review_at: date | None, now: datetime
) -> UUID:
    """Forbid the erasure of a subject until the hold is released; return the hold's id.

    The subject's row is locked first, so that a hold and an erasure cannot pass each other.
    Raises SubjectNotFound when it is gone already.
    """
    with transaction.atomic(durable=True):
        if lock_subject(subject) is None:
            raise SubjectNotFound(subject.kind)
        hold = LegalHold.objects.create(
            subject_kind=subject.kind,
            subject_id=subject.id,
            reason=reason,
            review_at=review_at,
            placed_at=now,
            placed_by_id=actor.person_id,
        )
        record("hold.placed", actor=actor, subject=subject, now=now, facts={"hold": str(hold.id)})
        return hold.id


def release_hold(*, actor: Actor, hold_id: UUID, now: datetime) -> bool:
    """End a hold; return False when it had ended before. What was due is due again at once."""
    with transaction.atomic(durable=True):
        hold = LegalHold.objects.select_for_update().get(pk=hold_id)
        if hold.released_at is not None:
            return False
        hold.released_at = now
        hold.released_by_id = actor.person_id
        hold.save(update_fields=["released_at", "released_by_id"])
        subject = Reference(hold.subject_kind, hold.subject_id)
        record("hold.released", actor=actor, subject=subject, now=now, facts={"hold": str(hold_id)})
        return True
