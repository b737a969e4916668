"""Ids of the form ``usr_01h2xcejqtf2nbrexx3vqjhp41``, and plain ones as people type them.

https://github.com/jetify-com/typeid/tree/main/spec
"""

from typing import Any
from uuid import UUID

from typeid import TypeID
from typeid.errors import TypeIDException


def spell_id(prefix: str, value: UUID) -> str:
    """Return a UUID as a TypeID."""
    known: Any = value  # the library asks for its own UUID class and reads .bytes only
    return str(TypeID.from_uuid(known, prefix))


def read_id(prefix: str, text: str) -> UUID | None:
    """Return the UUID in a TypeID, or None when the text is no TypeID of this prefix."""
    if not text.startswith(f"{prefix}_"):
        return None
    try:
        typeid = TypeID.from_string(text)
    except TypeIDException:
        return None
    return UUID(bytes=typeid.uuid_bytes) if typeid.prefix == prefix else None


def read_uuid(text: str) -> UUID | None:
    """Return the UUID written in its canonical form, dashes included, or None."""
    try:
        value = UUID(text)
    except ValueError:
        return None
    return value if str(value) == text.lower() else None
