from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Exists, F, OuterRef, Q

from audit.events import Reference

if TYPE_CHECKING:
    from erasure.models import DeletionRequest, LegalHold


class LegalHoldQuerySet(models.QuerySet["LegalHold"]):
    def active(self) -> "LegalHoldQuerySet":
        return self.filter(released_at=None)

    def on(self, subject: Reference) -> "LegalHoldQuerySet":
        return self.filter(subject_kind=subject.kind, subject_id=subject.id)


class DeletionRequestQuerySet(models.QuerySet["DeletionRequest"]):
    def about(self, subject: Reference) -> "DeletionRequestQuerySet":
        return self.filter(subject_kind=subject.kind, subject_id=subject.id)

    def open(self) -> "DeletionRequestQuerySet":
        return self.filter(state__in=("scheduled", "running", "failed"))

    def with_hold(self) -> "DeletionRequestQuerySet":
        """Annotate ``held``: whether a legal hold stands on the subject now."""
        from erasure.models import LegalHold

        hold = LegalHold.objects.active().filter(
            subject_kind=OuterRef("subject_kind"), subject_id=OuterRef("subject_id")
        )
        return self.annotate(held=Exists(hold))

    def due(self, now: datetime) -> "DeletionRequestQuerySet":
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
