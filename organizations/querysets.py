from typing import Any, Self
from uuid import UUID

from django.db import models


class OrganizationQuerySet(models.QuerySet[Any]):
    def live(self) -> Self:
        return self.filter(is_deleted=False, is_active=True)

    def deleted(self) -> Self:
        return self.filter(is_deleted=True)


class MembershipQuerySet(models.QuerySet[Any]):
    def live_owners(self) -> Self:
        """Owners whose account is alive: only these keep an organization from being ownerless."""
        return self.filter(role="owner", user__is_active=True, user__is_deleted=False)

    def administering(self, user_id: UUID) -> Self:
        return self.filter(
            user_id=user_id,
            role__in=("owner", "admin"),
            organization__is_deleted=False,
            organization__is_active=True,
        )


class LiveOrganizationManager(models.Manager[Any]):
    def get_queryset(self) -> OrganizationQuerySet:
        return OrganizationQuerySet(self.model, using=self._db).live()
