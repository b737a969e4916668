"""Events hold opaque ids only. What is personal about one lies beside it and can be erased."""

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from audit.querysets import AppendOnlyQuerySet


class AuditEvent(models.Model):
    """One thing that happened. No foreign keys: an event outlives everything it speaks of."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=64)
    outcome = models.CharField(max_length=16, default="done")
    actor_kind = models.CharField(max_length=16)
    actor_id = models.UUIDField(null=True)
    subject_kind = models.CharField(max_length=32, blank=True)
    subject_id = models.UUIDField(null=True, db_index=True)
    organization_id = models.UUIDField(null=True)
    credential_id = models.UUIDField(null=True)
    channel = models.CharField(max_length=32)
    request_id = models.CharField(max_length=40, blank=True)
    facts = models.JSONField(default=dict, blank=True)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-at", "-id"]
        # Most events of a purge have neither: an index on them all would be written for nothing.
        indexes = [
            models.Index(
                fields=["actor_id"], condition=Q(actor_id__isnull=False), name="event_by_actor"
            ),
            models.Index(
                fields=["organization_id"],
                condition=Q(organization_id__isnull=False),
                name="event_by_organization",
            ),
            models.Index(
                fields=["request_id"], condition=~Q(request_id=""), name="event_by_request"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject_kind}:{self.subject_id}"


class EventDetail(models.Model):
    """A personal value that belongs to an event: an address, a user agent.

    ``person_id`` is the person the value is about. Erasing removes the row; the event stays.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_id = models.UUIDField(db_index=True)
    person_id = models.UUIDField(db_index=True)
    field = models.CharField(max_length=32)
    value = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["event_id", "field"], name="one_value_per_event_field"),
        ]

    def __str__(self) -> str:
        return f"{self.field} of {self.event_id}"
