"""Deletion requests and legal holds. Their subjects are opaque references, never foreign keys."""

from datetime import datetime

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from audit.events import Reference
from erasure.querysets import DeletionRequestQuerySet, LegalHoldQuerySet, PauseQuerySet


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
    ordered_by_id = models.UUIDField(
        null=True, help_text="The member of staff who had it erased at once, alone."
    )
    request_id = models.CharField(max_length=40, blank=True)
    organization_id = models.UUIDField(
        null=True, help_text="The organization that managed the subject, if any."
    )
    requested_at = models.DateTimeField()
    due_at = models.DateTimeField()
    started_at = models.DateTimeField(
        null=True, help_text="Since when it is being erased, or when that began."
    )
    finished_at = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True)
    before = models.JSONField(
        default=dict, help_text="What the soft delete changed, so that a restore can put it back."
    )
    cause_id = models.UUIDField(
        null=True, help_text="The deletion that took this one along: of an organization, of a bulk."
    )
    reference = models.CharField(
        max_length=200,
        blank=True,
        help_text="The case that the deletion belongs to; nobody's name.",
    )
    plan_id = models.CharField(
        max_length=80, blank=True, help_text="The plan that whoever asked for it had seen."
    )
    planned = models.JSONField(
        default=dict, help_text="What was planned when it was asked for; empty when nobody looked."
    )
    status_digest = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the token in the requester's status link."
    )
    warned_at = models.DateTimeField(
        null=True, help_text="When the subject was told that the erasure is near."
    )
    cursor = models.JSONField(
        default=dict, help_text="How far an erasure of many transactions has come; empty otherwise."
    )
    counts = models.JSONField(default=dict, help_text="Rows removed, by model.")
    along = models.JSONField(
        default=dict,
        help_text="How many were erased along with it, by kind, and the digest of their lines.",
    )
    told = models.JSONField(
        default=list, help_text="Who was told of the completion, by channel; no addresses."
    )
    searched = models.JSONField(
        default=dict, help_text="When the residual search ran for it, and how much it found."
    )
    ledger_entry = models.UUIDField(
        null=True, help_text="The entry of the ledger that tells of the erasure."
    )
    signature = models.BinaryField(
        null=True, help_text="Of the receipt, which is rebuilt from this row and its statement."
    )
    statement = models.CharField(
        max_length=64, blank=True, help_text="Digest of what the receipt says beside the counts."
    )

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
            models.Index(
                fields=["organization_id"],
                condition=Q(organization_id__isnull=False),
                name="deletion_by_organization",
            ),
            models.Index(
                fields=["cause_id"], condition=Q(cause_id__isnull=False), name="deletion_by_cause"
            ),
            models.Index(
                fields=["ordered_by_id", "-started_at"],
                condition=Q(ordered_by_id__isnull=False),
                name="deletion_by_orderer",
            ),
            models.Index(
                fields=["status_digest"], condition=~Q(status_digest=""), name="deletion_by_status"
            ),
            models.Index(
                fields=["-finished_at", "-id"],
                condition=Q(finished_at__isnull=False),
                name="deletion_finished",
            ),
            models.Index(
                fields=["-finished_at"], condition=Q(state="cancelled"), name="deletion_restored"
            ),
        ]
        permissions = [("export_subject", "Can export everything that is held on a subject")]

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
            models.Index(fields=["subject_id"], name="hold_by_subject"),
        ]

    def __str__(self) -> str:
        return f"hold on {self.subject_kind}:{self.subject_id}"

    @property
    def subject(self) -> Reference:
        return Reference(self.subject_kind, self.subject_id)


class Statement(models.Model):
    """What many receipts say in the same words: what is kept and why, and the rules in force.

    Written once for each wording; a receipt names it by its digest.
    """

    digest = models.CharField(primary_key=True, max_length=64, editable=False)
    content = models.JSONField()
    first_used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"statement {self.digest[:12]}"


class Pause(models.Model):
    """A brake on unattended erasure, of everything or of one subject with whom it manages."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization_id = models.UUIDField(null=True, blank=True, help_text="Empty: everything.")
    reason = models.TextField()
    placed_at = models.DateTimeField()
    placed_by_id = models.UUIDField(null=True)
    released_at = models.DateTimeField(null=True, blank=True)
    released_by_id = models.UUIDField(null=True, blank=True)

    objects = PauseQuerySet.as_manager()

    class Meta:
        ordering = ["-placed_at"]
        indexes = [
            models.Index(fields=["organization_id"], name="pause_by_organization"),
        ]

    def __str__(self) -> str:
        return f"pause of {self.organization_id or 'everything'}"


class Heartbeat(models.Model):
    """When a recurring job last came to its end, and what it did then."""

    name = models.CharField(primary_key=True, max_length=32)
    at = models.DateTimeField()
    facts = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M:%S}"


class BulkErasure(models.Model):
    """Many subjects whose erasure one member of staff asks for and, above a threshold, another
    one approves."""

    class State(models.TextChoices):
        PROPOSED = "proposed"
        APPROVED = "approved"
        REJECTED = "rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=16, choices=State, default=State.PROPOSED)
    reference = models.CharField(max_length=200)
    subjects = models.JSONField(help_text="Kind and id of each subject, in order.")
    size = models.PositiveIntegerField()
    proposed_by_id = models.UUIDField()
    proposed_at = models.DateTimeField()
    decided_by_id = models.UUIDField(null=True)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-proposed_at"]
        permissions = [("approve_bulkerasure", "Can approve bulk erasures of others")]

    def __str__(self) -> str:
        return f"bulk erasure {self.id}"


class LedgerMark(models.Model):
    """Up to where this database has taken in the ledger. A restored backup brings an old mark."""

    ledger = models.CharField(primary_key=True, max_length=64)
    position = models.BigIntegerField(default=0)
    seal = models.CharField(
        max_length=32, blank=True, help_text="Tells a row that we wrote from one that was loaded."
    )
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.ledger} up to {self.position}"


class DoomedFile(models.Model):
    """A stored file whose row an erasure has taken, until the file itself is gone as well.

    Written in the erasure's transaction, so that a crash after the commit forgets no file.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    field = models.CharField(
        max_length=200, help_text="Of the model that named it: app.Model.field."
    )
    name = models.TextField()
    noted_at = models.DateTimeField()

    class Meta:
        ordering = ["noted_at", "id"]

    def __str__(self) -> str:
        return f"doomed file of {self.field}"
