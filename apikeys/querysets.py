from typing import Any, Self

from django.db import models


class ApiKeyQuerySet(models.QuerySet[Any]):
    def unrevoked(self) -> Self:
        return self.filter(revoked_at=None)
