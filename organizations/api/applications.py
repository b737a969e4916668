"""``/v1/organizations/{id}/applications``: the OAuth applications of an organization.

    POST /v1/organizations/550e8400-e29b-41d4-a716-446655440000/applications HTTP/1.1
    Authorization: Bearer sk-…
    {"name": "Nightly report", "flow": "client_credentials", "scopes": ["users:delete"]}

    HTTP/1.1 201 Created
    {"id": "app_…", "client_id": "app_…", "client_secret": "ocs-…", "name": "Nightly report", …}

The secret is shown in this answer and never again. Owners and admins only, by an API key: an
application cannot make applications.
"""

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
from contracts.errors import Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import StrictCharField, validate
from organizations.api import words
from organizations.api.words import ID, read_organization
from organizations.oauth import exceptions
from organizations.oauth.applications import (
    ApplicationFacts,
    NewApplication,
    create_application,
    delete_application,
    get_application,
    list_applications,
    rotate_secret,
)

ERRORS: ErrorTable = {
    **words.SHARED,
    exceptions.ScopesNotDelegable: Refusal(
        403, "An application of this kind cannot hold these scopes.", "SCOPES_NOT_GRANTABLE"
    ),
    exceptions.ApplicationNotFound: Refusal(404, "Application not found.", "APPLICATION_NOT_FOUND"),
    exceptions.SecretNotKept: Refusal(
        409, "A public application has no secret, and acts for people only.", "NO_SECRET"
    ),
    exceptions.RedirectRefused: Refusal(
        422,
        "redirect_uris must be https, or http on the loopback interface, spelled out in full; "
        "an application that acts for people needs one, and no other may have any.",
        "REDIRECT_URI_REFUSED",
    ),
}

text = words.text
FLOW = {"enum": ["authorization_code", "client_credentials"], "type": "string"}
CLIENT_TYPE = {"enum": ["confidential", "public"], "type": "string"}
ID_PATTERN = f"^{ids.APPLICATION}_{ids.SUFFIX_PATTERN}$"
SCOPES = {
    "type": "array",
    "items": {"enum": sorted(scopes.DELEGABLE | scopes.ORGANIZATION), "type": "string"},
}
URIS = {"type": "array", "items": {**text, "maxLength": 2000}, "maxItems": 10}
FIELDS = {
    "id": {**text, "pattern": ID_PATTERN},
    "organization_id": {**text, "format": "uuid"},
    "client_id": {**text, "pattern": ID_PATTERN},
    "name": text,
    "flow": FLOW,
    "client_type": CLIENT_TYPE,
    "redirect_uris": URIS,
    "scopes": SCOPES,
    "created_at": {**text, "format": "date-time"},
}
APPLICATION = json_object(FIELDS)
WITH_SECRET = json_object({**FIELDS, "client_secret": {"type": ["string", "null"]}})
WISH = json_object(
    {
        "name": {**text, "minLength": 1, "maxLength": 100, "pattern": words.NAME_PATTERN},
        "flow": FLOW,
        "client_type": CLIENT_TYPE,
        "redirect_uris": URIS,
        "scopes": SCOPES,
    },
    "client_type",
    "redirect_uris",
    "scopes",
)
APPLICATION_ID = path_parameter("application_id", "The application's id.", pattern=ID_PATTERN)
COMMON = words.common(ERRORS, "OAuth applications")
WISHED = (exceptions.ScopesNotDelegable, exceptions.RedirectRefused)
READING = (*words.READING, *WISHED, exceptions.SecretNotKept)


class Creation(serializers.Serializer[Any]):
    name = StrictCharField(
        max_length=100, trim_whitespace=False, validators=[RegexValidator(words.NAME_PATTERN)]
    )
    flow = serializers.ChoiceField(FLOW["enum"])
    client_type = serializers.ChoiceField(CLIENT_TYPE["enum"], default="confidential")
    redirect_uris = serializers.ListField(
        child=StrictCharField(max_length=2000, trim_whitespace=False), max_length=10, default=list
    )
    scopes = serializers.ListField(child=StrictCharField(), required=False)


def describe(application: ApplicationFacts) -> dict[str, Any]:
    return {
        "id": application.client_id,
        "organization_id": str(application.organization_id),
        "client_id": application.client_id,
        "name": application.name,
        "flow": application.flow,
        "client_type": "public" if application.is_public else "confidential",
        "redirect_uris": application.redirect_uris,
        "scopes": application.scopes,
        "created_at": application.created_at,
    }


