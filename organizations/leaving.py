"""What becomes of a leaver's organizations, settled in the transaction of the leaver's deletion."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from audit.actors import Actor
from audit.events import Reference, record
from erasure.deleting import Locked, lock_all, suspend_locked
from erasure.exceptions import DeletionInProgress
from erasure.models import DeletionRequest
from erasure.subjects import lock_subjects
from organizations.exceptions import SettlementRefused
from organizations.models import ManagedUser, Membership, Role
from organizations.ownership import forbid_ownerless


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the leaver wants for one organization.

    ``transfer`` makes the member ``heir`` an owner, ``delete`` deletes the organization along with
    the leaver, after the same grace, and ``leave`` leaves it to its other owners.
    """

    fate: Literal["transfer", "delete", "leave"]
    heir: UUID | None = None

    @classmethod
    def transfer_to(cls, heir: UUID) -> "Settlement":
        return cls("transfer", heir)


DELETE = Settlement("delete")
LEAVE = Settlement("leave")

Settlements = Mapping[UUID, Settlement]


def lock_leaving(user_id: UUID, settlements: Settlements) -> Locked:
    """Lock everybody and everything that a settlement concerns, in the order of locks: the leaver,
    heirs and managed users by id, then the organizations by id.

    Raises DeletionInProgress when an organization that is to go gains a managed user meanwhile.
    """
    doomed = [pk for pk, one in settlements.items() if one.fate == "delete"]
    managed = ManagedUser.objects.filter(organization_id__in=doomed)
    heirs = {one.heir for one in settlements.values() if one.heir is not None}
    people = {user_id, *heirs, *_users_of(managed)}
    locked = lock_all(Reference("user", pk) for pk in people)
    # What the managed users own beside is counted too, so all of it is locked at once.
    owned = Membership.objects.filter(user_id__in=people - heirs, role=Role.OWNER)
    ids = {*settlements, *owned.values_list("organization_id", flat=True)}
    found = lock_subjects("organization", ids)
    if doomed and set(_users_of(managed)) - people:
        raise DeletionInProgress("organization", doomed[0])
    return locked | {Reference("organization", pk): row for pk, row in found.items()}


def settle(
    *,
    actor: Actor,
    deletion: DeletionRequest,
    settlements: Settlements,
    locked: Locked,
    now: datetime,
) -> None:
    """Carry out a leaver's settlements in the transaction that holds the locks and the deletion.

    Raises SettlementRefused, or SoleOwner when some organization would have no live owner left.
    """
    leaver = deletion.subject_id
    owned = Membership.objects.filter(user_id=leaver, role=Role.OWNER)
    mine = set(owned.values_list("organization_id", flat=True))
    gone = [leaver]
    for pk, settlement in sorted(settlements.items()):
        row = locked.get(Reference("organization", pk))
        if row is None or row.is_deleted:
            raise SettlementRefused(pk, "unknown")
        if settlement.fate != "leave" and pk not in mine:
            raise SettlementRefused(pk, "not_owner")
        if settlement.fate == "transfer":
            _transfer(actor, pk, settlement.heir, leaver, locked, now)
        elif settlement.fate == "delete":
            gone += _delete(actor, pk, deletion, locked, now)
    forbid_ownerless(gone)


def _transfer(
    actor: Actor, pk: UUID, heir: UUID | None, leaver: UUID, locked: Locked, now: datetime
) -> None:
    user = locked.get(Reference("user", heir)) if heir and heir != leaver else None
    if user is None or user.is_deleted or not user.is_active:
        raise SettlementRefused(pk, "not_a_member")
    members = Membership.objects.filter(organization_id=pk, user_id=user.pk)
    if not members.update(role=Role.OWNER):
        raise SettlementRefused(pk, "not_a_member")
    record(
        "member.role_changed",
        actor=actor,
        subject=Reference("organization", pk),
        now=now,
        facts={"member": str(heir), "role": Role.OWNER.value},
    )


def _delete(
    actor: Actor, pk: UUID, deletion: DeletionRequest, locked: Locked, now: datetime
) -> list[UUID]:
    """Delete an organization along with the leaver; return the users that go with it."""
    managed = _users_of(ManagedUser.objects.filter(organization_id=pk))
    suspend_locked(
        actor=actor,
        subject=Reference("organization", pk),
        locked=locked,
        now=now,
        cause_id=deletion.pk,
        reference=deletion.reference,
    )
    return managed


def _users_of(managed: Any) -> list[UUID]:
    return list(managed.values_list("user_id", flat=True))
