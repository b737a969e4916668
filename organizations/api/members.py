"""``/v1/organizations/{id}/members``: who belongs to it, as what, and no longer.

    PATCH /v1/organizations/550e8400-…/members/usr_… HTTP/1.1
    Authorization: Bearer sk-…
    {"role": "admin"}

    HTTP/1.1 200 OK
    {"user_id": "usr_…", "username": "bob", "name": "Bob Baker", "role": "admin", "active": true,
     "joined_at": "…"}

Admins run the organization, but only owners make, change and remove owners. Whatever would leave it
without an owner whose account is active is refused with 409 ``SOLE_OWNER``.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.paging import PAGE, describe_page, page_of, read_page
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import validate
from erasure import exceptions as erasure
from organizations import exceptions as organizations
from organizations.api.words import (
    BODILESS,
    ID,
    LAST_OWNER,
    LISTING,
    READ,
    ROLE,
    ROLES,
    SHARED,
    USER_ID,
    WRITE,
    body_of,
    common,
    moment,
    read_organization,
    text,
)
from organizations.members import MemberFacts, change_role, list_members, remove_member

ERRORS: ErrorTable = {
    **SHARED,
    organizations.MemberNotFound: Refusal(404, "Member not found.", "MEMBER_NOT_FOUND"),
    organizations.SoleOwner: LAST_OWNER,
    organizations.HeirRefused: Refusal(
        409, "An owner must be a member whose account is active.", "HEIR_REFUSED"
    ),
}
STAFFING = (organizations.MemberNotFound, organizations.SoleOwner, organizations.HeirRefused)

MEMBER = json_object(
    {
        "user_id": USER_ID,
        "username": text,
        "name": text,
        "role": ROLE,
        "active": {"type": "boolean"},
        "joined_at": moment,
    }
)
PERSON = path_parameter("user_id", "The member's id.", pattern=ids.USER_PATTERN)
COMMON = common(ERRORS)


class Promotion(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=ROLES)


def describe_member(facts: MemberFacts) -> dict[str, Any]:
    return {
        "user_id": ids.encode(ids.USER, facts.user_id),
        "username": facts.username,
        "name": facts.name,
        "role": facts.role,
        "active": facts.is_active,
        "joined_at": facts.joined_at,
    }


def read_member(text: str) -> UUID:
    if (found := ids.decode(ids.USER, text)) is None:
        raise organizations.MemberNotFound
    return found


class Members(house.HouseApi):
    channel = "v1-organizations"
    rights = {"index": READ, "partial_update": WRITE, "destroy": WRITE}
    errors = ERRORS

    @operation(
        "listMembers",
        summary="List members",
        description="The living members of an organization, for each of them and for its own "
        "keys. Scope: `organizations:read`.",
        parameters=[ID, *PAGE],
        success={200: (page_of(MEMBER), "A page", None)},
        leave_out=(*LISTING, *STAFFING, organizations.RoleMissing),
        **COMMON,
    )
    def index(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        page = read_page(request)._asdict()
        found = list_members(actor=self.actor, organization_id=read_organization(id), **page)
        return Response(describe_page(found, describe_member))

    @operation(
        "changeMemberRole",
        summary="Change a member's role",
        description="Owners change any role, admins those of admins and members. Scope: "
        "`organizations:write`.",
        parameters=[ID, PERSON],
        body=body_of(json_object({"role": ROLE})),
        success={200: (MEMBER, "The member", None)},
        leave_out=(erasure.RightMissing,),
        **COMMON,
    )
    def partial_update(self, request: Request, id: str, user_id: str) -> Response:  # noqa: A002
        wish = validate(Promotion, request.data)
        changed = change_role(**self.asked(id, user_id), **wish)
        return Response(describe_member(changed))

    @operation(
        "removeMember",
        summary="Remove a member",
        description="Owners remove anybody, admins remove admins and members, and everybody may "
        "remove themselves. The person's account stays. Scope: `organizations:write`.",
        parameters=[ID, PERSON],
        success={204: (None, "Removed", None)},
        leave_out=(*BODILESS, erasure.RightMissing, organizations.HeirRefused),
        **COMMON,
    )
    def destroy(self, request: Request, id: str, user_id: str) -> Response:  # noqa: A002
        remove_member(**self.asked(id, user_id))
        return Response(status=204)

    def asked(self, id: str, user_id: str) -> dict[str, Any]:  # noqa: A002
        return {
            "actor": self.actor,
            "organization_id": read_organization(id),
            "user_id": read_member(user_id),
            "now": timezone.now(),
        }


urlpatterns = [
    re_path(r"^v1/organizations/(?P<id>[^/]*)/members$", Members.as_view({"get": "index"})),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/members/(?P<user_id>[^/]*)$",
        Members.as_view({"patch": "partial_update", "delete": "destroy"}),
    ),
]
