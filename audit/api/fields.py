"""How an event looks on the wire, and how a query says which ones are wanted."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from audit.events import Reference
from audit.models import AuditEvent
from audit.querying import read_time
from contracts import ids
from contracts.errors import Fault, InvalidRequest
from contracts.schema import json_object
from erasure.references import spell
from erasure.typeids import read_id, read_uuid

MOST, USUAL = 200, 50
FILTERS = {"action", "subject", "actor", "organization", "since", "until"}
PAGING = {"cursor", "limit"}

text = {"type": "string"}
ACTION_PATTERN = "^[ -~]{1,64}$"
UUID_PATTERN = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
PARTY_PATTERN = f"^({ids.USER}_{ids.SUFFIX_PATTERN}|{UUID_PATTERN})$"
EVENT_ID = {"type": "string", "pattern": ids.EVENT_PATTERN}
_id = {"type": ["string", "null"]}
PARTY = json_object({"kind": _id, "id": _id})
EVENT = json_object(
    {
        "id": EVENT_ID,
        "at": {**text, "format": "date-time"},
        "action": text,
        "outcome": text,
        "actor": PARTY,
        "subject": PARTY,
        "organization_id": {**_id, "format": "uuid"},
        "credential_id": _id,
        "channel": text,
        "request_id": _id,
        "facts": {"type": "object"},
        "position": {"type": ["integer", "null"]},
        "forged": {"type": "boolean"},
    }
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query that has the right form."""

    action: str = ""
    subject: UUID | None = None
    actor: UUID | None = None
    organization: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    cursor: UUID | None = None
    limit: int = USUAL


def describe(event: AuditEvent) -> dict[str, Any]:
    return {
        "id": ids.encode(ids.EVENT, event.pk),
        "at": event.at,
        "action": event.action,
        "outcome": event.outcome,
        "actor": _party(event.actor_kind, event.actor_id),
        "subject": _party(event.subject_kind, event.subject_id),
        "organization_id": str(event.organization_id) if event.organization_id else None,
        "credential_id": ids.encode(ids.KEY, event.credential_id) if event.credential_id else None,
        "channel": event.channel,
        "request_id": event.request_id or None,
        "facts": event.facts,
        "position": event.sealed_seq,
        "forged": event.is_forged,
    }


def read_query(params: Any, *, is_paged: bool) -> Query:
    """Return what a query asks for; raises InvalidRequest with a fault for each wrong part."""
    names = FILTERS | PAGING if is_paged else FILTERS
    faults = [_fault(name, "This parameter does not exist.") for name in params.keys() - names]
    found: dict[str, Any] = {}
    for name, read, words in _READERS:
        if name not in names or (given := params.get(name)) is None:
            continue
        try:
            found[name] = read(given)
        except ValueError:
            faults.append(_fault(name, words))
    if faults:
        raise InvalidRequest(*faults)
    return Query(**found)


def _party(kind: str, pk: UUID | None) -> dict[str, Any]:
    return {"kind": kind or None, "id": spell(Reference(kind, pk)) if pk else None}


def _read_subject(given: str) -> UUID:
    if plain := read_uuid(given):
        return plain
    if found := ids.decode(ids.USER, given):
        return found
    raise ValueError


def _read_organization(given: str) -> UUID:
    if found := read_uuid(given):
        return found
    raise ValueError


def _read_cursor(given: str) -> UUID:
    if found := read_id(ids.EVENT, given):
        return found
    raise ValueError


def _read_limit(given: str) -> int:
    if given.isascii() and given.isdecimal() and 1 <= int(given) <= MOST:
        return int(given)
    raise ValueError


def _read_action(given: str) -> str:
    if re.fullmatch(ACTION_PATTERN.strip("^$"), given):
        return given
    raise ValueError


_READERS: Any = (
    ("action", _read_action, "Must be an action, 1 to 64 characters."),
    ("subject", _read_subject, "Must be an id: usr_… or a bare one."),
    ("actor", _read_subject, "Must be an id: usr_… or a bare one."),
    ("organization", _read_organization, "Must be an organization's id."),
    ("since", read_time, "Must be a time such as 2026-11-27T09:30:00Z."),
    ("until", read_time, "Must be a time such as 2026-11-27T09:30:00Z."),
    ("cursor", _read_cursor, "Must be next_cursor of the page before."),
    ("limit", _read_limit, f"Must be a whole number from 1 to {MOST}."),
)


def _fault(name: str, words: str) -> Fault:
    return Fault(["query", name], words, "invalid")
