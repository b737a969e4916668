"""``/v1/organizations``: found one, look at it, rename it, pass it on, leave it, put it to rest.

    POST /v1/organizations HTTP/1.1
    Authorization: Bearer sk-…
    {"name": "Acme", "slug": "acme"}

    HTTP/1.1 201 Created
    {"id": "550e8400-…", "name": "Acme", "slug": "acme", "role": "owner", "created_at": "…",
     "archived_at": null}

Whoever creates an organization owns it. An archived one can be read, unarchived and deleted, and
answers everything else with 409 ``ARCHIVED``; its keys and tokens are refused with 401 meanwhile.
"""

from typing import Any

from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from contracts import house
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.paging import PAGE, describe_page, page_of, read_page
from contracts.schema import json_object, operation
from contracts.validation import StrictCharField, UserIdField, matches, validate
from erasure import exceptions as erasure
from organizations import exceptions as organizations
from organizations.api.members import MEMBER, describe_member
from organizations.api.words import (
    BODILESS,
    ID,
    LAST_OWNER,
    LISTING,
    NAME,
    NAME_PATTERN,
    READ,
    READING,
    ROLE,
    ROLES,
    SHARED,
    USER_ID,
    WRITE,
    body_of,
    common,
    moment,
    optional_moment,
    read_organization,
    text,
)
from organizations.archiving import archive_organization, unarchive_organization
from organizations.founding import (
    OrganizationFacts,
    change_organization,
    create_own_organization,
    get_organization,
    list_organizations,
)
from organizations.members import leave_organization, transfer_ownership
from organizations.slugs import LONGEST, PATTERN, SHORTEST

ERRORS: ErrorTable = {
    **SHARED,
    organizations.SlugInUse: Refusal(409, "Another organization has this slug.", "SLUG_TAKEN"),
    organizations.SlugRefused: Refusal(
        422, "A slug is not an id, and has letters, digits and single hyphens.", "SLUG_REFUSED"
    ),
    organizations.SoleOwner: LAST_OWNER,
    organizations.MemberNotFound: Refusal(404, "Member not found.", "MEMBER_NOT_FOUND"),
    organizations.HeirRefused: Refusal(
        409, "The new owner must be another member whose account is active.", "HEIR_REFUSED"
    ),
}
NAMING = (organizations.SlugInUse, organizations.SlugRefused)
PASSING = (organizations.SoleOwner, organizations.MemberNotFound, organizations.HeirRefused)

SLUG = {**text, "minLength": SHORTEST, "maxLength": LONGEST, "pattern": PATTERN}
ORGANIZATION = json_object(
    {
        "id": {**text, "format": "uuid"},
        "name": text,
        "slug": text,
        "role": {"type": ["string", "null"], "enum": [*ROLES, None]},
        "created_at": moment,
        "archived_at": optional_moment,
    }
)
COMMON = common(ERRORS)


class Renaming(serializers.Serializer[Any]):
    name = StrictCharField(
        required=False,
        max_length=150,
        trim_whitespace=False,
        validators=[matches(NAME_PATTERN)],
    )
    slug = StrictCharField(
        required=False,
        min_length=SHORTEST,
        max_length=LONGEST,
        trim_whitespace=False,
        validators=[matches(PATTERN)],
    )


class Founding(Renaming):
    def get_fields(self) -> Any:
        fields = super().get_fields()
        for field in fields.values():
            field.required = True
        return fields


class Transfer(serializers.Serializer[Any]):
    to = UserIdField(trim_whitespace=False)
    keep_role = serializers.ChoiceField(choices=ROLES, default="admin")


def describe(facts: OrganizationFacts) -> dict[str, Any]:
    return {
        "id": str(facts.id),
        "name": facts.name,
        "slug": facts.slug,
        "role": facts.role,
        "created_at": facts.created_at,
        "archived_at": facts.archived_at,
    }


