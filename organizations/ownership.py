"""No organization without a live owner: the rule, in one place, under its lock."""

from collections.abc import Collection
from uuid import UUID

from django.db.models import Count, Q

from organizations.exceptions import OwnedOrganization, SoleOwner
from organizations.models import Membership, Organization


def forbid_ownerless(user_ids: Collection[UUID], *, spare: UUID | None = None) -> None:
    """Raise SoleOwner when an organization would have no live owner without these users.

    Call it with the users' rows locked. It locks the organizations that they own, by id, before it
    counts: two owners who leave at once are counted one after the other. ``spare`` names an
    organization that is itself about to go.
    """
    owned = Organization.objects.filter(
        pk__in=Membership.objects.filter(user_id__in=user_ids, role="owner").values("organization")
    )
    locked = owned.filter(is_deleted=False).exclude(pk=spare).select_for_update().order_by("pk")
    if not (ids := [organization.pk for organization in locked]):
        return
    safe = Membership.objects.live_owners().exclude(user_id__in=user_ids)
    kept = set(safe.filter(organization_id__in=ids).values_list("organization_id", flat=True))
    orphans = Organization.objects.filter(pk__in=[pk for pk in ids if pk not in kept])
    counted = orphans.annotate(members=Count("memberships", filter=_living)).order_by("name", "pk")
    facts = [OwnedOrganization(row.pk, row.name, row.members) for row in counted]
    if facts:
        raise SoleOwner(facts)


_living = Q(memberships__user__is_deleted=False)
