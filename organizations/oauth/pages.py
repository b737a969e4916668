"""Where people decide: ``/oauth/authorize`` asks for their consent, ``/oauth/access`` shows what
they have consented to and takes it back.

Nothing changes on GET. What is consented to stands in the address, is checked anew on POST, and
leads to a registered address or to no other site at all.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.csp import CSP
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_http_methods
from django.views.generic import View
from oauth2_provider.exceptions import FatalClientError, OAuthToolkitError
from oauth2_provider.settings import oauth2_settings
from oauth2_provider.views import OAuthServerMetadataView
from oauth2_provider.views.mixins import OAuthLibMixin

from audit.actors import Actor, Origin
from contracts.authentication import client_address
from organizations.oauth.models import Application
from organizations.oauth.redirects import origin_of
from organizations.oauth.services import end_authorization, list_authorizations
from organizations.oauth.wording import explain_scope

CHANNEL = "oauth"
ONCE = ("client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge")


def actor_of(request: Any) -> Actor:
    """Return the signed-in person as the actor of a service call."""
    return Actor(
        kind="user",
        id=request.user.pk,
        channel=CHANNEL,
        request_id=getattr(request, "request_id", ""),
        person_id=request.user.pk,
        origin=Origin(
            address=client_address(request), user_agent=request.headers.get("User-Agent", "")[:255]
        ),
    )


def guarded(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Keep a page out of caches and indexes, and let nobody but signed-in people see it.

    Frames and other sites' scripts are shut out by the settings.
    """

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
        response.headers["Cache-Control"] = "no-store"
        return response

    return shown


class Refused(Exception):
    """The request for consent cannot be met. ``location`` is where the application is told; empty
    when it is not known where that is."""

    def __init__(self, description: str, location: str = "") -> None:
        super().__init__(description)
        self.description, self.location = description, location


@method_decorator([guarded, never_cache, csrf_protect], name="dispatch")
class AuthorizePage(OAuthLibMixin, View):
    """Shows who asks for what, and on POST sends a code or a refusal to the application."""

    http_method_names = ["get", "head", "post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            # Before anybody signs in: nobody should do so for a request that leads nowhere.
            asked, credentials = self.read_request()
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path(), reverse("sign-in"))
            if request.method == "POST":
                return self.decide(asked, credentials)
            return self.ask(asked, credentials)
        except Refused as refused:
            if refused.location:
                return HttpResponseRedirect(self.with_issuer(refused.location))
            return render(
                request, "oauth/refused.html", {"description": refused.description}, status=400
            )

    def read_request(self) -> tuple[list[str], dict[str, Any]]:
        """Return the scopes and credentials that are asked for; raises Refused."""
        sent = self.request.GET
        if any(len(sent.getlist(name)) > 1 or "\0" in sent.get(name, "") for name in ONCE):
            raise Refused("A parameter occurs twice, or holds what cannot be read.")
        try:
            asked, credentials = self.validate_authorization_request(self.request)
        except OAuthToolkitError as error:
            raise self.refusal(error) from error
        if sent.get("code_challenge_method") != "S256":
            raise self.refusal_of("invalid_request", "PKCE with S256 is required.", credentials)
        if "resource" in sent:
            raise self.refusal_of("invalid_target", "Resources are not told apart.", credentials)
        return asked, credentials

    def ask(self, asked: list[str], credentials: dict[str, Any]) -> HttpResponse:
        redirect_uri = credentials["redirect_uri"]
        application = Application.objects.select_related("organization").get(
            client_id=credentials["client_id"]
        )
        context = {
            "application": application,
            "scopes": [(name, explain_scope(name)) for name in asked],
            "destination": origin_of(redirect_uri),
            "address": self.request.get_full_path(),
        }
        response = render(self.request, "oauth/authorize.html", context)
        # Browsers hold the redirect that follows a form to this as well.
        policy = {**settings.SECURE_CSP, "form-action": [CSP.SELF, origin_of(redirect_uri)]}
        response._csp_config = policy  # type: ignore[attr-defined]
        return response

    def decide(self, asked: list[str], credentials: dict[str, Any]) -> HttpResponse:
        allow = self.request.POST.get("decision") == "allow"
        credentials["actor"] = actor_of(self.request)
        try:
            location, *_ = self.create_authorization_response(
                self.request, " ".join(asked), credentials, allow
            )
        except OAuthToolkitError as error:
            raise self.refusal(error) from error
        return HttpResponseRedirect(location)

    def refusal(self, error: OAuthToolkitError) -> Refused:
        _, answer = self.error_response(error)
        told = "" if isinstance(error, FatalClientError) else answer["url"]
        return Refused(error.oauthlib_error.description or error.oauthlib_error.error, told)

    def refusal_of(self, code: str, description: str, credentials: dict[str, Any]) -> Refused:
        told = {"error": code, "error_description": description}
        if credentials.get("state"):
            told["state"] = credentials["state"]
        uri = credentials["redirect_uri"]
        return Refused(description, f"{uri}{'&' if '?' in uri else '?'}{urlencode(told)}")

    def with_issuer(self, location: str) -> str:
        """Return the address of an error with the name of this server (RFC 9207)."""
        issuer = oauth2_settings.oauth2_authorization_server_issuer(self.request)
        return f"{location}&{urlencode({'iss': issuer})}"


class Metadata(OAuthServerMetadataView):
    """What the package says of this server, which asks for a secret before it introspects."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        answer: HttpResponse = super().get(request, *args, **kwargs)
        described = json.loads(answer.content)
        methods = described["token_endpoint_auth_methods_supported"]
        proofs = [method for method in methods if method != "none"]
        described["introspection_endpoint_auth_methods_supported"] = proofs
        answer.content = json.dumps(described).encode()
        return answer


@guarded
@csrf_protect
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def access_page(request: HttpRequest) -> HttpResponseBase:
    """Show the applications that may act for the person, and on POST end what one of them may."""
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), reverse("sign-in"))
    now = timezone.now()
    if request.method == "POST":
        if (pk := _read_uuid(request.POST.get("authorization", ""))) is not None:
            end_authorization(actor=actor_of(request), authorization_id=pk, now=now)
        return HttpResponseRedirect(reverse("oauth-access"), status=303)
    found = [
        (one, [explain_scope(name) for name in one.scopes])
        for one in list_authorizations(user_id=request.user.pk, now=now)
    ]
    return render(request, "oauth/access.html", {"authorizations": found})


def _read_uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