class Organizations(house.HouseApi):
    channel = "v1-organizations"
    rights = {"index": READ, "retrieve": READ, "create": WRITE, "partial_update": WRITE}
    errors = ERRORS

    @operation(
        "listOrganizations",
        summary="List organizations",
        description="The organizations that you belong to, archived ones included; for an "
        "organization's own key that one. Scope: `organizations:read`.",
        parameters=PAGE,
        success={200: (page_of(ORGANIZATION), "A page", None)},
        leave_out=(*LISTING, *NAMING, *PASSING, organizations.RoleMissing, erasure.SubjectNotFound),
        **COMMON,
    )
    def index(self, request: Request) -> Response:
        found = list_organizations(actor=self.actor, **read_page(request)._asdict())
        return Response(describe_page(found, describe))

    @operation(
        "createOrganization",
        summary="Create an organization",
        description="You become its owner. The slug has small letters, digits and single hyphens, "
        "and belongs to one living organization at a time. Scope: `organizations:write`.",
        body=body_of(json_object({"name": NAME, "slug": SLUG})),
        success={201: (ORGANIZATION, "Created", None)},
        leave_out=(*PASSING, organizations.OrganizationArchived, organizations.RoleMissing),
        **COMMON,
    )
    def create(self, request: Request) -> Response:
        wish = validate(Founding, request.data)
        made = create_own_organization(actor=self.actor, now=timezone.now(), **wish)
        return Response(describe(made), status=201)

    @operation(
        "getOrganization",
        summary="Read an organization",
        description="For its members and its own keys. Scope: `organizations:read`.",
        parameters=[ID],
        success={200: (ORGANIZATION, "The organization", None)},
        leave_out=(*READING, *NAMING, *PASSING, organizations.RoleMissing),
        **COMMON,
    )
    def retrieve(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        found = get_organization(actor=self.actor, organization_id=read_organization(id))
        return Response(describe(found))

    @operation(
        "updateOrganization",
        summary="Rename an organization",
        description="Another name, another slug, or both. For owners, admins and its own keys. "
        "Scope: `organizations:write`.",
        parameters=[ID],
        body=body_of(json_object({"name": NAME, "slug": SLUG}, "name", "slug")),
        body_required=False,
        success={200: (ORGANIZATION, "The organization", None)},
        leave_out=(*PASSING, erasure.RightMissing),
        **COMMON,
    )
    def partial_update(self, request: Request, id: str) -> Response:  # noqa: A002
        wish = validate(Renaming, request.data)
        changed = change_organization(
            actor=self.actor, organization_id=read_organization(id), now=timezone.now(), **wish
        )
        return Response(describe(changed))


class Steps(house.HouseApi):
    channel = "v1-organizations"
    rights = dict.fromkeys(("archive", "unarchive", "leave", "transfer"), WRITE)
    errors = ERRORS

    @operation(
        "archiveOrganization",
        summary="Archive an organization",
        description="Makes it read-only. Everything is kept, its subscription and invoices too; "
        "its keys and tokens are refused until it is unarchived. Owners only. Scope: "
        "`organizations:write`.",
        parameters=[ID],
        success={200: (ORGANIZATION, "Archived", None)},
        leave_out=(
            *BODILESS,
            *NAMING,
            *PASSING,
            erasure.RightMissing,
            organizations.OrganizationArchived,
        ),
        **COMMON,
    )
    def archive(self, request: Request, id: str) -> Response:  # noqa: A002
        return Response(describe(archive_organization(**self.asked(id))))

    @operation(
        "unarchiveOrganization",
        summary="Unarchive an organization",
        description="Opens it again, with its keys and tokens. Owners only. Scope: "
        "`organizations:write`.",
        parameters=[ID],
        success={200: (ORGANIZATION, "Open again", None)},
        leave_out=(
            *BODILESS,
            *NAMING,
            *PASSING,
            erasure.RightMissing,
            organizations.OrganizationArchived,
        ),
        **COMMON,
    )
    def unarchive(self, request: Request, id: str) -> Response:  # noqa: A002
        return Response(describe(unarchive_organization(**self.asked(id))))

    @operation(
        "leaveOrganization",
        summary="Leave an organization",
        description="Ends your membership. The last owner transfers or deletes it first. Scope: "
        "`organizations:write`.",
        parameters=[ID],
        success={204: (None, "Left", None)},
        leave_out=(*BODILESS, *NAMING, organizations.HeirRefused, organizations.RoleMissing),
        **COMMON,
    )
    def leave(self, request: Request, id: str) -> Response:  # noqa: A002
        leave_organization(**self.asked(id))
        return Response(status=204)

    @operation(
        "transferOrganization",
        summary="Pass an organization on",
        description="Makes another member an owner, and you what `keep_role` says, both or "
        "neither. Owners only. Scope: `organizations:write`.",
        parameters=[ID],
        body=body_of(
            json_object({"to": USER_ID, "keep_role": {**ROLE, "default": "admin"}}, "keep_role")
        ),
        success={200: (MEMBER, "The new owner", None)},
        leave_out=NAMING,
        **COMMON,
    )
    def transfer(self, request: Request, id: str) -> Response:  # noqa: A002
        wish = validate(Transfer, request.data)
        return Response(describe_member(transfer_ownership(**self.asked(id), **wish)))

    def asked(self, id: str) -> dict[str, Any]:  # noqa: A002
        organization_id = read_organization(id)
        return {
            "actor": self.actor,
            "organization_id": organization_id,
            "now": timezone.now(),
        }


urlpatterns = [
    re_path(r"^v1/organizations$", Organizations.as_view({"get": "index", "post": "create"})),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)$",
        Organizations.as_view({"get": "retrieve", "patch": "partial_update"}),
    ),
    *(
        re_path(rf"^v1/organizations/(?P<id>[^/]*)/{name}$", Steps.as_view({"post": name}))
        for name in ("archive", "unarchive", "leave", "transfer")
    ),
]
