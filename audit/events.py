"""Writing events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from secrets import token_bytes
from typing import Any
from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.entries import (
    FIELDS,
    SALT,
    canonical,
    commit,
    spell_document,
    spell_entry,
    write_time,
)
from audit.evidence import owners_of
from audit.listeners import Told, Witness, listeners_to
from audit.models import AuditEvent, EventDetail
from audit.statements import insert_columns, insert_values
from audit.vouching import vouch

_values_of = itemgetter(*FIELDS)


@dataclass(frozen=True, slots=True)
class Reference:
    """An opaque pointer to what an event is about: a kind such as ``user`` and an id."""

    kind: str
    id: UUID


def record(
    action: str,
    *,
    actor: Actor,
    subject: Reference | None,
    now: datetime,
    organization_id: UUID | None = None,
    facts: Mapping[str, Any] | None = None,
    outcome: str = "done",
    keep_details: bool = False,
    details: Mapping[str, str] | None = None,
) -> UUID:
    """Write one event in the caller's transaction and return its id.

    ``facts`` must hold no personal data. ``details`` are personal values, such as an address before
    a change or the reason that staff typed: they are written beside the event, which only commits
    to them, and whoever erases the actor or the subject erases them. With ``keep_details`` the
    actor's address and user agent are among them; leave it off where the event tells of that very
    person's erasure. Listeners hear of it in the same transaction; not of one without a subject.
    """
    kind, subject_id = (subject.kind, _text(subject.id)) if subject else ("", None)
    personal: dict[str, str] = {"reason": actor.reason, **(details or {})}
    if keep_details and actor.person_id:
        personal |= {"address": actor.origin.address, "user_agent": actor.origin.user_agent}
    event_id, said = uuid7(), dict(facts or {})
    organization = organization_id or actor.organization_id
    # Ids as texts: the entry needs them so, and the driver takes them sooner than objects.
    own, actor_id, person_id = str(event_id), _text(actor.id), _text(actor.person_id)
    behind, affected = owners_of(actor.kind, actor_id, person_id, subject_id)
    hidden, kept = dict[str, str](), list[dict[str, Any]]()
    for field, value in personal.items():
        if value:
            salt = token_bytes(SALT)
            hidden[field] = commit(salt, field, value)
            kept.append(
                {
                    "id": str(uuid_utils.uuid7()),
                    "event_id": own,
                    "person_id": behind,
                    "subject_id": affected,
                    "field": field,
                    "value": value,
                    "salt": salt,
                }
            )
    values = (
        action,
        actor_id,
        actor.kind,
        _utc(now),
        actor.channel,
        spell_document(hidden),
        _text(actor.credential_id),
        spell_document(said),
        own,
        _text(organization),
        outcome,
        person_id if person_id != actor_id else None,
        actor.request_id,
        subject_id,
        kind,
    )
    event: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
    event |= {"sealed_seq": None, "mac": vouch(spell_entry(values))}
    insert_values((AuditEvent, [event]), (EventDetail, kept))
    if subject is not None and (heard := listeners_to(action)):
        witness = Witness(event_id, subject.id, organization, said)
        told = Told(action, subject.kind, [witness], now)
        for listener in heard:
            listener(told)
    return event_id


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
    same: dict[str, Any] = {
        "at": now,
        "action": action,
        "outcome": "done",
        "actor_kind": actor.kind,
        "actor_id": actor.id,
        "person_id": actor.person_id if actor.person_id != actor.id else None,
        "subject_kind": kind,
        "credential_id": actor.credential_id,
        "channel": actor.channel,
        "request_id": actor.request_id,
    }
    subjects = [it.subject_id for it in happenings]
    facts = [canonical(it.facts) for it in happenings]
    insert_columns(
        AuditEvent,
        {
            **same,
            "id": ids,
            "subject_id": subjects,
            "organization_id": organizations if any(organizations) else None,
            "facts": facts,
            "mac": _vouch_for(
                {**same, "at": _utc(now), "commitments": "{}"},
                {
                    "id": ids,
                    "subject_id": subjects,
                    "organization_id": organizations,
                    "facts": facts,
                },
            ),
        },
    )
    if happenings and (heard := listeners_to(action)):
        witnesses = [
            Witness(event_id, it.subject_id, organization_id, it.facts)
            for event_id, it, organization_id in zip(ids, happenings, organizations, strict=True)
        ]
        for listener in heard:
            listener(Told(action, kind, witnesses, now))


def _vouch_for(same: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """Return the codes of many events, of which some values are the same."""
    rows = zip(*columns.values(), strict=True)
    return [
        vouch(spell_entry(_values_of({**same, **dict(zip(columns, row, strict=True))})))
        for row in rows
    ]


def _utc(at: datetime) -> str:
    return write_time(at.astimezone(UTC))


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
