from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from apikeys.models import ApiKey


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def unrevoked(self) -> "ApiKeyQuerySet":
        return self.filter(revoked_at=None)
