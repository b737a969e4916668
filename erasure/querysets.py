from datetime import datetime
from typing import Any, Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from audit.events import Reference


class LegalHoldQuerySet(models.QuerySet[Any]):
    def active(self) -> Self:
        return self.filter(released_at=None)

    def on(self, subject: Reference) -> Self:
        return self.filter(subject_kind=subject.kind, subject_id=subject.id)


class PauseQuerySet(models.QuerySet[Any]):
    def standing(self) -> Self:
        return self.filter(released_at=None)


class DeletionRequestQuerySet(models.QuerySet[Any]):
    def about(self, subject: Reference) -> Self:
        return self.filter(subject_kind=subject.kind, subject_id=subject.id)

    def open(self) -> Self:
        return self.filter(state__in=self.model.OPEN)

    def with_hold(self) -> Self:
        """Annotate ``held``: whether a legal hold stands on the subject now."""
        from erasure.models import LegalHold

        hold = LegalHold.objects.active().filter(
            subject_kind=OuterRef("subject_kind"), subject_id=OuterRef("subject_id")
        )
        return self.annotate(held=Exists(hold))

    def due(self, now: datetime) -> Self:
        """Those that a purge may claim now: time is up, no hold, nobody works on them.

        A running one whose lease has lapsed belongs to a worker that died, and is due again.
        A failed one waits for its next try.
        """
        waiting = Q(state__in=("scheduled", "failed"), due_at__lte=now) & (
            Q(retry_at=None) | Q(retry_at__lte=now)
        )
        stalled = Q(state="running", lease_until__lte=now)
        return self.with_hold().filter(waiting | stalled, held=False).order_by("due_at", "id")

    def claim(self, now: datetime, **lease: Any) -> int:
        """Take what is due, in one guarded UPDATE; return how many rows were taken."""
        return self.due(now).order_by().update(state="running", attempts=F("attempts") + 1, **lease)
