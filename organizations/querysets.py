from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import models

if TYPE_CHECKING:
    from organizations.models import Membership, Organization


class OrganizationQuerySet(models.QuerySet["Organization"]):
    def live(self) -> "OrganizationQuerySet":
        return self.filter(is_deleted=False, is_active=True)

    def deleted(self) -> "OrganizationQuerySet":
        return self.filter(is_deleted=True)

    def owned_by(self, user_ids: Any) -> "OrganizationQuerySet":
        return self.filter(memberships__role="owner", memberships__user_id__in=user_ids)


class MembershipQuerySet(models.QuerySet["Membership"]):
    def live_owners(self) -> "MembershipQuerySet":
        """Owners whose account is alive: only these keep an organization from being ownerless."""
        return self.filter(role="owner", user__is_active=True, user__is_deleted=False)

    def administering(self, user_id: UUID) -> "MembershipQuerySet":
        return self.filter(
            user_id=user_id,
            role__in=("owner", "admin"),
            organization__is_deleted=False,
            organization__is_active=True,
        )


class LiveOrganizationManager(models.Manager["Organization"]):
    def get_queryset(self) -> OrganizationQuerySet:
        return OrganizationQuerySet(self.model, using=self._db).live()
