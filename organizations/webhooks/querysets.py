from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q


class EndpointQuerySet(models.QuerySet[Any]):
    def wanting(self, event: str) -> Self:
        """Those that are to be told of an event."""
        return self.filter(is_active=True, events__contains=f" {event} ")

    def of_instance(self) -> Self:
        """The recipients of the whole instance."""
        return self.filter(organization=None)


class DeliveryQuerySet(models.QuerySet[Any]):
    def pending(self) -> Self:
        return self.filter(state="pending")

    def due(self, now: datetime) -> Self:
        """Those to try now: nobody works on them, and no earlier event of the same subject is on
        its way to the same receiver."""
        earlier = (
            self.model._default_manager.filter(
                state="pending",
                receiver_id=OuterRef("receiver_id"),
                subject_id=OuterRef("subject_id"),
            )
            .filter(
                Q(sequence__lt=OuterRef("sequence"))
                | Q(sequence=OuterRef("sequence"), pk__lt=OuterRef("pk"))
            )
            .order_by()
        )
        free = Q(lease_until=None) | Q(lease_until__lte=now)
        return self.pending().filter(free, ~Exists(earlier), next_try_at__lte=now)

    def over(self) -> Self:
        """Those that nothing more becomes of."""
        return self.filter(state__in=("delivered", "dead"))

    def soonest(self) -> datetime | None:
        """Return when the next one is to be tried."""
        found: datetime | None = (
            self.pending()
            .annotate(at=F("next_try_at"))
            .order_by("next_try_at")
            .values_list("at", flat=True)
            .first()
        )
        return found
