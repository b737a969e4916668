"""``/v1/organizations/{id}/managed-users``: accounts that an organization provisions and removes.

    POST /v1/organizations/550e8400-…/managed-users HTTP/1.1
    Authorization: Bearer sk-…
    {"username": "erin", "external_id": "customer-42", "email": "erin@example.com"}

    HTTP/1.1 201 Created
    {"user_id": "usr_…", "external_id": "customer-42", "username": "erin", …}

They have no password, so nobody signs in as them, and they go when their organization goes.
Removing one deletes the account with a grace period, in which the organization, or the user by the
link in the mail, can take it back. ``DELETE /users/{userId}`` is the other way: at once, for ever.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.joining import UserExists, provision_user
from contracts import house, ids
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.paging import PAGE, describe_page, page_of, read_page
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.validation import StrictCharField, matches, validate
from erasure import exceptions as erasure
from erasure.api import deletions
from erasure.api.previews import REFUSALS, SCHEDULED, describe_scheduled
from organizations import exceptions as organizations
from organizations.api.words import (
    BODILESS,
    EMAIL,
    EMAIL_PATTERN,
    ID,
    LISTING,
    NAME,
    NAME_PATTERN,
    READ,
    READING,
    SHARED,
    USER_ID,
    USERNAME,
    USERNAME_PATTERN,
    WRITE,
    body_of,
    common,
    moment,
    read_organization,
    text,
)
from organizations.managing import (
    ManagedFacts,
    get_managed_user,
    list_managed_users,
    remove_managed_user,
    restore_managed_user,
)

COMING_BACK = (
    erasure.NotRestorable,
    erasure.GraceExpired,
    erasure.TakenAlong,
    erasure.RestoreError,
)
ERRORS: ErrorTable = {
    **SHARED,
    organizations.ManagedUserNotFound: Refusal(404, "User not found.", "USER_NOT_FOUND"),
    UserExists: Refusal(409, "Somebody has this username, address or external id.", "USER_EXISTS"),
    organizations.SoleOwner: Refusal(
        409, "The user is the only owner of an organization.", "SOLE_OWNER"
    ),
    erasure.DeletionInProgress: REFUSALS[erasure.DeletionInProgress],
    **{kind: deletions.ERRORS[kind] for kind in COMING_BACK},
}
REMOVING = (organizations.SoleOwner, erasure.DeletionInProgress)

MANAGED = json_object(
    {
        "user_id": USER_ID,
        "external_id": text,
        "username": text,
        "name": text,
        "email": text,
        "active": {"type": "boolean"},
        "created_at": moment,
    }
)
PERSON = path_parameter("user_id", "The managed user's id.", pattern=ids.USER_PATTERN)
COMMON = common(ERRORS)


class Provisioning(serializers.Serializer[Any]):
    username = StrictCharField(
        max_length=150, trim_whitespace=False, validators=[matches(USERNAME_PATTERN)]
    )
    external_id = StrictCharField(
        max_length=150, trim_whitespace=False, validators=[matches(NAME_PATTERN)]
    )
    email = StrictCharField(
        required=False,
        max_length=254,
        trim_whitespace=False,
        validators=[matches(EMAIL_PATTERN)],
    )
    name = StrictCharField(
        required=False,
        max_length=150,
        trim_whitespace=False,
        validators=[matches(NAME_PATTERN)],
    )


def describe(facts: ManagedFacts) -> dict[str, Any]:
    return {
        "user_id": ids.encode(ids.USER, facts.user_id),
        "external_id": facts.external_id,
        "username": facts.username,
        "name": facts.name,
        "email": facts.email,
        "active": facts.is_active,
        "created_at": facts.created_at,
    }


def read_user(text: str) -> UUID:
    if (found := ids.decode(ids.USER, text)) is None:
        raise organizations.ManagedUserNotFound
    return found


class ManagedUsers(house.HouseApi):
    channel = "v1-organizations"
    rights = {"index": READ, "retrieve": READ, **dict.fromkeys(("create", "destroy"), WRITE)}
    errors = ERRORS

    @operation(
        "listManagedUsers",
        summary="List managed users",
        description="The living ones, for owners, admins and the organization's own keys. Scope: "
        "`organizations:read`.",
        parameters=[ID, *PAGE],
        success={200: (page_of(MANAGED), "A page", None)},
        leave_out=(
            *LISTING,
            *REMOVING,
            *COMING_BACK,
            UserExists,
            organizations.ManagedUserNotFound,
        ),
        **COMMON,
    )
    def index(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        page = read_page(request)._asdict()
        found = list_managed_users(actor=self.actor, organization_id=read_organization(id), **page)
        return Response(describe_page(found, describe))

    @operation(
        "provisionManagedUser",
        summary="Provision a managed user",
        description="Creates an account without a password. Scope: `organizations:write`.",
        parameters=[ID],
        body=body_of(
            json_object(
                {"username": USERNAME, "external_id": NAME, "email": EMAIL, "name": NAME},
                "email",
                "name",
            )
        ),
        success={201: (MANAGED, "Provisioned", None)},
        leave_out=(*REMOVING, *COMING_BACK, erasure.RightMissing),
        **COMMON,
    )
    def create(self, request: Request, id: str) -> Response:  # noqa: A002
        wish = validate(Provisioning, request.data)
        where: dict[str, Any] = {"actor": self.actor, "organization_id": read_organization(id)}
        pk = provision_user(**where, now=timezone.now(), **wish)
        return Response(describe(get_managed_user(**where, user_id=pk)), status=201)

    @operation(
        "getManagedUser",
        summary="Read a managed user",
        description="Scope: `organizations:read`.",
        parameters=[ID, PERSON],
        success={200: (MANAGED, "The user", None)},
        leave_out=(*READING, *REMOVING, *COMING_BACK, UserExists),
        **COMMON,
    )
    def retrieve(self, request: Request, id: str, user_id: str) -> Response:  # noqa: A002
        found = get_managed_user(
            actor=self.actor, organization_id=read_organization(id), user_id=read_user(user_id)
        )
        return Response(describe(found))

    @operation(
        "removeManagedUser",
        summary="Remove a managed user",
        description="Soft-deletes the account, whose keys and sign-ins end at once, and schedules "
        "its erasure for the end of the grace period. Scope: `organizations:write`.",
        parameters=[ID, PERSON],
        success={202: (SCHEDULED, "Scheduled", None)},
        leave_out=(*BODILESS, *COMING_BACK, UserExists, erasure.RightMissing),
        **COMMON,
    )
    def destroy(self, request: Request, id: str, user_id: str) -> Response:  # noqa: A002
        done = remove_managed_user(
            actor=self.actor,
            organization_id=read_organization(id),
            user_id=read_user(user_id),
            now=timezone.now(),
        )
        return Response(describe_scheduled(request, done), status=202)


class Returns(house.HouseApi):
    channel = "v1-organizations"
    rights = {"create": WRITE}
    errors = ERRORS

    @operation(
        "restoreManagedUser",
        summary="Take the removal of a managed user back",
        description="Within the grace period, and only what the organization itself has asked "
        "for. Scope: `organizations:write`.",
        parameters=[ID, PERSON],
        success={200: (deletions.PROGRESS, "Restored", None)},
        leave_out=(*BODILESS, organizations.SoleOwner, UserExists, erasure.RightMissing),
        **COMMON,
    )
    def create(self, request: Request, id: str, user_id: str) -> Response:  # noqa: A002
        done = restore_managed_user(
            actor=self.actor,
            organization_id=read_organization(id),
            user_id=read_user(user_id),
            now=timezone.now(),
        )
        return Response(deletions.describe(done))


urlpatterns = [
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/managed-users$",
        ManagedUsers.as_view({"get": "index", "post": "create"}),
    ),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/managed-users/(?P<user_id>[^/]*)$",
        ManagedUsers.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/managed-users/(?P<user_id>[^/]*)/restore$",
        Returns.as_view({"post": "create"}),
    ),
]
