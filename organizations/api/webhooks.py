"""``/v1/organizations/{id}/webhooks``: an organization's endpoints.

    POST /v1/organizations/550e8400-e29b-41d4-a716-446655440000/webhooks HTTP/1.1
    Authorization: Bearer sk-…
    {"url": "https://hooks.example.com/sexton", "events": ["user.erased", "organization.deleted"]}

    HTTP/1.1 201 Created
    {"id": "whk_…", "url": "https://hooks.example.com/sexton", …, "secret": "whsec_…"}

For whoever runs the organization, with a key of their own or one of the organization's. The secret
is shown in this answer and never again; ``rotate-secret`` makes a new one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.validators import RegexValidator
from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import scopes
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import Fault, InvalidRequest, Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    validate,
)
from organizations.api.words import ARCHIVED
from organizations.exceptions import OrganizationArchived
from organizations.webhooks import endpoints
from organizations.webhooks import exceptions as webhooks
from organizations.webhooks.endpoints import EndpointFacts
from organizations.webhooks.events import DESCRIPTIONS

WEBHOOK = "whk"

ERRORS: ErrorTable = {
    **house.PROTOCOL_ERRORS,
    webhooks.OrganizationOutOfReach: Refusal(
        404, "Organization not found.", "ORGANIZATION_NOT_FOUND"
    ),
    OrganizationArchived: ARCHIVED,
    webhooks.WebhookNotFound: Refusal(404, "Webhook not found.", "WEBHOOK_NOT_FOUND"),
    webhooks.TooManyEndpoints: Refusal(
        409, "The organization has as many webhooks as it may have.", "TOO_MANY_WEBHOOKS"
    ),
}
REMOVING = (*house.NO_BODY, webhooks.TooManyEndpoints, InvalidRequest)
"""What an action that reads no body never refuses."""

READING = (*REMOVING, OrganizationArchived)
"""What an action that changes nothing never refuses."""

PATTERN = f"^{WEBHOOK}_{ids.SUFFIX_PATTERN}$"
NAME_PATTERN = r"^[^\x00-\x1f\x7f]*$"
text: dict[str, Any] = {"type": "string"}
moment: dict[str, Any] = {**text, "format": "date-time"}
event_list = {"type": "array", "minItems": 1, "items": {"enum": list(DESCRIPTIONS), **text}}
url = {**text, "format": "uri", "maxLength": 2000}
name = {**text, "maxLength": 100, "pattern": NAME_PATTERN}
FIELDS = {
    "id": {**text, "pattern": PATTERN},
    "organization_id": {**text, "format": "uuid"},
    "name": text,
    "url": url,
    "events": event_list,
    "is_active": {"type": "boolean"},
    "disabled_reason": text,
    "former_secret_signs_until": {**moment, "type": ["string", "null"]},
    "created_at": moment,
}
ENDPOINT = json_object(FIELDS)
WITH_SECRET = json_object({**FIELDS, "secret": {**text, "pattern": "^whsec_"}})
CHANGES = {"url": url, "events": event_list, "name": name, "is_active": {"type": "boolean"}}
OVERLAP = {"type": "integer", "minimum": 0, "maximum": 30 * 24}

ID = path_parameter("id", "The organization's UUID.", format="uuid")
WEBHOOK_ID = path_parameter("webhook_id", "The webhook's id.", pattern=PATTERN)
COMMON: dict[str, Any] = {
    "tag": "Webhooks",
    "errors": ERRORS,
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "idempotent": False,
}


class Changes(serializers.Serializer[Any]):
    url = StrictCharField(required=False, trim_whitespace=False)
    events = serializers.ListField(child=StrictCharField(), required=False)
    name = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=100,
        validators=[RegexValidator(NAME_PATTERN)],
    )
    is_active = StrictBooleanField(required=False)


class Creation(serializers.Serializer[Any]):
    url = StrictCharField(trim_whitespace=False)
    events = serializers.ListField(child=StrictCharField())
    name = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=100,
        validators=[RegexValidator(NAME_PATTERN)],
    )


class Rotation(serializers.Serializer[Any]):
    overlap_hours = StrictIntegerField(required=False, min_value=0, max_value=30 * 24)


def describe(endpoint: EndpointFacts) -> dict[str, Any]:
    organization = endpoint.organization_id
    return {
        "id": ids.encode(WEBHOOK, endpoint.id),
        "organization_id": str(organization) if organization else None,
        "name": endpoint.name,
        "url": endpoint.url,
        "events": endpoint.events,
        "is_active": endpoint.is_active,
        "disabled_reason": endpoint.disabled_reason,
        "former_secret_signs_until": endpoint.former_until,
        "created_at": endpoint.created_at,
    }


def read_organization(given: str) -> UUID:
    if (found := ids.decode_uuid(given)) is None:
        raise webhooks.OrganizationOutOfReach
    return found


def read_webhook(given: str) -> UUID:
    if (found := ids.decode(WEBHOOK, given)) is None:
        raise webhooks.WebhookNotFound
    return found


@contextmanager
def naming_faults() -> Iterator[None]:
    """Say of a refused address or event where it stands in the body."""
    try:
        yield
    except webhooks.TargetRefused as refused:
        raise InvalidRequest(Fault(["body", "url"], refused.reason, "invalid")) from None
    except webhooks.UnknownEvents as unknown:
        words = f"There is no such event: {', '.join(unknown.events)}."
        told = words if unknown.events else "Choose at least one event."
        raise InvalidRequest(Fault(["body", "events"], told, "invalid")) from None


class Webhooks(house.HouseApi):
    channel = "webhooks"
    rights = {
        **dict.fromkeys(("index", "retrieve"), scopes.WEBHOOKS_READ),
        **dict.fromkeys(("create", "partial_update", "destroy", "rotate"), scopes.WEBHOOKS_WRITE),
    }
    errors = ERRORS

    @operation(
        "listWebhooks",
        summary="List webhooks",
        description="An organization's webhooks, newest first. Scope: `webhooks:read`.",
        parameters=[ID],
        success={
            200: (json_object({"data": {"type": "array", "items": ENDPOINT}}), "Webhooks", None)
        },
        leave_out=(*READING, webhooks.WebhookNotFound),
        **COMMON,
    )
    def index(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        found = endpoints.list_endpoints(actor=self.actor, organization_id=read_organization(id))
        return Response({"data": [describe(one) for one in found]})

    @operation(
        "createWebhook",
        summary="Create a webhook",
        description="Has events sent to an address, signed after Standard Webhooks. The secret is "
        "shown in this answer and never again. Scope: `webhooks:write`.",
        parameters=[ID],
        body={
            **json_object({"url": url, "events": event_list, "name": name}, "name"),
            "additionalProperties": False,
        },
        success={201: (WITH_SECRET, "Created", None)},
        leave_out=(webhooks.WebhookNotFound,),
        **COMMON,
    )
    def create(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        organization_id = read_organization(id)
        wish = validate(Creation, request.data)
        with naming_faults():
            made = endpoints.create_endpoint(
                actor=self.actor, organization_id=organization_id, now=timezone.now(), **wish
            )
        return Response({**describe(made.endpoint), "secret": made.secret}, status=201)

    @operation(
        "getWebhook",
        summary="Read a webhook",
        description="One webhook, without its secret. Scope: `webhooks:read`.",
        parameters=[ID, WEBHOOK_ID],
        success={200: (ENDPOINT, "The webhook", None)},
        leave_out=READING,
        **COMMON,
    )
    def retrieve(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
    ) -> Response:
        return Response(describe(endpoints.read_endpoint(**self.place(id, webhook_id))))

    @operation(
        "updateWebhook",
        summary="Change a webhook",
        description="Changes what is given. Switched off, it hears of nothing, and what was on its "
        "way is given up; switched on again, it hears of what happens from then on. Scope: "
        "`webhooks:write`.",
        parameters=[ID, WEBHOOK_ID],
        body={**json_object(CHANGES, *CHANGES), "additionalProperties": False},
        body_required=False,
        success={200: (ENDPOINT, "The webhook", None)},
        leave_out=(webhooks.TooManyEndpoints,),
        **COMMON,
    )
    def partial_update(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
    ) -> Response:
        wish = validate(Changes, request.data)
        place = self.place(id, webhook_id)
        with naming_faults():
            changed = endpoints.update_endpoint(**place, now=timezone.now(), **wish)
        return Response(describe(changed))

    @operation(
        "deleteWebhook",
        summary="Remove a webhook",
        description="Removes a webhook with its history; what was on its way is given up. Scope: "
        "`webhooks:write`.",
        parameters=[ID, WEBHOOK_ID],
        success={204: (None, "Removed", None)},
        leave_out=REMOVING,
        **COMMON,
    )
    def destroy(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
    ) -> Response:
        endpoints.delete_endpoint(**self.place(id, webhook_id), now=timezone.now())
        return Response(status=204)

    @operation(
        "rotateWebhookSecret",
        summary="Make a new secret",
        description="The new secret is shown in this answer and never again. The former one signs, "
        "too, for `overlap_hours` (24 unless said otherwise, at most 720; 0 ends it at once). "
        "Scope: `webhooks:write`.",
        parameters=[ID, WEBHOOK_ID],
        body={
            **json_object({"overlap_hours": OVERLAP}, "overlap_hours"),
            "additionalProperties": False,
        },
        body_required=False,
        success={200: (WITH_SECRET, "The webhook with its new secret", None)},
        leave_out=(webhooks.TooManyEndpoints,),
        **COMMON,
    )
    def rotate(
        self,
        request: Request,
        id: str,  # noqa: A002 - documented name
        webhook_id: str,
    ) -> Response:
        hours = validate(Rotation, request.data).get("overlap_hours", 24)
        made = endpoints.rotate_secret(
            **self.place(id, webhook_id), now=timezone.now(), overlap=timedelta(hours=hours)
        )
        return Response({**describe(made.endpoint), "secret": made.secret})

    def place(self, organization: str, webhook: str) -> dict[str, Any]:
        """Return who asks, and which webhook of which organization is meant."""
        organization_id = read_organization(organization)
        return {
            "actor": self.actor,
            "organization_id": organization_id,
            "endpoint_id": read_webhook(webhook),
        }


BASE = r"^v1/organizations/(?P<id>[^/]*)/webhooks"

urlpatterns = [
    re_path(f"{BASE}$", Webhooks.as_view({"get": "index", "post": "create"})),
    re_path(
        f"{BASE}/(?P<webhook_id>[^/]*)$",
        Webhooks.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
    ),
    re_path(f"{BASE}/(?P<webhook_id>[^/]*)/rotate-secret$", Webhooks.as_view({"post": "rotate"})),
]
