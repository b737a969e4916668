"""No organization without a live owner: the rule, in one place, under its lock."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db.models import Count, Q

from audit.statements import select
from organizations.exceptions import OwnedOrganization, SoleOwner
from organizations.models import Membership, Organization


def forbid_ownerless(
    user_ids: Collection[UUID], *, spare: UUID | None = None, within: UUID | None = None
) -> None:
    """Raise SoleOwner when an organization would have no live owner without these users.

    Call it with the users' rows locked. It locks the organizations that they own, by id, before it
    counts: two owners who leave at once are counted one after the other. ``spare`` names an
    organization that is itself about to go. ``within`` names the one that they leave, or in which
    they cease to be owners, while they stay what they are in others.
    """
    if not (ids := _lock_owned(user_ids, within) - {spare}):
        return
    safe = Membership.objects.live_owners().exclude(user_id__in=user_ids)
    kept = set(safe.filter(organization_id__in=ids).values_list("organization_id", flat=True))
    if facts := _describe(ids - kept, user_ids):
        raise SoleOwner(facts)


def find_ownerless(
    user_ids: Collection[UUID], *, spare: Collection[UUID] = ()
) -> dict[UUID, list[OwnedOrganization]]:
    """Return, for each of these users, the organizations that would have no live owner if all of
    them went; users who stand in nobody's way are left out. Reads only, in one query for most sets.

    Users who are deleted already are no owners any more. ``spare`` names organizations that are
    about to go themselves.
    """
    owned = Membership.objects.filter(role="owner", user_id__in=user_ids, user__is_deleted=False)
    living = owned.filter(organization__is_deleted=False).exclude(organization_id__in=spare)
    pairs = list(living.values_list("user_id", "organization_id"))
    if not pairs:
        return {}
    ids = {organization_id for _, organization_id in pairs}
    safe = Membership.objects.live_owners().exclude(user_id__in=user_ids)
    kept = set(safe.filter(organization_id__in=ids).values_list("organization_id", flat=True))
    facts = {one.id: one for one in _describe(ids - kept, user_ids)}
    found: dict[UUID, list[OwnedOrganization]] = {}
    for user_id, organization_id in pairs:
        if organization_id in facts:
            found.setdefault(user_id, []).append(facts[organization_id])
    return found


def has_live_owner(organization_id: UUID) -> bool:
    """Whether an organization has one now. It decides something only under the organization's
    lock."""
    owners = Membership.objects.live_owners().filter(organization_id=organization_id)
    return bool(owners.exists())


def lock_owned(user_ids: Collection[UUID]) -> None:
    """Lock the organizations that these users own, by id. Their own rows are locked already."""
    _lock_owned(user_ids)


def _describe(
    organization_ids: Collection[UUID], leavers: Collection[UUID]
) -> list[OwnedOrganization]:
    """Count the living members, and the leavers whether their flags are set already or not."""
    counted_too = _living | Q(memberships__user_id__in=leavers)
    orphans = Organization.objects.filter(pk__in=organization_ids)
    counted = orphans.annotate(members=Count("memberships", filter=counted_too)).order_by(
        "name", "pk"
    )
    return [OwnedOrganization(row.pk, row.name, row.members) for row in counted]


def _lock_owned(user_ids: Collection[UUID], within: UUID | None = None) -> set[UUID]:
    """Lock the organizations that these users own, by id, and return the ids of the living.

    Deleted ones are locked as well: one that is being restored lives when its lock is given up.
    """
    if within is not None:
        rows = _owned(Q(user_id__in=user_ids, organization_id=within))
    elif len(user_ids) == 1:
        (user_id,) = user_ids
        rows = _lock_owned_by_one.all(user_id=user_id)
    else:
        rows = _owned(Q(user_id__in=user_ids))
    return {pk for pk, is_deleted in rows if not is_deleted}


def _owned(by: Q) -> Any:
    owned = Membership.objects.filter(by, role="owner").values("organization")
    rows = Organization.objects.filter(pk__in=owned).select_for_update()
    return rows.order_by("pk").values_list("pk", "is_deleted")


@select
def _lock_owned_by_one(user_id: UUID) -> Any:
    return _owned(Q(user_id=user_id))


_living = Q(memberships__user__is_deleted=False)
