"""The brakes: a pause of everything, or of one subject and of whom it manages.

A pause stops what runs by itself: the purge, the sweep, workers. It stands until somebody releases
it, and every set of a purge looks again, so that a run stops between two transactions.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from audit.statements import select
from erasure.engines import wake_purge
from erasure.exceptions import Paused
from erasure.models import DeletionRequest, Pause
from erasure.rights import require_staff
from erasure.subjects import get_kind, kind_names, managing_kind

PLACE, RELEASE = "erasure.add_pause", "erasure.change_pause"

EVERYTHING = Reference("system", UUID(int=0))
"""What the events of a pause of everything are about."""


@dataclass(frozen=True, slots=True)
class Brakes:
    """The pauses that stand at one moment. ``reason`` is that of a pause of everything, or empty;
    ``organizations`` names the organizations that are paused, ``subjects`` all that they hold."""

    reason: str = ""
    is_global: bool = False
    organizations: frozenset[UUID] = frozenset()
    subjects: frozenset[UUID] = field(default=frozenset())

    def stop(self, subject_id: UUID, organization_id: UUID | None) -> bool:
        """Whether a subject, or the organization that its request names, is paused."""
        return (
            self.is_global
            or subject_id in self.subjects
            or (organization_id is not None and organization_id in self.organizations)
        )


def place_pause(
    *, actor: Actor, reason: str, now: datetime, organization_id: UUID | None = None
) -> UUID:
    """Pause unattended erasure, of everything or of one subject with whom it manages; return the
    pause's id.

    Work that is under way ends with its present transaction. Raises RightMissing.
    """
    require_staff(actor, PLACE)
    with transaction.atomic(durable=True):
        pause = Pause.objects.create(
            organization_id=organization_id,
            reason=reason,
            placed_at=now,
            placed_by_id=actor.person_id,
        )
        _record("pause.placed", pause, actor, now, {"reason": reason})
    return pause.id


def release_pause(*, actor: Actor, pause_id: UUID, now: datetime) -> bool:
    """End a pause; return False when it had ended before. What was due is due again at once.

    Raises RightMissing.
    """
    require_staff(actor, RELEASE)
    with transaction.atomic(durable=True):
        pause = Pause.objects.select_for_update().get(pk=pause_id)
        if pause.released_at is not None:
            return False
        pause.released_at = now
        pause.released_by_id = actor.person_id
        pause.save(update_fields=["released_at", "released_by_id"])
        _record("pause.released", pause, actor, now)
        wake_purge()
    return True


def standing_pause(subject: Reference | None = None) -> Pause | None:
    """Return the pause that stops a subject, or without a subject the one that stops everything;
    None when nothing stops it."""
    pauses: list[Pause] = list(Pause.objects.standing().order_by("placed_at"))
    for pause in pauses:
        if pause.organization_id is None:
            return pause
    if subject is None:
        return None
    for pause in pauses:
        mine = [(pause.organization_id, pause.reason)]
        if _read(mine, {subject.id}).stop(subject.id, _organization_of(subject)):
            return pause
    return None


def forbid_paused() -> None:
    """Raise Paused while everything is paused. Staff's own erasures pass this, too."""
    if (pause := standing_pause()) is not None:
        raise Paused(pause.reason)


def read_brakes(ids: Collection[UUID]) -> Brakes:
    """Return the pauses that stand now, as far as they concern these subjects: one query while
    none stands."""
    return _read(_standing.all(), ids)


@select
def _standing() -> Any:
    return Pause.objects.standing().order_by("placed_at").values_list("organization_id", "reason")


def _read(pauses: Sequence[tuple[UUID | None, str]], ids: Collection[UUID]) -> Brakes:
    for organization_id, reason in pauses:
        if organization_id is None:
            return Brakes(reason=reason, is_global=True)
    organizations = frozenset(pk for pk, _ in pauses if pk is not None)
    if not organizations:
        return Brakes()
    held = set(organizations)
    for name in kind_names():
        for companions in get_kind(name).companions(organizations).values():
            held.update(companion.id for companion in companions if companion.id in ids)
    return Brakes(organizations=organizations, subjects=frozenset(held))


def _organization_of(subject: Reference) -> UUID | None:
    request = DeletionRequest.objects.about(subject).open().first()
    found: UUID | None = request.organization_id if request else None
    return found


def paused_by(pause: Pause) -> Reference:
    """Return what a pause is about: everything, or one subject. A kind that manages nobody can be
    paused, too; what is gone counts as of the kind that manages."""
    if (subject_id := pause.organization_id) is None:
        return EVERYTHING
    for name in kind_names():
        kind = get_kind(name)
        if kind.model._base_manager.filter(pk=kind.pk_of(subject_id)).exists():
            return Reference(name, subject_id)
    return Reference(managing_kind() or "subject", subject_id)


def _record(
    action: str,
    pause: Pause,
    actor: Actor,
    now: datetime,
    details: Mapping[str, str] | None = None,
) -> None:
    record(
        action,
        actor=actor,
        subject=paused_by(pause),
        now=now,
        organization_id=pause.organization_id,
        facts={"pause": str(pause.id)},
        details=details,
    )
