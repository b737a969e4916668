"""What a leaf of the tree is made of: the one spelling of an event, and of what hides its details.

An entry is a line that names its form, and the event as JSON: keys sorted, no white space, ASCII
only. Every key is always there. Personal values are not in it, but commitments to them are:

    sexton-audit-event/1
    {"action":"user.deleted","actor_id":"…","actor_kind":"user","at":"2026-11-27T09:30:00.000000Z",
     "channel":"v1_user","commitments":{"address":"<hex>"},"credential_id":null,"facts":{},"id":"…",
     "organization_id":null,"outcome":"done","person_id":null,"request_id":"req_…",
     "subject_id":"…","subject_kind":"user"}

(One line after the first; broken here for the page.) The event with the leaf at a position never
changes, and neither does its entry when the personal values are erased. Needs Python alone.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from json.encoder import encode_basestring_ascii as quote
from typing import Any

EVENT = b"sexton-audit-event/1\n"
DETAIL = b"sexton-audit-detail/1\n"

FIELDS = (
    "action",
    "actor_id",
    "actor_kind",
    "at",
    "channel",
    "commitments",
    "credential_id",
    "facts",
    "id",
    "organization_id",
    "outcome",
    "person_id",
    "request_id",
    "subject_id",
    "subject_kind",
)
"""An event's values in the order of an entry. Ids, times and documents come as text."""

DOCUMENTS = (FIELDS.index("commitments"), FIELDS.index("facts"))

SALT = 32

UNSPELLABLE = (ValueError, TypeError, RecursionError)
"""What spelling an entry raises for values that no service can have written, such as a number that
is too long to read, or bytes in the place of a text."""

_spell = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_read = json.JSONDecoder().raw_decode


def encode_entry(values: Sequence[Any]) -> bytes:
    """Return the entry of an event from its values, in the order of FIELDS: ids as 36 characters
    or None, the time as ``write_time`` gives it, the two documents as JSON text."""
    spelled = list(values)
    for place in DOCUMENTS:
        spelled[place] = canonical(spelled[place])
    return spell_entry(spelled)


def spell_entry(values: Sequence[Any]) -> bytes:
    """The same from documents that are in their one spelling already."""
    action, actor, actor_kind, at, channel, hidden, key, facts, pk, org, outcome, *rest = values
    person, request, subject, subject_kind = rest
    return (
        f'{{"action":{quote(action)},"actor_id":{_id(actor)},"actor_kind":{quote(actor_kind)},'
        f'"at":"{at}","channel":{quote(channel)},"commitments":{hidden},'
        f'"credential_id":{_id(key)},"facts":{facts},"id":"{pk}",'
        f'"organization_id":{_id(org)},"outcome":{quote(outcome)},"person_id":{_id(person)},'
        f'"request_id":{quote(request)},"subject_id":{_id(subject)},'
        f'"subject_kind":{quote(subject_kind)}}}'
    ).encode("ascii")


def hash_entry(values: Sequence[Any]) -> bytes:
    """Return the leaf of an event from its values."""
    return leaf_of(encode_entry(values))


def leaf_of(entry: bytes) -> bytes:
    """Return the leaf of an entry."""
    return sha256(b"\x00" + EVENT + entry).digest()


def hash_object(event: Mapping[str, Any]) -> bytes:
    """Return the leaf of an event as an export spells it. ValueError when it is none."""
    if sorted(event) != list(FIELDS):
        raise ValueError("not the fields of an event")
    return sha256(b"\x00" + EVENT + spell_document(event).encode("ascii")).digest()


def read_entry(entry: bytes) -> dict[str, Any]:
    """Return an entry as an object: the inverse of ``encode_entry``."""
    found: dict[str, Any] = json.loads(entry)
    return found


def commit(salt: bytes, field: str, value: str) -> str:
    """Return the commitment to a personal value: it tells nothing of the value to whoever has not
    the salt, and no other value fits it."""
    return sha256(DETAIL + salt + field.encode() + b"\x00" + value.encode()).hexdigest()


def canonical(document: str) -> str:
    """Return a JSON document in its one spelling. ValueError when it is none."""
    if document == "{}":
        return document
    # As the databases and json.dumps write it: nothing before it, and nothing after.
    found, end = _read(document)
    if end != len(document):
        raise ValueError("more than one JSON document")
    return spell_document(found)


def spell_document(document: Any) -> str:
    """Return what a JSON document says in its one spelling. TypeError for a key that is no text."""
    if not isinstance(document, dict):
        return _spell(document)
    # Written out for what nearly every document holds, since each event pays for it.
    parts = [f"{quote(key)}:{_spell_value(document[key])}" for key in sorted(document)]
    return "{" + ",".join(parts) + "}"


def _spell_value(value: Any) -> str:
    kind = type(value)
    return quote(value) if kind is str else str(value) if kind is int else _spell(value)


def write_time(at: datetime) -> str:
    """Return a time that is in UTC with six digits of a second, whatever they are."""
    return at.isoformat("T", "microseconds")[:26] + "Z"


def _id(value: Any) -> str:
    return "null" if value is None else f'"{value}"'
