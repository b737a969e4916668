"""``/v1/organizations/{id}/subscription``: what an organization pays by, for its members.

    GET /v1/organizations/550e8400-e29b-41d4-a716-446655440000/subscription HTTP/1.1
    Authorization: Bearer sk-…

    HTTP/1.1 200 OK
    {"id": "sub_…", "status": "active", "told_at": "…", "ordered": null}

``ordered`` is what Stripe has been asked to do and has not confirmed. Nobody attaches a
subscription here: whoever could name any would have a stranger's cancelled by deleting their own
organization.
"""

from typing import Any

from django.urls import re_path
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import scopes
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from erasure.exceptions import SubjectNotFound
from organizations.billing.exceptions import SubscriptionMissing
from organizations.billing.subscriptions import read_subscription

ERRORS: ErrorTable = {
    **house.PROTOCOL_ERRORS,
    SubjectNotFound: Refusal(404, "Organization not found.", "ORGANIZATION_NOT_FOUND"),
    SubscriptionMissing: Refusal(
        404, "This organization has no subscription.", "SUBSCRIPTION_NOT_FOUND"
    ),
}
text = {"type": "string"}
SUBSCRIPTION = json_object(
    {
        "id": text,
        "status": text,
        "told_at": {"type": "string", "format": "date-time"},
        "ordered": {"enum": ["cancel", "pause", "resume", None], "type": ["string", "null"]},
    }
)


class OrganizationSubscription(house.HouseApi):
    channel = "v1-billing"
    rights = {"retrieve": scopes.BILLING_READ}
    errors = ERRORS

    @operation(
        "getSubscription",
        tag="Billing",
        summary="Read an organization's subscription",
        description="What Stripe last said of it, and what Stripe is still to do. Members only. "
        "Scope: `billing:read`.",
        parameters=[path_parameter("id", "The organization's UUID.", format="uuid")],
        success={200: (SUBSCRIPTION, "The subscription", None)},
        errors=ERRORS,
        error_schema=house.ERROR_SCHEMA,
        envelope=house.envelope,
        idempotent=False,
        leave_out=house.NO_BODY,
    )
    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        if (organization_id := ids.decode_uuid(id)) is None:
            raise SubjectNotFound("organization")
        found = read_subscription(actor=self.actor, organization_id=organization_id)
        facts: dict[str, Any] = {"id": found.id, "status": found.status, "told_at": found.told_at}
        return Response({**facts, "ordered": found.ordered or None})


urlpatterns = [
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/subscription$",
        OrganizationSubscription.as_view({"get": "retrieve"}),
    ),
]
