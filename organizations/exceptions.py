"""Why work on an organization is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from erasure.exceptions import DeletionError, RestoreError


@dataclass(frozen=True, slots=True)
class OwnedOrganization:
    """An organization that would be left without an owner, and how many members it has."""

    id: UUID
    name: str
    members: int


@dataclass
class SoleOwner(DeletionError):
    """These organizations would be left without a live owner."""

    organizations: Sequence[OwnedOrganization]


@dataclass
class NotOrganizationOwner(DeletionError):
    """The actor is not a live owner of this organization."""

    organization_id: UUID


@dataclass
class SlugTaken(RestoreError):
    """Another organization bears the slug by now."""

    organization_id: UUID


@dataclass
class SettlementRefused(DeletionError):
    """What was asked to become of an organization cannot be done.

    ``reason`` is ``not_owner`` (the leaver does not own it), ``not_a_member`` (whom it was to pass
    to is no live member) or ``unknown`` (there is no such organization).
    """

    organization_id: UUID
    reason: str
