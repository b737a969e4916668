"""Reading what was delivered, sending a test, and sending something once more."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference
from erasure.engines import wake
from organizations.webhooks.endpoints import find_endpoint, require_reach
from organizations.webhooks.events import TEST
from organizations.webhooks.exceptions import (
    AlreadyPending,
    EndpointDisabled,
    WebhookNotFound,
)
from organizations.webhooks.models import Attempt, Delivery, Endpoint, Message
from organizations.webhooks.outbox import make_delivery, make_message, next_sequences
from organizations.webhooks.tasks import deliver

PAGE = 50

STATE = Delivery.State


@dataclass(frozen=True, slots=True)
class AttemptFacts:
    """One try, and what came back."""

    number: int
    at: datetime
    request_headers: dict[str, str]
    response_status: int | None
    response_body: str
    error: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """A message to an endpoint: how far it is, and each try of it."""

    message_id: UUID
    type: str
    state: str
    attempts: int
    created_at: datetime
    next_try_at: datetime | None
    finished_at: datetime | None
    last_error: str
    payload: str
    history: Sequence[AttemptFacts] = field(default=())


def list_deliveries(
    *,
    actor: Actor,
    organization_id: UUID,
    endpoint_id: UUID,
    state: str = "",
    before: UUID | None = None,
) -> list[DeliveryFacts]:
    """Return the newest deliveries of an endpoint, at most a page of them, those older than the
    message ``before``. Raises OrganizationOutOfReach or WebhookNotFound."""
    endpoint = find_endpoint(actor, organization_id, endpoint_id)
    rows = Delivery.objects.filter(endpoint=endpoint).select_related("message")
    if state:
        rows = rows.filter(state=state)
    if before is not None:
        # Message ids are ordered by time.
        rows = rows.filter(message_id__lt=before)
    return [_describe(one) for one in rows.order_by("-message_id")[:PAGE]]


def read_delivery(
    *, actor: Actor, organization_id: UUID, endpoint_id: UUID, message_id: UUID
) -> DeliveryFacts:
    """Return one delivery with every try. Raises OrganizationOutOfReach or WebhookNotFound."""
    endpoint = find_endpoint(actor, organization_id, endpoint_id)
    rows = Delivery.objects.filter(endpoint=endpoint, message_id=message_id)
    found = rows.select_related("message").first()
    if found is None:
        raise WebhookNotFound(message_id)
    return _describe(found, found.history.all())


def send_test(
    *, actor: Actor, organization_id: UUID | None, endpoint_id: UUID, now: datetime
) -> DeliveryFacts:
    """Put a test event on its way to an endpoint. Raises OrganizationOutOfReach,
    OrganizationArchived, RightMissing, WebhookNotFound or EndpointDisabled."""
    with transaction.atomic(durable=True):
        endpoint = _lock_endpoint(actor, organization_id, endpoint_id)
        subject = Reference("webhook", endpoint.pk)
        sequence = next_sequences(subject.kind, [subject.id], now=now)[subject.id]
        message = make_message(TEST, subject, sequence, {}, now=now)
        message.save(force_insert=True)
        delivery = make_delivery(message, endpoint, now=now)
        delivery.save(force_insert=True)
        wake(deliver)
    return _describe(delivery)


def redeliver(
    *,
    actor: Actor,
    organization_id: UUID | None,
    endpoint_id: UUID,
    message_id: UUID,
    now: datetime,
) -> DeliveryFacts:
    """Send a message that was delivered or given up once more, under the same id and with the same
    body, with as many tries as a new one. Raises OrganizationOutOfReach,
    OrganizationArchived, RightMissing, WebhookNotFound, EndpointDisabled or AlreadyPending."""
    with transaction.atomic(durable=True):
        endpoint = _lock_endpoint(actor, organization_id, endpoint_id)
        rows = Delivery.objects.select_for_update(of=("self",)).select_related("message")
        found: Delivery | None = rows.filter(endpoint=endpoint, message_id=message_id).first()
        if found is None:
            raise WebhookNotFound(message_id)
        if found.state not in (STATE.DELIVERED, STATE.DEAD):
            raise AlreadyPending
        found.state, found.attempts, found.last_error = STATE.PENDING, 0, ""
        found.first_tried_at = found.finished_at = None
        found.next_try_at = now
        found.save()
        wake(deliver)
    return _describe(found, found.history.all())


def _lock_endpoint(actor: Actor, organization_id: UUID | None, endpoint_id: UUID) -> Endpoint:
    require_reach(actor, organization_id, may="change", is_locking=True)
    rows = Endpoint.objects.select_for_update()
    found: Endpoint | None = rows.filter(pk=endpoint_id, organization_id=organization_id).first()
    if found is None:
        raise WebhookNotFound(endpoint_id)
    if not found.is_active:
        raise EndpointDisabled
    return found


def _describe(delivery: Delivery, history: Any = ()) -> DeliveryFacts:
    message: Message = delivery.message
    return DeliveryFacts(
        message_id=message.pk,
        type=message.type,
        state=delivery.state,
        attempts=delivery.attempts,
        created_at=delivery.created_at,
        next_try_at=delivery.next_try_at,
        finished_at=delivery.finished_at,
        last_error=delivery.last_error,
        payload=message.payload,
        history=tuple(map(_describe_attempt, history)),
    )


def _describe_attempt(attempt: Attempt) -> AttemptFacts:
    return AttemptFacts(
        number=attempt.number,
        at=attempt.at,
        request_headers=attempt.request_headers,
        response_status=attempt.response_status,
        response_body=attempt.response_body,
        error=attempt.error,
        milliseconds=attempt.milliseconds,
    )
