"""What the endpoints under ``/v1/organizations`` share: their refusals, ids, roles and names."""

from typing import Any
from uuid import UUID

from apikeys import scopes
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import InvalidRequest, Refusal
from contracts.schema import path as path_parameter
from erasure import exceptions as erasure
from erasure.api.previews import PROTOCOL
from organizations import exceptions as organizations

READ, WRITE = scopes.ORGANIZATIONS_READ, scopes.ORGANIZATIONS_WRITE

ORGANIZATION_NOT_FOUND = Refusal(404, "Organization not found.", "ORGANIZATION_NOT_FOUND")
ARCHIVED = Refusal(409, "The organization is archived. Unarchive it first.", "ARCHIVED")
LAST_OWNER = Refusal(
    409, "The organization would be left without an owner whose account is active.", "SOLE_OWNER"
)

SHARED: ErrorTable = {
    **PROTOCOL,
    erasure.ActorGone: house.NOT_AUTHENTICATED,
    organizations.RoleMissing: Refusal(
        403, "Your role in this organization does not allow this.", "INSUFFICIENT_ROLE"
    ),
    erasure.RightMissing: Refusal(
        403, "Only a user can do this, not an organization's key.", "INSUFFICIENT_PERMISSIONS"
    ),
    erasure.SubjectNotFound: ORGANIZATION_NOT_FOUND,
    organizations.OrganizationArchived: ARCHIVED,
}
"""What any of these endpoints may answer. To whoever does not belong to it an organization does not
exist."""

LISTING = (*house.NO_BODY, erasure.RightMissing, organizations.OrganizationArchived)
"""What no list is refused for."""

READING = (*LISTING, InvalidRequest)
"""What no plain read is refused for."""

BODILESS = (*house.NO_BODY, InvalidRequest)
"""What is never refused where no body and no query is read."""

text: dict[str, Any] = {"type": "string"}
moment: dict[str, Any] = {**text, "format": "date-time"}
optional_moment: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
USER_ID = {**text, "pattern": ids.USER_PATTERN}
ROLE = {**text, "enum": ["owner", "admin", "member"]}
ROLES = ["owner", "admin", "member"]

NAME_PATTERN = r"^[^\x00-\x1f\x7f]+$"
NAME = {**text, "minLength": 1, "maxLength": 150, "pattern": NAME_PATTERN}
USERNAME_PATTERN = r"^[A-Za-z0-9_.@+-]+$"
USERNAME = {**text, "minLength": 1, "maxLength": 150, "pattern": USERNAME_PATTERN}
_word = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL_PATTERN = rf"^{_word}(\.{_word})*@({_label}\.)+[A-Za-z]{{2,24}}$"
EMAIL = {**text, "maxLength": 254, "pattern": EMAIL_PATTERN}

ID = path_parameter("id", "The organization's UUID.", format="uuid")


def common(errors: ErrorTable, tag: str = "Organizations") -> dict[str, Any]:
    """Return what every operation of a file is documented with."""
    return {
        "tag": tag,
        "errors": errors,
        "error_schema": house.ERROR_SCHEMA,
        "envelope": house.envelope,
        "idempotent": False,
    }


def body_of(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body that is read strictly."""
    return {**schema, "additionalProperties": False}


def read_organization(text: str) -> UUID:
    """Return the organization's id in a path; raises SubjectNotFound."""
    if (found := ids.decode_uuid(text)) is None:
        raise erasure.SubjectNotFound("organization")
    return found
