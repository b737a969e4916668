"""Ids as clients see them: TypeID strings at the edge, UUIDs below it.

https://github.com/jetify-com/typeid/tree/main/spec
"""

from typing import Any
from uuid import UUID

from typeid import TypeID
from typeid.errors import TypeIDException
from uuid_utils.compat import uuid7

USER = "usr"
REQUEST = "req"
KEY = "key"
DELETION = "del"
INVITATION = "inv"
CURSOR = "cur"
APPLICATION = "app"
EVENT = "evt"
SUFFIX_PATTERN = "[0-7][0-9a-hjkmnp-tv-z]{25}"
USER_PATTERN = f"^{USER}_{SUFFIX_PATTERN}$"
DELETION_PATTERN = f"^{DELETION}_{SUFFIX_PATTERN}$"
EVENT_PATTERN = f"^{EVENT}_{SUFFIX_PATTERN}$"


def encode(prefix: str, value: UUID) -> str:
    """Return the TypeID of a UUID, such as ``usr_01h2xcejqtf2nbrexx3vqjhp41``."""
    known: Any = value  # the library asks for its own UUID class and reads .bytes only
    return str(TypeID.from_uuid(known, prefix))


def decode(prefix: str, text: str) -> UUID | None:
    """Return the UUID in a TypeID, or None when the text is no TypeID of this prefix."""
    if not text.startswith(f"{prefix}_"):
        return None
    try:
        typeid = TypeID.from_string(text)
    except TypeIDException:
        return None
    return UUID(bytes=typeid.uuid_bytes) if typeid.prefix == prefix else None


def decode_uuid(text: str) -> UUID | None:
    """Return the UUID written in its canonical form, dashes included, or None."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None


def new_request_id() -> str:
    return encode(REQUEST, uuid7())
