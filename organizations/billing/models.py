"""What an organization pays by, and what Stripe has been asked to do about it."""

from typing import ClassVar

from django.db import models
from django.db.models import DB_CASCADE, Q
from uuid_utils.compat import uuid7

from organizations.billing.querysets import BillingOrderQuerySet


class Subscription(models.Model):
    """An organization's subscription at Stripe. ``status`` is what Stripe last said, and when."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.OneToOneField(
        "organizations.Organization", DB_CASCADE, related_name="subscription"
    )
    customer = models.CharField(max_length=255)
    subscription = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=32)
    told_at = models.DateTimeField()
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.subscription


class BillingOrder(models.Model):
    """Something that Stripe is to do. Written in the transaction of the deletion or the restore
    that wants it, and without a foreign key, since it outlives the organization.

    ``number`` counts the orders of a subscription. Of these one is open at most: a later order
    replaces an earlier one, since only what was wanted last is to come about.
    """

    class Kind(models.TextChoices):
        CANCEL = "cancel"
        PAUSE = "pause"
        RESUME = "resume"

    class State(models.TextChoices):
        OPEN = "open"
        CONFIRMED = "confirmed"
        SUPERSEDED = "superseded"

    LONGEST_ERROR: ClassVar[int] = 200

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization_id = models.UUIDField(db_index=True)
    customer = models.CharField(max_length=255)
    subscription = models.CharField(max_length=255)
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=16, choices=Kind)
    state = models.CharField(max_length=16, choices=State, default=State.OPEN)
    idempotency_key = models.CharField(max_length=255, unique=True)
    attempts = models.PositiveIntegerField(default=0)
    retry_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=LONGEST_ERROR, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    outcome = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = BillingOrderQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["subscription", "number"], name="orders_are_numbered"),
            models.UniqueConstraint(
                fields=["subscription"], condition=Q(state="open"), name="one_open_billing_order"
            ),
            models.UniqueConstraint(
                fields=["subscription"], condition=Q(kind="cancel"), name="one_order_to_cancel"
            ),
        ]
        indexes = [
            models.Index(
                fields=["created_at"], condition=Q(state="open"), name="open_billing_orders"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subscription}"
