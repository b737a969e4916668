"""Endpoints, the messages to them, and the history of their delivery.

A message has no foreign key to what it is about: the last event of an organization outlives the
organization's rows, and so does what is needed to deliver it.
"""

from django.db import models
from django.db.models import DB_CASCADE, Q
from uuid_utils.compat import uuid7

from organizations.webhooks.querysets import DeliveryQuerySet, EndpointQuerySet


class Endpoint(models.Model):
    """Where to send what. Without an organization it is a recipient of the whole instance: somebody
    to whom personal data was disclosed, and who is told of each erasure (Art. 19 GDPR)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organization = models.ForeignKey(
        "organizations.Organization", DB_CASCADE, null=True, blank=True, related_name="endpoints"
    )
    name = models.CharField(max_length=100, blank=True)
    url = models.CharField("URL", max_length=2000)
    events = models.CharField(max_length=400)
    """Names between blanks, with one before and one after: `` user.erased member.removed ``."""
    secret = models.TextField(editable=False)
    """Sealed, like the former one, which signs too until its time is over."""
    former_secret = models.TextField(blank=True, editable=False)
    former_until = models.DateTimeField(null=True, blank=True, editable=False)
    is_active = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()

    objects = EndpointQuerySet.as_manager()

    class Meta:
        verbose_name = "webhook endpoint"
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return f"webhook endpoint {self.id}"

    @property
    def chosen(self) -> list[str]:
        return self.events.split()


class Message(models.Model):
    """One event as it is told, to however many endpoints. ``payload`` is the body, byte for
    byte."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    type = models.CharField(max_length=40)
    subject_kind = models.CharField(max_length=32)
    subject_id = models.UUIDField()
    sequence = models.BigIntegerField()
    """Grows with each event of a subject, also after its history has been removed."""
    deletion_id = models.UUIDField(null=True)
    payload = models.TextField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = "webhook message"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["subject_id", "sequence"], name="message_by_subject"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class Delivery(models.Model):
    """A message on its way to one endpoint.

    ``receiver_id`` is the endpoint's id and stays when the endpoint goes. The last event of an
    organization has no ``endpoint``: address and secrets are sealed in ``farewell``, until it is
    delivered or its time is over.
    """

    class State(models.TextChoices):
        PREPARED = "prepared"
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead", "given up"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    message = models.ForeignKey(Message, DB_CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(Endpoint, DB_CASCADE, null=True, related_name="deliveries")
    receiver_id = models.UUIDField()
    farewell_of = models.UUIDField(null=True)
    farewell = models.TextField(blank=True, editable=False)
    subject_id = models.UUIDField()
    sequence = models.BigIntegerField()
    state = models.CharField(max_length=16, choices=State, default=State.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()
    first_tried_at = models.DateTimeField(null=True)
    next_try_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True)
    lease_until = models.DateTimeField(null=True)
    lease_token = models.UUIDField(null=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        verbose_name = "webhook delivery"
        verbose_name_plural = "webhook deliveries"
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["message", "receiver_id"], name="one_delivery_per_receiver"
            ),
        ]
        indexes = [
            models.Index(
                fields=["receiver_id", "subject_id", "sequence"],
                condition=Q(state="pending"),
                name="delivery_in_order",
            ),
            models.Index(
                fields=["next_try_at"], condition=Q(state="pending"), name="delivery_by_next_try"
            ),
            models.Index(
                fields=["subject_id"], condition=Q(state="prepared"), name="delivery_prepared"
            ),
            models.Index(
                fields=["farewell_of"],
                condition=Q(farewell_of__isnull=False),
                name="delivery_farewell",
            ),
        ]

    def __str__(self) -> str:
        return f"webhook delivery {self.id}"


class Attempt(models.Model):
    """One request, and what came back: the status, and the first KiB of the body."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    delivery = models.ForeignKey(Delivery, DB_CASCADE, related_name="history")
    number = models.PositiveIntegerField()
    at = models.DateTimeField()
    request_headers = models.JSONField(default=dict)
    response_status = models.PositiveSmallIntegerField(null=True)
    response_body = models.TextField(blank=True)
    error = models.CharField(max_length=200, blank=True)
    milliseconds = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = "webhook attempt"
        ordering = ["at", "id"]

    def __str__(self) -> str:
        return f"webhook attempt {self.id}"
