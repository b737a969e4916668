"""``/oauth/token``, ``/oauth/revoke``, ``/oauth/introspect``: where applications call, not people.

    POST /oauth/token HTTP/1.1
    Authorization: Basic <client_id:client_secret>
    Content-Type: application/x-www-form-urlencoded

    grant_type=client_credentials&scope=users:delete

    HTTP/1.1 200 OK
    {"access_token": "oat-…", "expires_in": 3600, "token_type": "Bearer", "scope": "users:delete"}

RFC 6749, 7009 and 7662 with their errors, ``{"error": "invalid_grant", "error_description": "…"}``,
for whatever else goes wrong here, too.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from django.utils import timezone
from django.views.decorators.http import require_safe
from oauth2_provider.views.mixins import OAuthLibMixin
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response

from contracts import errors as protocol
from contracts.base import Contract, ErrorTable
from contracts.errors import Problem, Refusal
from contracts.throttling import AddressThrottle, FailureThrottle
from erasure.exceptions import LedgerUnavailable
from organizations.oauth.introspection import authenticate_application, describe_token
from organizations.oauth.pages import AuthorizePage, Metadata, access_page

FORM = "application/x-www-form-urlencoded"


class FormRefused(drf.APIException):
    """The body is no form, or names a parameter twice (RFC 6749, section 3.2)."""


class ClientRefused(drf.APIException):
    """The application did not prove who it is."""


ERRORS: ErrorTable = {
    protocol.HostNotServed: Refusal(400, "This host is not served here.", "invalid_request"),
    FormRefused: Refusal(400, f"Send each parameter once, as {FORM}.", "invalid_request"),
    ClientRefused: Refusal(401, "The application is not known by this secret.", "invalid_client"),
    protocol.UnknownPath: Refusal(404, "There is nothing at this address.", "invalid_request"),
    drf.MethodNotAllowed: Refusal(405, "Only POST is allowed here.", "invalid_request"),
    protocol.BodyTooLarge: Refusal(413, "The body is too large.", "invalid_request"),
    drf.Throttled: Refusal(429, "Too many requests. Try again later.", "temporarily_unavailable"),
    LedgerUnavailable: Refusal(503, "Try again later.", "temporarily_unavailable"),
    Exception: Refusal(500, "Something went wrong on our side.", "server_error"),
}


def envelope(problem: Problem) -> dict[str, Any]:
    trace = {"trace_id": problem.trace_id} if problem.refusal.status >= 500 else {}
    return {
        "error": problem.refusal.code,
        "error_description": problem.refusal.text,
        **trace,
    }


class OAuthEndpoint(OAuthLibMixin, Contract):
    """The frame of a contract around what the package and oauthlib do."""

    channel = "oauth"
    credentials = ()
    rights = {}
    errors = ERRORS
    keeps_answers = False
    throttle_classes: Any = (AddressThrottle,)
    envelope = staticmethod(envelope)

    def admit(self, request: Request) -> None:
        """Read the form. Who calls is for the grant to decide; whatever fails is counted."""
        sent: HttpRequest = request._request
        if int(sent.META.get("CONTENT_LENGTH") or 0) > settings.BODY_LIMIT:
            raise protocol.BodyTooLarge
        if sent.content_type != FORM or any(
            len(values) > 1 or "\0" in values[0] for _, values in sent.POST.lists()
        ):
            raise FormRefused
        if sent.GET:
            # RFC 6749, section 2.3.1: no credentials in addresses, which end up in logs.
            raise FormRefused

    def token(self, request: Request) -> HttpResponse:
        _, _, body, status = self.create_token_response(request._request)
        return self.answer(request, body, status)

    def revoke(self, request: Request) -> HttpResponse:
        _, _, body, status = self.create_revocation_response(request._request)
        return self.answer(request, body, status)

    def introspect(self, request: Request) -> Response:
        sent = request._request
        application = authenticate_application(self.get_oauthlib_core(), sent)
        if application is None:
            self.count_failure(request)
            raise ClientRefused
        if not (text := sent.POST.get("token")):
            raise FormRefused
        return Response(describe_token(application=application, text=text, now=timezone.now()))

    def answer(self, request: Request, body: Any, status: int) -> HttpResponse:
        """Return what oauthlib answered. Too many failures from one address are slowed down."""
        if status >= 400:
            self.count_failure(request)
        if status == 401:
            raise ClientRefused
        return HttpResponse(body or "", status=status, content_type="application/json")

    def count_failure(self, request: Request) -> None:
        brake = FailureThrottle()
        if not brake.allow_request(request, self):
            self.throttled(request, brake.wait())

    def get_authenticate_header(self, request: Request) -> str:
        return 'Basic realm="oauth"'

    def get_authenticators(self) -> list[Any]:
        return []


def endpoint(action: str) -> Any:
    # Hidden from the OpenAPI document, whose place the RFCs take.
    return OAuthEndpoint.as_view({"post": action}, is_alias=True)


# By these names the package finds them.
known_to_package = [
    path("oauth/authorize", AuthorizePage.as_view(), name="authorize"),
    path("oauth/token", endpoint("token"), name="token"),
    path("oauth/revoke", endpoint("revoke"), name="revoke-token"),
    path("oauth/introspect", endpoint("introspect"), name="introspect"),
    path(
        ".well-known/oauth-authorization-server",
        require_safe(Metadata.as_view()),
        name="oauth-server-metadata",
    ),
]

urlpatterns = [
    path("", include((known_to_package, "oauth2_provider"))),
    path("oauth/access", access_page, name="oauth-access"),
    re_path(r"^oauth(/.*)?$", OAuthEndpoint.unknown_path()),
]
