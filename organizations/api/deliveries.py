"""``/v1/organizations/{id}/webhooks/{webhook_id}/deliveries``: what was sent, and what came back.

GET /v1/organizations/550e8400-…/webhooks/whk_…/deliveries/msg_… HTTP/1.1
Authorization: Bearer sk-…

HTTP/1.1 200 OK
{"id": "msg_…", "type": "user.erased", "state": "delivered", …, "attempts": [{"number": 1,
 "response_status": 200, …}]}
"""

import json
from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import scopes
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import Fault, InvalidRequest, Refusal
from contracts.schema import json_object, operation, query
from contracts.schema import path as path_parameter
from organizations.api.webhooks import (
    BASE,
    COMMON,
    ID,
    WEBHOOK_ID,
    moment,
    read_organization,
    read_webhook,
    text,
)
from organizations.api.words import ARCHIVED
from organizations.exceptions import OrganizationArchived
from organizations.webhooks import exceptions as webhooks
from organizations.webhooks import history
from organizations.webhooks.history import AttemptFacts, DeliveryFacts

MESSAGE = "msg"
MESSAGE_PATTERN = f"^{MESSAGE}_{ids.SUFFIX_PATTERN}$"
STATES = ("pending", "delivered", "dead")

ERRORS: ErrorTable = {
    **house.PROTOCOL_ERRORS,
    webhooks.OrganizationOutOfReach: Refusal(
        404, "Organization not found.", "ORGANIZATION_NOT_FOUND"
    ),
    OrganizationArchived: ARCHIVED,
    webhooks.WebhookNotFound: Refusal(404, "Webhook or delivery not found.", "DELIVERY_NOT_FOUND"),
    webhooks.EndpointDisabled: Refusal(409, "The webhook is switched off.", "WEBHOOK_DISABLED"),
    webhooks.AlreadyPending: Refusal(409, "The message is on its way already.", "DELIVERY_PENDING"),
}
READING = (
    *house.NO_BODY,
    webhooks.EndpointDisabled,
    webhooks.AlreadyPending,
    OrganizationArchived,
)
SHARED: dict[str, Any] = {**COMMON, "errors": ERRORS}

optional = {**moment, "type": ["string", "null"]}
FIELDS = {
    "id": {**text, "pattern": MESSAGE_PATTERN},
    "type": text,
    "state": {"enum": list(STATES), **text},
    "attempts_made": {"type": "integer"},
    "created_at": moment,
    "next_try_at": optional,
    "finished_at": optional,
    "last_error": text,
}
ATTEMPT = json_object(
    {
        "number": {"type": "integer"},
        "at": moment,
        "request_headers": {"type": "object", "additionalProperties": text},
        "response_status": {"type": ["integer", "null"]},
        "response_body": text,
        "error": text,
        "duration_ms": {"type": "integer"},
    }
)
DELIVERY = json_object(FIELDS)
DETAIL = json_object(
    {
        **FIELDS,
        "request_body": {"type": "object"},
        "attempts": {"type": "array", "items": ATTEMPT},
    }
)
MESSAGE_ID = path_parameter("message_id", "The message's id.", pattern=MESSAGE_PATTERN)
STATE = query("state", "Only those in this state.", enum=list(STATES))
BEFORE = query("before", "Only those older than this message.", pattern=MESSAGE_PATTERN)


def describe(delivery: DeliveryFacts) -> dict[str, Any]:
    return {
        "id": ids.encode(MESSAGE, delivery.message_id),
        "type": delivery.type,
        "state": delivery.state,
        "attempts_made": delivery.attempts,
        "created_at": delivery.created_at,
        "next_try_at": delivery.next_try_at,
        "finished_at": delivery.finished_at,
        "last_error": delivery.last_error,
    }


def describe_all(delivery: DeliveryFacts) -> dict[str, Any]:
    return {
        **describe(delivery),
        "request_body": json.loads(delivery.payload),
        "attempts": [describe_attempt(one) for one in delivery.history],
    }


def describe_attempt(attempt: AttemptFacts) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "at": attempt.at,
        "request_headers": attempt.request_headers,
        "response_status": attempt.response_status,
        "response_body": attempt.response_body,
        "error": attempt.error,
        "duration_ms": attempt.milliseconds,
    }


def read_message(given: str) -> UUID:
    if (found := ids.decode(MESSAGE, given)) is None:
        raise webhooks.WebhookNotFound
    return found


