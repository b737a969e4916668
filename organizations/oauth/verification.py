"""From the text of an access token to whom it speaks for: one query, nothing cached.

The query sees the token, its person, its application and the organization of that as they are now,
so a token is dead at the very commit that ends any of them or archives the organization. With the
last it comes back to life.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from apikeys import keyformat
from apikeys.verification import VerifiedKey
from audit.statements import select
from organizations.oauth import tokens
from organizations.oauth.models import AccessToken


class Row(NamedTuple):
    """A token as the database holds it now, and what decides about it."""

    scope: str
    expires: datetime
    application_id: UUID
    application__organization_id: UUID
    application__created_by_id: UUID | None
    application__organization__is_active: bool
    application__organization__is_deleted: bool
    application__organization__archived_at: datetime | None
    user_id: UUID | None
    user__is_active: bool | None
    user__is_deleted: bool | None
    user__managed_membership__organization__is_deleted: bool | None


@select
def _find(digest: str) -> Any:
    found = AccessToken.objects.filter(token_checksum=digest).order_by()
    return found.values_list(*Row._fields)


@dataclass(frozen=True, slots=True)
class VerifiedToken(VerifiedKey):
    """A token that holds at this moment. Its ``id`` is the application's: a token is gone within
    the hour, and the record must still tell who acted."""

    def is_use_stale(self, now: datetime) -> bool:
        """Never: the last use of a token is not written down."""
        return False

    @property
    def counted_as(self) -> str:
        """An application's requests count together, however many tokens it asks for; those for
        each person by themselves."""
        return f"{self.id}:{self.user_id}" if self.user_id else str(self.id)


def verify_token(text: str, *, now: datetime) -> VerifiedToken | None:
    """Return whom an access token speaks for, or None when it is malformed, unknown or expired, or
    its person, application or organization has ended or is closed, or the organization that manages
    its person is deleted. A malformed one costs no query.
    """
    if not tokens.is_access_token(text):
        return None
    if (found := _find.first(digest=keyformat.digest(text))) is None:
        return None
    row = Row(*found)
    if row.expires <= now or row.application__organization__archived_at:
        return None
    if not row.application__organization__is_active or row.application__organization__is_deleted:
        return None
    if row.user_id and (not row.user__is_active or row.user__is_deleted):
        return None
    if row.user__managed_membership__organization__is_deleted:
        return None
    return VerifiedToken(
        id=row.application_id,
        user_id=row.user_id,
        organization_id=None if row.user_id else row.application__organization_id,
        created_by_id=row.application__created_by_id,
        scopes=frozenset(row.scope.split()),
        is_staff=False,
        last_used_at=None,
    )
