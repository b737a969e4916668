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


class OrganizationError(Exception):
    """A change within an organization that cannot be made. Nothing was changed."""


@dataclass
class RoleMissing(OrganizationError):
    """The actor belongs to the organization, but not in a role that may do this."""

    organization_id: UUID
    needed: str


@dataclass
class OrganizationArchived(OrganizationError):
    """The organization is archived: it can be read, unarchived and deleted, and nothing else."""

    organization_id: UUID


@dataclass
class SlugInUse(OrganizationError):
    """A living organization bears the slug."""

    slug: str


@dataclass
class SlugRefused(OrganizationError):
    """The slug has not the form of one, or could be taken for an id."""

    slug: str


@dataclass
class WrongConfirmation(OrganizationError):
    """What was typed to confirm a deletion is not the organization's slug."""

    organization_id: UUID


@dataclass
class MemberNotFound(OrganizationError):
    """Nobody of this id is a living member."""

    user_id: UUID | None = None


@dataclass
class AlreadyMember(OrganizationError):
    """The person belongs to the organization already."""

    organization_id: UUID


@dataclass
class HeirRefused(OrganizationError):
    """Whoever is to own an organization must be another member, whose account is active."""

    organization_id: UUID


@dataclass
class InvitationNotFound(OrganizationError):
    """No such invitation: it never was, was used or revoked, or has expired."""

    invitation_id: UUID | None = None


@dataclass
class NotInvitee(OrganizationError):
    """The invitation was sent to another address than that of the acting user."""

    invitation_id: UUID


@dataclass
class ManagedUserNotFound(OrganizationError):
    """The organization manages no living user of this id."""

    user_id: UUID | None = None