def read_wish(request: Request) -> dict[str, Any]:
    """Return which deliveries are asked for. Raises InvalidRequest."""
    state, before = request.query_params.get("state", ""), request.query_params.get("before")
    if state and state not in STATES:
        choices = f"One of {', '.join(STATES)}."
        raise InvalidRequest(Fault(["query", "state"], choices, "invalid"))
    if before is not None and ids.decode(MESSAGE, before) is None:
        raise InvalidRequest(Fault(["query", "before"], "The id of a message.", "invalid"))
    return {"state": state, "before": ids.decode(MESSAGE, before) if before else None}


class Deliveries(house.HouseApi):
    channel = "webhooks"
    rights = {
        **dict.fromkeys(("index", "retrieve"), scopes.WEBHOOKS_READ),
        **dict.fromkeys(("test", "redeliver"), scopes.WEBHOOKS_WRITE),
    }
    errors = ERRORS

    @operation(
        "listWebhookDeliveries",
        summary="List deliveries",
        description="The newest 50 deliveries of a webhook; `before` takes the last id of a page "
        "for the next one. They are kept for 30 days. Scope: `webhooks:read`.",
        parameters=[ID, WEBHOOK_ID, STATE, BEFORE],
        success={
            200: (json_object({"data": {"type": "array", "items": DELIVERY}}), "Deliveries", None)
        },
        leave_out=READING,
        **SHARED,
    )
    def index(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
    ) -> Response:
        place = self.place(id, webhook_id)
        found = history.list_deliveries(**place, **read_wish(request))
        return Response({"data": [describe(one) for one in found]})

    @operation(
        "getWebhookDelivery",
        summary="Read a delivery",
        description="What was sent, and each try with what came back: the status, and the first "
        "KiB of the body. Scope: `webhooks:read`.",
        parameters=[ID, WEBHOOK_ID, MESSAGE_ID],
        success={200: (DETAIL, "The delivery", None)},
        leave_out=(*READING, InvalidRequest),
        **SHARED,
    )
    def retrieve(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
        message_id: str,
    ) -> Response:
        place = self.place(id, webhook_id)
        found = history.read_delivery(**place, message_id=read_message(message_id))
        return Response(describe_all(found))

    @operation(
        "sendWebhookTest",
        summary="Send a test event",
        description="Puts an event `webhook.test` on its way, to see that it arrives. Scope: "
        "`webhooks:write`.",
        parameters=[ID, WEBHOOK_ID],
        success={202: (DELIVERY, "On its way", None)},
        leave_out=(*house.NO_BODY, webhooks.AlreadyPending, InvalidRequest),
        **SHARED,
    )
    def test(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
    ) -> Response:
        sent = history.send_test(**self.place(id, webhook_id), now=timezone.now())
        return Response(describe(sent), status=202)

    @operation(
        "redeliverWebhookMessage",
        summary="Send a message once more",
        description="Sends a message that was delivered or given up again, under the same id and "
        "with the same body. Scope: `webhooks:write`.",
        parameters=[ID, WEBHOOK_ID, MESSAGE_ID],
        success={202: (DELIVERY, "On its way", None)},
        leave_out=(*house.NO_BODY, InvalidRequest),
        **SHARED,
    )
    def redeliver(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
        message_id: str,
    ) -> Response:
        place = {**self.place(id, webhook_id), "message_id": read_message(message_id)}
        return Response(describe(history.redeliver(**place, now=timezone.now())), status=202)

    def place(self, organization: str, webhook: str) -> dict[str, Any]:
        """Return who asks, and which webhook of which organization is meant."""
        organization_id = read_organization(organization)
        return {
            "actor": self.actor,
            "organization_id": organization_id,
            "endpoint_id": read_webhook(webhook),
        }


ONE = rf"{BASE}/(?P<webhook_id>[^/]*)"

urlpatterns = [
    re_path(f"{ONE}/test$", Deliveries.as_view({"post": "test"})),
    re_path(f"{ONE}/deliveries$", Deliveries.as_view({"get": "index"})),
    re_path(f"{ONE}/deliveries/(?P<message_id>[^/]*)$", Deliveries.as_view({"get": "retrieve"})),
    re_path(
        f"{ONE}/deliveries/(?P<message_id>[^/]*)/redeliver$",
        Deliveries.as_view({"post": "redeliver"}),
    ),
]
