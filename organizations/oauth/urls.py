"""The addresses of OAuth. Their names are those by which the package finds them."""

from typing import Any

from django.urls import include, path, re_path
from django.views.decorators.http import require_safe
from oauth2_provider.views import OAuthServerMetadataView

from organizations.oauth.endpoints import OAuthEndpoint
from organizations.oauth.pages import AuthorizePage, access_page


def endpoint(action: str) -> Any:
    # Hidden from the OpenAPI document, which the RFCs take the place of.
    return OAuthEndpoint.as_view({"post": action}, is_alias=True)


known_to_package = [
    path("oauth/authorize", AuthorizePage.as_view(), name="authorize"),
    path("oauth/token", endpoint("token"), name="token"),
    path("oauth/revoke", endpoint("revoke"), name="revoke-token"),
    path("oauth/introspect", endpoint("introspect"), name="introspect"),
    path(
        ".well-known/oauth-authorization-server",
        require_safe(OAuthServerMetadataView.as_view()),
        name="oauth-server-metadata",
    ),
]

urlpatterns = [
    path("", include((known_to_package, "oauth2_provider"))),
    path("oauth/access", access_page, name="oauth-access"),
    re_path(r"^oauth(/.*)?$", OAuthEndpoint.unknown_path()),
]
