"""The one choke point for legal holds. Every path that erases asks ``held_among`` or passes
``forbid_held``, with the subjects' rows locked: a hold locks the row, too, before it stands."""

from collections.abc import Collection
from datetime import date, datetime
from itertools import batched
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from audit.statements import Among, select
from erasure import requests
from erasure.engines import wake_purge
from erasure.exceptions import SubjectNotFound, UnderLegalHold
from erasure.models import LegalHold
from erasure.rights import require_staff
from erasure.subjects import get_kind, kind_names, lock_subject

PLACE, RELEASE = "erasure.add_legalhold", "erasure.change_legalhold"


def held_among(ids: Collection[UUID]) -> set[UUID]:
    """Return which of these subjects a hold stands on. One query.

    Whatever their kind: much is found and erased by the id alone, and a request that names a person
    as something else must not get past a hold.
    """
    return {pk for (pk,) in _held.all(ids=list(ids))} if ids else set()


@select
def _held(ids: list[UUID]) -> Any:
    held = LegalHold.objects.active().filter(Among("subject_id", ids))
    return held.values_list("subject_id")


def held_companions(subject: Reference) -> list[Reference]:
    """Return those who go along with a subject and whom a hold keeps, the first few of them. Asked
    from the side of the holds: they are few, and the companions may be very many."""
    held = LegalHold.objects.active().order_by().values_list("subject_kind", "subject_id")
    known = [Reference(kind, pk) for kind, pk in held.distinct().iterator()]
    kind, found = get_kind(subject.kind), list[Reference]()
    for some in batched(known, 1_000):
        found += kind.among_companions(subject.id, some)
        if found:
            break
    return found


def is_held(subject: Reference) -> bool:
    return bool(held_among([subject.id]))


def forbid_held(subject: Reference) -> None:
    """Raise UnderLegalHold when a hold stands. Call it with the subject's row locked."""
    if is_held(subject):
        raise UnderLegalHold(subject.kind, subject.id)


def place_hold(
    *, actor: Actor, subject: Reference, reason: str, review_at: date | None, now: datetime
) -> UUID:
    """Forbid the erasure of a subject until the hold is released; return the hold's id.

    The subject's row is locked first, so that a hold and an erasure cannot pass each other.
    Raises RightMissing, or SubjectNotFound when it is gone already.
    """
    require_staff(actor, PLACE)
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
        facts = {"hold": str(hold.id)}
        typed = {"reason": reason}
        record("hold.placed", actor=actor, subject=subject, now=now, facts=facts, details=typed)
        return hold.id


def release_hold(*, actor: Actor, hold_id: UUID, now: datetime) -> bool:
    """End a hold; return False when it had ended before. Raises RightMissing.

    With the last hold gone a deletion that it kept waiting is queued again: the next purge takes
    it, without the wait that an earlier failure had set.
    """
    require_staff(actor, RELEASE)
    with transaction.atomic(durable=True):
        # The subject's row comes before its holds in the order of locks.
        known = LegalHold.objects.only("subject_kind", "subject_id").get(pk=hold_id)
        subject = Reference(known.subject_kind, known.subject_id)
        if subject.kind in kind_names():
            lock_subject(subject)
        hold = LegalHold.objects.select_for_update().get(pk=hold_id)
        if hold.released_at is not None:
            return False
        hold.released_at = now
        hold.released_by_id = actor.person_id
        hold.save(update_fields=["released_at", "released_by_id"])
        facts = {"hold": str(hold_id)}
        if not is_held(subject) and (waiting := requests.requeue(subject, now=now)):
            facts["requeued"] = str(waiting.pk)
            wake_purge()
        record("hold.released", actor=actor, subject=subject, now=now, facts=facts)
        return True
