"""From the text of a key to whom it stands for: one query, nothing cached.

The query sees the key, its user and its organization as they are now, so a key is dead at the very
commit that revokes it, deactivates its user, or deletes or archives its organization. With the last
it comes back to life.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings

from apikeys import keyformat
from apikeys.models import ApiKey
from audit.statements import select

LAST_USE_PRECISION = timedelta(minutes=1)


class Row(NamedTuple):
    """A key as the database holds it now, and what decides about its owner."""

    id: UUID
    user_id: UUID | None
    organization_id: UUID | None
    created_by_id: UUID | None
    scopes: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    user__is_active: bool | None
    user__is_deleted: bool | None
    user__is_staff: bool | None
    user__managed_membership__organization__is_deleted: bool | None
    organization__is_active: bool | None
    organization__is_deleted: bool | None
    organization__archived_at: datetime | None


@select
def _find(digest: str) -> Any:
    return ApiKey.objects.filter(digest=digest).order_by().values_list(*Row._fields)


@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """A key that holds at this moment, and whom it stands for."""

    id: UUID
    user_id: UUID | None
    organization_id: UUID | None
    created_by_id: UUID | None
    scopes: frozenset[str]
    is_staff: bool
    last_used_at: datetime | None
    is_authenticated: bool = True

    @property
    def counted_as(self) -> str:
        """The name under which its requests are counted."""
        return str(self.id)

    def is_use_stale(self, now: datetime) -> bool:
        """Whether the stored last use is older than its precision of one minute."""
        return self.last_used_at is None or now - self.last_used_at >= LAST_USE_PRECISION


def verify_key(text: str, *, now: datetime) -> VerifiedKey | None:
    """Return whom a key stands for, or None when it is malformed, unknown, expired or revoked or
    its user or organization is deleted or inactive, or the organization is archived, or the one
    that manages its user is deleted: of a hundred thousand managed users not all can be told in one
    request. A malformed key costs no query."""
    if not keyformat.is_well_formed(text, settings.API_KEY_PREFIXES):
        return None
    if (found := _find.first(digest=keyformat.digest(text))) is None:
        return None
    row = Row(*found)
    if row.revoked_at or (row.expires_at and row.expires_at <= now):
        return None
    if row.user_id and (not row.user__is_active or row.user__is_deleted):
        return None
    if row.user__managed_membership__organization__is_deleted:
        return None
    if row.organization_id and (not row.organization__is_active or row.organization__is_deleted):
        return None
    if row.organization__archived_at:
        return None
    return VerifiedKey(
        id=row.id,
        user_id=row.user_id,
        organization_id=row.organization_id,
        created_by_id=row.created_by_id,
        scopes=frozenset(row.scopes),
        is_staff=bool(row.user__is_staff),
        last_used_at=row.last_used_at,
    )


def touch_key(key: VerifiedKey, *, now: datetime) -> None:
    """Write down that a key was used, at most once a minute however many requests race."""
    if key.is_use_stale(now):
        stale = ApiKey.objects.filter(pk=key.id).exclude(last_used_at__gt=now - LAST_USE_PRECISION)
        stale.update(last_used_at=now)
