"""Writing and redacting events."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.listeners import Told, Witness, listeners_to
from audit.models import AuditEvent, EventDetail
from audit.statements import insert, insert_columns


@dataclass(frozen=True, slots=True)
class Reference:
    """An opaque pointer to what an event is about: a kind such as ``user`` and an id."""

    kind: str
    id: UUID


def record(
    action: str,
    *,
    actor: Actor,
    subject: Reference,
    now: datetime,
    organization_id: UUID | None = None,
    facts: Mapping[str, Any] | None = None,
    outcome: str = "done",
    keep_details: bool = False,
) -> UUID:
    """Write one event in the caller's transaction and return its id.

    ``facts`` must hold no personal data. With ``keep_details`` the actor's address and user agent
    are written beside the event, as values that ``redact_person`` can erase; leave it off where
    the event tells of that very person's erasure. Listeners hear of it in the same transaction.
    """
    event = AuditEvent(
        at=now,
        action=action,
        outcome=outcome,
        actor_kind=actor.kind,
        actor_id=actor.id,
        subject_kind=subject.kind,
        subject_id=subject.id,
        organization_id=organization_id or actor.organization_id,
        credential_id=actor.credential_id,
        channel=actor.channel,
        request_id=actor.request_id,
        facts=dict(facts or {}),
    )
    insert(event)
    if keep_details and actor.person_id:
        details = {"address": actor.origin.address, "user_agent": actor.origin.user_agent}
        insert(
            *(
                EventDetail(event_id=event.id, person_id=actor.person_id, field=field, value=value)
                for field, value in details.items()
                if value
            )
        )
    if heard := listeners_to(action):
        witness = Witness(event.id, subject.id, event.organization_id, event.facts)
        told = Told(action, subject.kind, [witness], now)
        for listener in heard:
            listener(told)
    return event.id


@dataclass(frozen=True, slots=True)
class Happening:
    """What one event of many says: about whom, within which organization, and the facts as the
    text of a JSON object."""

    subject_id: UUID
    organization_id: UUID | None
    facts: str


def record_many(
    action: str, *, actor: Actor, kind: str, now: datetime, happenings: Sequence[Happening]
) -> None:
    """Write an event of the same action about each of many subjects of a kind, with one statement
    in the caller's transaction. For work by set, where an instance for each event costs too much.
    Listeners hear of all of them at once.
    """
    own = actor.organization_id
    organizations = [it.organization_id or own for it in happenings]
    ids = [uuid7() for _ in happenings]
    insert_columns(
        AuditEvent,
        {
            "id": ids,
            "at": now,
            "action": action,
            "actor_kind": actor.kind,
            "actor_id": actor.id,
            "subject_kind": kind,
            "subject_id": [it.subject_id for it in happenings],
            "organization_id": organizations if any(organizations) else None,
            "credential_id": actor.credential_id,
            "channel": actor.channel,
            "request_id": actor.request_id,
            "facts": [it.facts for it in happenings],
        },
    )
    if happenings and (heard := listeners_to(action)):
        witnesses = [
            Witness(event_id, it.subject_id, organization_id, it.facts)
            for event_id, it, organization_id in zip(ids, happenings, organizations, strict=True)
        ]
        for listener in heard:
            listener(Told(action, kind, witnesses, now))


def redact_person(person_id: UUID) -> int:
    """Erase every personal value that the log holds about a person; return how many there were.

    GDPR Art. 17(1). The events themselves stay: they hold opaque ids only.
    """
    removed, _ = EventDetail.objects.filter(person_id=person_id).delete()
    return removed


def forget_events(ids: Collection[UUID]) -> int:
    """Remove events whose retention is over, with what is personal about them; return how many.

    The one way out of the log, in the caller's transaction. GDPR Art. 5(1)(e).
    """
    EventDetail.objects.filter(event_id__in=ids).delete()
    # The log's own manager refuses every removal.
    removed, _ = models.QuerySet(AuditEvent).filter(pk__in=ids).delete()
    return removed
