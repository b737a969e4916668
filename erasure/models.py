"""Deletion requests and legal holds. Their subjects are opaque references, never foreign keys."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from audit.events import Reference
from erasure.querysets import DeletionRequestQuerySet, LegalHoldQuerySet


class DeletionRequest(models.Model):
    """Carries one deletion from request to completion; the only place that knows how far it is."""

    class State(models.TextChoices):
        SCHEDULED = "scheduled"
        RUNNING = "running"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        FAILED = "failed"

    OPEN = (State.SCHEDULED, State.RUNNING, State.FAILED)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    state = models.CharField(max_length=16, choices=State, default=State.SCHEDULED)
    generation = models.PositiveIntegerField(default=1)
    channel = models.CharField(max_length=32)
    requested_by_kind = models.CharField(max_length=16)
    requested_by_id = models.UUIDField(null=True)
    request_id = models.CharField(max_length=40, blank=True)
    organization_id = models.UUIDField(
        null=True, db_index=True, help_text="The organization that managed the subject, if any."
    )
    requested_at = models.DateTimeField()
    due_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True)
    before = models.JSONField(
        default=dict, help_text="What the soft delete changed, so that a restore can put it back."
    )
    counts = models.JSONField(default=dict, help_text="Rows removed, by model.")

    objects = DeletionRequestQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["subject_kind", "subject_id"],
                condition=Q(state__in=["scheduled", "running", "failed"]),
                name="one_open_deletion_per_subject",
            ),
        ]
        indexes = [
            models.Index(fields=["subject_id", "-requested_at"], name="deletion_by_subject"),
            models.Index(
                fields=["due_at", "id"],
                condition=Q(state__in=["scheduled", "running", "failed"]),
                name="deletion_open_by_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject_kind}:{self.subject_id} ({self.state})"

    @property
    def subject(self) -> Reference:
        return Reference(self.subject_kind, self.subject_id)

    def is_leased(self, now: datetime) -> bool:
        """Whether a worker holds this request right now."""
        return (
            self.state == self.State.RUNNING
            and self.lease_until is not None
            and self.lease_until > now
        )


class LegalHold(models.Model):
    """A reasoned, dated stop on the erasure of one subject."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    reason = models.TextField()
    placed_at = models.DateTimeField()
    placed_by_id = models.UUIDField(null=True)
    review_at = models.DateField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by_id = models.UUIDField(null=True, blank=True)

    objects = LegalHoldQuerySet.as_manager()

    class Meta:
        ordering = ["-placed_at"]
        indexes = [
            models.Index(
                fields=["subject_id"], condition=Q(released_at=None), name="active_hold_by_subject"
            ),
        ]

    def __str__(self) -> str:
        return f"hold on {self.subject_kind}:{self.subject_id}"
