from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q


class IsOpen(models.Lookup):
    """The condition in the very words of the index: a parameter in their place would hide from the
    planner of a prepared statement that the index fits."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} = 'open'", params


class BillingOrderQuerySet(models.QuerySet[Any]):
    def open(self) -> Self:
        """Those that Stripe has not confirmed and that no later order has replaced."""
        return self.filter(IsOpen(F("state"), True))

    def due(self, now: datetime) -> Self:
        """Those that may be tried now: their time has come, nobody is at it, and no earlier order
        of the same subscription is still on its way to Stripe, where it could arrive later."""
        earlier = self.model._default_manager.filter(
            subscription=OuterRef("subscription"),
            number__lt=OuterRef("number"),
            lease_until__gt=now,
        )
        rows = self.open().filter(Q(retry_at=None) | Q(retry_at__lte=now), ~Exists(earlier))
        rows = rows.filter(Q(lease_until=None) | Q(lease_until__lte=now))
        return rows.order_by("created_at", "id")

    def claim(self, now: datetime, **lease: Any) -> int:
        """Take what is due, in one guarded UPDATE; return how many rows were taken."""
        return self.due(now).order_by().update(attempts=F("attempts") + 1, **lease)
