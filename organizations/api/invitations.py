"""``/v1/organizations/{id}/invitations`` and ``/v1/invitations``: how people come to belong.

    POST /v1/organizations/550e8400-…/invitations HTTP/1.1
    Authorization: Bearer sk-…
    {"email": "new@example.com", "role": "member"}

    HTTP/1.1 201 Created
    {"id": "inv_…", "email": "new@example.com", "role": "member", "invited_by": "usr_…",
     "created_at": "…", "expires_at": "…", "sent_at": null}

The token stands in the mail and nowhere else, works once and expires. Who has an account accepts
with a key of it, if it is the account of the invited address; who has none signs up with the token.
"""

from typing import Any
from uuid import UUID

from django.urls import re_path
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.joining import PasswordRefused, SignedUp, UserExists, sign_up_by_invitation
from contracts import house, ids
from contracts.authentication import request_id_of
from contracts.base import ErrorTable
from contracts.errors import Refusal
from contracts.paging import PAGE, describe_page, page_of, read_page
from contracts.schema import json_object, operation
from contracts.schema import path as path_parameter
from contracts.throttling import GuessThrottle
from contracts.validation import StrictCharField, matches, validate
from erasure import exceptions as erasure
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
    ROLE,
    ROLES,
    SHARED,
    USER_ID,
    USERNAME,
    USERNAME_PATTERN,
    WRITE,
    body_of,
    common,
    moment,
    optional_moment,
    read_organization,
    text,
)
from organizations.invitations import (
    InvitationFacts,
    Joined,
    accept_invitation,
    invite,
    list_invitations,
    revoke_invitation,
)

ERRORS: ErrorTable = {
    **SHARED,
    organizations.NotInvitee: Refusal(
        403, "The invitation was sent to another address than yours.", "NOT_THE_INVITEE"
    ),
    organizations.InvitationNotFound: Refusal(
        404, "The invitation was used or revoked, or has expired.", "INVITATION_NOT_FOUND"
    ),
    organizations.AlreadyMember: Refusal(409, "They belong to it already.", "ALREADY_MEMBER"),
    UserExists: Refusal(
        409, "Somebody has this username, or an account of the invited address.", "USER_EXISTS"
    ),
    PasswordRefused: Refusal(422, "The password is too easy to guess.", "PASSWORD_REFUSED"),
}
ACCEPTING = (organizations.NotInvitee,)
SIGNING_UP = (UserExists, PasswordRefused)
PUBLIC = (
    drf.NotAuthenticated,
    drf.PermissionDenied,
    erasure.ActorGone,
    erasure.RightMissing,
    erasure.SubjectNotFound,
    organizations.RoleMissing,
    organizations.NotInvitee,
)

INVITATION_PATTERN = f"^{ids.INVITATION}_{ids.SUFFIX_PATTERN}$"
INVITATION = json_object(
    {
        "id": {**text, "pattern": INVITATION_PATTERN},
        "email": text,
        "role": ROLE,
        "invited_by": {"type": ["string", "null"], "pattern": ids.USER_PATTERN},
        "created_at": moment,
        "expires_at": moment,
        "sent_at": optional_moment,
    }
)
JOINED_FIELDS = {
    "organization_id": {**text, "format": "uuid"},
    "user_id": USER_ID,
    "role": ROLE,
}
TOKEN = {**text, "minLength": 1, "maxLength": 100, "pattern": NAME_PATTERN}
PASSWORD = {**text, "minLength": 8, "maxLength": 200, "pattern": NAME_PATTERN}
WHICH = path_parameter("invitation_id", "The invitation's id.", pattern=INVITATION_PATTERN)
COMMON = common(ERRORS)


class Inviting(serializers.Serializer[Any]):
    email = StrictCharField(
        max_length=254, trim_whitespace=False, validators=[matches(EMAIL_PATTERN)]
    )
    role = serializers.ChoiceField(choices=ROLES, default="member")


class Accepting(serializers.Serializer[Any]):
    token = StrictCharField(
        max_length=100, trim_whitespace=False, validators=[matches(NAME_PATTERN)]
    )


class SigningUp(Accepting):
    username = StrictCharField(
        max_length=150, trim_whitespace=False, validators=[matches(USERNAME_PATTERN)]
    )
    name = StrictCharField(
        max_length=150,
        trim_whitespace=False,
        default="",
        validators=[matches(NAME_PATTERN)],
    )
    password = StrictCharField(
        min_length=8,
        max_length=200,
        trim_whitespace=False,
        validators=[matches(NAME_PATTERN)],
    )


def describe(facts: InvitationFacts) -> dict[str, Any]:
    by = facts.invited_by
    return {
        "id": ids.encode(ids.INVITATION, facts.id),
        "email": facts.email,
        "role": facts.role,
        "invited_by": ids.encode(ids.USER, by) if by else None,
        "created_at": facts.created_at,
        "expires_at": facts.expires_at,
        "sent_at": facts.sent_at,
    }


def describe_joined(joined: Joined) -> dict[str, Any]:
    return {
        "organization_id": str(joined.organization_id),
        "user_id": ids.encode(ids.USER, joined.user_id),
        "role": joined.role,
    }