def describe_new(made: NewApplication) -> dict[str, Any]:
    return {**describe(made.application), "client_secret": made.secret or None}


def read_application(text: str) -> UUID:
    if (found := ids.decode(ids.APPLICATION, text)) is None:
        raise exceptions.ApplicationNotFound
    return found


class Applications(house.HouseApi):
    channel = "applications"
    takes_tokens = False
    rights = dict.fromkeys(
        ("index", "create", "retrieve", "destroy", "rotate"), scopes.APPLICATIONS_WRITE
    )
    errors = ERRORS

    @operation(
        "listApplications",
        summary="List OAuth applications",
        description="The applications of an organization that you own or administer, newest "
        "first. Scope: `applications:write`.",
        parameters=[ID],
        success={
            200: (
                json_object({"data": {"type": "array", "items": APPLICATION}}),
                "The applications",
                None,
            )
        },
        leave_out=(*READING, exceptions.ApplicationNotFound),
        **COMMON,
    )
    def index(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        found = list_applications(actor=self.actor, organization_id=read_organization(id))
        return Response({"data": [describe(one) for one in found]})

    @operation(
        "createApplication",
        summary="Create an OAuth application",
        description="One that acts for people who let it (`authorization_code`, with PKCE), or "
        "one that acts for the organization itself (`client_credentials`). The secret is shown in "
        "this answer and never again. Without `scopes` it may hold `account:read`, or "
        "`users:delete`. Scope: "
        "`applications:write`.",
        parameters=[ID],
        body={**WISH, "additionalProperties": False},
        success={201: (WITH_SECRET, "Created", None)},
        leave_out=(exceptions.ApplicationNotFound,),
        **COMMON,
    )
    def create(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        wish = validate(Creation, request.data)
        made = create_application(
            actor=self.actor,
            organization_id=read_organization(id),
            now=timezone.now(),
            **read_wish(wish),
        )
        return Response(describe_new(made), status=201)

    @operation(
        "getApplication",
        summary="Get an OAuth application",
        description="Everything but its secret. Scope: `applications:write`.",
        parameters=[ID, APPLICATION_ID],
        success={200: (APPLICATION, "The application", None)},
        leave_out=READING,
        **COMMON,
    )
    def retrieve(self, request: Request, **given: str) -> Response:
        return Response(describe(get_application(actor=self.actor, **read_ids(given))))

    @operation(
        "deleteApplication",
        summary="Delete an OAuth application",
        description="Its codes and tokens end at once. Scope: `applications:write`.",
        parameters=[ID, APPLICATION_ID],
        success={204: (None, "Deleted", None)},
        leave_out=READING,
        **COMMON,
    )
    def destroy(self, request: Request, **given: str) -> Response:
        delete_application(actor=self.actor, now=timezone.now(), **read_ids(given))
        return Response(status=204)

    @operation(
        "rotateApplicationSecret",
        summary="Give an OAuth application another secret",
        description="The former secret ends at once, tokens that were issued do not. The new one "
        "is shown in this answer and never again. Scope: `applications:write`.",
        parameters=[ID, APPLICATION_ID],
        success={200: (WITH_SECRET, "The new secret", None)},
        leave_out=(*words.BODILESS, *WISHED),
        **COMMON,
    )
    def rotate(self, request: Request, **given: str) -> Response:
        made = rotate_secret(actor=self.actor, now=timezone.now(), **read_ids(given))
        return Response(describe_new(made))


def read_wish(wish: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": wish["name"],
        "flow": wish["flow"],
        "is_public": wish["client_type"] == "public",
        "redirect_uris": wish["redirect_uris"],
        "wanted": wish.get("scopes"),
    }


def read_ids(given: dict[str, str]) -> dict[str, UUID]:
    return {
        "organization_id": read_organization(given["id"]),
        "application_id": read_application(given["application_id"]),
    }


BASE = r"^v1/organizations/(?P<id>[^/]*)/applications"
ONE = rf"{BASE}/(?P<application_id>[^/]*)"
urlpatterns = [
    re_path(rf"{BASE}$", Applications.as_view({"get": "index", "post": "create"})),
    re_path(rf"{ONE}$", Applications.as_view({"get": "retrieve", "delete": "destroy"})),
    re_path(rf"{ONE}/secret$", Applications.as_view({"post": "rotate"})),
]
