"""Why work on a key is refused."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID


class ApiKeyError(Exception):
    """A change to a key that cannot be made. Nothing was changed."""


@dataclass
class ScopesNotGrantable(ApiKeyError):
    """Scopes that this kind of key can't hold, or that the caller does not hold itself."""

    scopes: Iterable[str]


@dataclass
class ApiKeyNotFound(ApiKeyError):
    """No such key, or none that the actor may see."""

    key_id: UUID | None = None


@dataclass
class OrganizationNotRun(ApiKeyError):
    """The actor neither owns nor administers a live organization of this id."""

    organization_id: UUID | None = None


@dataclass
class ExpiryInThePast(ApiKeyError):
    """A key that would be dead at birth."""


@dataclass
class OwnerArchived(ApiKeyError):
    """The key's organization is archived: its keys can be listed and revoked, and nothing else."""

    organization_id: UUID | None = None