def describe_signed_up(done: SignedUp) -> dict[str, Any]:
    return {**describe_joined(done.joined), "secret": done.secret}


def read_invitation(text: str) -> UUID:
    if (found := ids.decode(ids.INVITATION, text)) is None:
        raise organizations.InvitationNotFound
    return found


class Invitations(house.HouseApi):
    channel = "v1-organizations"
    rights = {"index": READ, "create": WRITE, "destroy": WRITE}
    errors = ERRORS

    @operation(
        "listInvitations",
        summary="List invitations",
        description="Those that hold, for owners, admins and the organization's own keys. Scope: "
        "`organizations:read`.",
        parameters=[ID, *PAGE],
        success={200: (page_of(INVITATION), "A page", None)},
        leave_out=(
            *LISTING,
            *ACCEPTING,
            *SIGNING_UP,
            organizations.InvitationNotFound,
            organizations.AlreadyMember,
        ),
        **COMMON,
    )
    def index(self, request: Request, id: str) -> Response:  # noqa: A002 - documented name
        page = {**read_page(request)._asdict(), "now": timezone.now()}
        found = list_invitations(actor=self.actor, organization_id=read_organization(id), **page)
        return Response(describe_page(found, describe))

    @operation(
        "createInvitation",
        summary="Invite somebody",
        description="Mails a link with a token that works once. An earlier invitation of the same "
        "address ends. Owners invite owners, admins admins and members. Scope: "
        "`organizations:write`.",
        parameters=[ID],
        body=body_of(json_object({"email": EMAIL, "role": {**ROLE, "default": "member"}}, "role")),
        success={201: (INVITATION, "Invited", None)},
        leave_out=(
            *ACCEPTING,
            *SIGNING_UP,
            organizations.InvitationNotFound,
            erasure.RightMissing,
        ),
        **COMMON,
    )
    def create(self, request: Request, id: str) -> Response:  # noqa: A002
        wish = validate(Inviting, request.data)
        return Response(describe(invite(**self.asked(id), **wish)), status=201)

    @operation(
        "revokeInvitation",
        summary="Revoke an invitation",
        description="Ends it, its token with it. Scope: `organizations:write`.",
        parameters=[ID, WHICH],
        success={204: (None, "Revoked", None)},
        leave_out=(
            *BODILESS,
            *ACCEPTING,
            *SIGNING_UP,
            organizations.AlreadyMember,
            erasure.RightMissing,
        ),
        **COMMON,
    )
    def destroy(self, request: Request, id: str, invitation_id: str) -> Response:  # noqa: A002
        revoke_invitation(**self.asked(id), invitation_id=read_invitation(invitation_id))
        return Response(status=204)

    def asked(self, id: str) -> dict[str, Any]:  # noqa: A002
        organization_id = read_organization(id)
        return {
            "actor": self.actor,
            "organization_id": organization_id,
            "now": timezone.now(),
        }


class Acceptances(house.HouseApi):
    channel = "v1-organizations"
    rights = {"create": WRITE}
    errors = ERRORS

    @operation(
        "acceptInvitation",
        summary="Accept an invitation",
        description="With a key of the account whose address was invited; capitals do not matter. "
        "For another account it is 403, and the invitation stays. Scope: `organizations:write`.",
        body=body_of(json_object({"token": TOKEN})),
        success={200: (json_object(JOINED_FIELDS), "Joined", None)},
        leave_out=(*SIGNING_UP, organizations.RoleMissing, erasure.SubjectNotFound),
        **COMMON,
    )
    def create(self, request: Request) -> Response:
        wish = validate(Accepting, request.data)
        return Response(
            describe_joined(accept_invitation(actor=self.actor, now=timezone.now(), **wish))
        )


class SignUps(house.HouseApi):
    channel = "v1-organizations"
    errors = ERRORS

    def admit(self, request: Request) -> None:
        """The token takes the place of a credential: it was mailed to the new account's address."""

    def get_throttles(self) -> list[Any]:
        return [GuessThrottle()]

    @operation(
        "signUpByInvitation",
        summary="Sign up with an invitation",
        description="Creates an account with the invited address and joins with it. The answer "
        "holds the account's first API key, shown here and never again. No credential.",
        body=body_of(
            json_object(
                {"token": TOKEN, "username": USERNAME, "name": NAME, "password": PASSWORD}, "name"
            )
        ),
        success={201: (json_object({**JOINED_FIELDS, "secret": text}), "Signed up", None)},
        auth=({},),
        leave_out=PUBLIC,
        **COMMON,
    )
    def create(self, request: Request) -> Response:
        wish = validate(SigningUp, request.data)
        wish["request_id"] = request_id_of(request._request)
        done = sign_up_by_invitation(now=timezone.now(), **wish)
        return Response(describe_signed_up(done), status=201)


urlpatterns = [
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/invitations$",
        Invitations.as_view({"get": "index", "post": "create"}),
    ),
    re_path(
        r"^v1/organizations/(?P<id>[^/]*)/invitations/(?P<invitation_id>[^/]*)$",
        Invitations.as_view({"delete": "destroy"}),
    ),
    re_path(r"^v1/invitations/accept$", Acceptances.as_view({"post": "create"})),
    re_path(r"^v1/invitations/sign-up$", SignUps.as_view({"post": "create"})),
]
