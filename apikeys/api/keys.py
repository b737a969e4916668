"""``/v1/api-keys``: a user's own keys, and those of the organizations that they run.

    POST /v1/api-keys HTTP/1.1
    Authorization: Bearer sk-…
    {"name": "deploy", "scopes": ["account:read"], "expires_in_days": 90}

    HTTP/1.1 201 Created
    {"id": "key_…", "name": "deploy", …, "secret": "sk-…"}

The secret is shown in this answer and never again.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apikeys import exceptions, scopes
from apikeys.services import KeyFacts, create_own_key, list_keys, rename_key, revoke_key
from contracts import house, ids
from contracts.authentication import key_of
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import StrictCharField, StrictIntegerField, matches, validate
from erasure.exceptions import ActorGone
from organizations.services import administered_by, create_organization_key

ERRORS: ErrorTable = {
    **house.PROTOCOL_ERRORS,
    ActorGone: house.NOT_AUTHENTICATED,
    exceptions.ScopesNotGrantable: Refusal(
        403, "You cannot grant scopes that you do not hold.", "SCOPES_NOT_GRANTABLE"
    ),
    exceptions.OrganizationNotRun: Refusal(404, "Organization not found.", "NOT_FOUND"),
    exceptions.ApiKeyNotFound: Refusal(404, "API key not found.", "API_KEY_NOT_FOUND"),
    exceptions.OwnerArchived: Refusal(
        409, "The organization is archived. Unarchive it first.", "ARCHIVED"
    ),
    exceptions.ExpiryInThePast: Refusal(422, "expires_at lies in the past.", "VALIDATION_ERROR"),
}

text: dict[str, Any] = {"type": "string"}
moment = {"type": ["string", "null"], "format": "date-time"}
scope_list = {"type": "array", "items": {"enum": sorted(scopes.DESCRIPTIONS), "type": "string"}}
NAME_PATTERN = r"^[^\x00-\x1f\x7f]+$"
name = {**text, "minLength": 1, "maxLength": 100, "pattern": NAME_PATTERN}
lifetime = {"type": ["integer", "null"], "minimum": 1, "maximum": 3650}
KEY_PATTERN = f"^{ids.KEY}_{ids.SUFFIX_PATTERN}$"
KEY_FIELDS = {
    "id": {**text, "pattern": KEY_PATTERN},
    "name": text,
    "hint": text,
    "scopes": scope_list,
    "organization_id": {"type": ["string", "null"], "format": "uuid"},
    "created_at": {**text, "format": "date-time"},
    "expires_at": moment,
    "revoked_at": moment,
    "last_used_at": moment,
}
KEY = json_object(KEY_FIELDS)
COMMON: dict[str, Any] = {
    "tag": "API keys",
    "errors": ERRORS,
    "error_schema": house.ERROR_SCHEMA,
    "envelope": house.envelope,
    "idempotent": False,
}
KEY_ID = [path_parameter("key_id", "The key's id.", pattern=KEY_PATTERN)]


class Renaming(serializers.Serializer[Any]):
    name = StrictCharField(
        max_length=100, trim_whitespace=False, validators=[matches(NAME_PATTERN)]
    )


class Creation(Renaming):
    scopes = serializers.ListField(child=StrictCharField(), required=False)
    expires_in_days = StrictIntegerField(
        required=False, allow_null=True, min_value=1, max_value=3650
    )
    organization_id = StrictCharField(required=False, allow_null=True)


def describe(key: KeyFacts) -> dict[str, Any]:
    return {
        "id": ids.encode(ids.KEY, key.id),
        "name": key.name,
        "hint": key.hint,
        "scopes": key.scopes,
        "organization_id": str(key.organization_id) if key.organization_id else None,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def read_id(key_id: str) -> UUID:
    if (found := ids.decode(ids.KEY, key_id)) is None:
        raise exceptions.ApiKeyNotFound
    return found


class ApiKeys(house.HouseApi):
    channel = "api-keys"
    rights = dict.fromkeys(("index", "create", "partial_update", "destroy"), scopes.KEYS_MANAGE)
    errors = ERRORS

    @operation(
        "listApiKeys",
        summary="List API keys",
        description="Your own keys and those of organizations that you run, newest first.",
        success={200: (json_object({"data": {"type": "array", "items": KEY}}), "The keys", None)},
        leave_out=house.NO_BODY,
        **COMMON,
    )
    def index(self, request: Request) -> Response:
        found = list_keys(actor=self.actor, administered=self.administered)
        return Response({"data": [describe(key) for key in found]})

    @operation(
        "createApiKey",
        summary="Create an API key",
        description="Creates a key of your own, or one of an organization that you run. The "
        "secret is shown in this answer and never again.",
        body={
            **json_object(
                {
                    "name": name,
                    "scopes": scope_list,
                    "expires_in_days": lifetime,
                    "organization_id": {"type": ["string", "null"], "format": "uuid"},
                },
                "scopes",
                "expires_in_days",
                "organization_id",
            ),
            "additionalProperties": False,
        },
        success={201: (json_object({**KEY_FIELDS, "secret": text}), "Created", None)},
        **COMMON,
    )
    def create(self, request: Request) -> Response:
        wish = validate(Creation, request.data)
        issued = self.issue(wish, organization=wish.get("organization_id"))
        return Response({**describe(issued.key), "secret": issued.secret}, status=201)

    @operation(
        "renameApiKey",
        summary="Rename an API key",
        description="Gives a living key another name.",
        parameters=KEY_ID,
        body={**json_object({"name": name}), "additionalProperties": False},
        success={200: (KEY, "The key", None)},
        **COMMON,
    )
    def partial_update(self, request: Request, key_id: str) -> Response:
        wish = validate(Renaming, request.data)
        key = rename_key(
            actor=self.actor,
            key_id=read_id(key_id),
            name=wish["name"],
            administered=self.administered,
            now=timezone.now(),
        )
        return Response(describe(key))

    @operation(
        "revokeApiKey",
        summary="Revoke an API key",
        description="Ends a key at once. A key may revoke itself.",
        parameters=KEY_ID,
        success={204: (None, "Revoked", None)},
        leave_out=house.NO_BODY,
        **COMMON,
    )
    def destroy(self, request: Request, key_id: str) -> Response:
        revoke_key(
            actor=self.actor,
            key_id=read_id(key_id),
            administered=self.administered,
            now=timezone.now(),
        )
        return Response(status=204)

    @property
    def held(self) -> frozenset[str]:
        """The scopes of the calling key."""
        return key_of(self.request).scopes

    @property
    def administered(self) -> Sequence[UUID]:
        """Organizations whose keys the caller may manage: none without the scope for it."""
        allowed = scopes.ORGANIZATIONS_KEYS in self.held
        return administered_by(self.actor) if allowed else []

    def issue(self, wish: dict[str, Any], organization: str | None) -> Any:
        common = {"actor": self.actor, "name": wish["name"], "now": timezone.now()}
        days = wish.get("expires_in_days")
        common["expires_at"] = timezone.now() + timedelta(days=days) if days else None
        held = self.held
        if organization is None:
            return create_own_key(wanted=wish.get("scopes"), held=held, **common)
        if scopes.ORGANIZATIONS_KEYS not in held:
            raise exceptions.ScopesNotGrantable([scopes.ORGANIZATIONS_KEYS])
        if (found := ids.decode_uuid(organization)) is None:
            raise exceptions.OrganizationNotRun
        wanted = frozenset(wish.get("scopes", scopes.PLATFORM))
        return create_organization_key(organization_id=found, wanted=wanted, **common)


urlpatterns = [
    re_path(r"^v1/api-keys$", ApiKeys.as_view({"get": "index", "post": "create"})),
    re_path(
        r"^v1/api-keys/(?P<key_id>[^/]*)$",
        ApiKeys.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
    re_path(r"^v1(/.*)?$", house.HouseApi.unknown_path()),
]
