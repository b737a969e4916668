"""Every address. A contract's own file names its paths, and answers for unknown ones there."""

from django.contrib import admin
from django.urls import include, path
from django.views.decorators.cache import cache_page
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView

from config import pages
from erasure.keyset import key_set
from organizations.billing.pages import hear_stripe

urlpatterns = [
    path("", include("accounts.contracts.account")),
    path("", include("accounts.api.deletion")),
    path("", include("accounts.contracts.v1_user")),
    path("", include("accounts.contracts.users")),
    path("", include("accounts.contracts.user")),
    path("", include("organizations.contracts.organizations")),
    path("", include("organizations.api.deletion")),
    path("", include("organizations.api.organizations")),
    path("", include("organizations.api.members")),
    path("", include("organizations.api.invitations")),
    path("", include("organizations.api.managed_users")),
    path("", include("organizations.api.webhooks")),
    path("", include("organizations.api.deliveries")),
    path("", include("organizations.billing.api.subscription")),
    path("billing/stripe", hear_stripe),
    path("", include("erasure.api.deletions")),
    path("", include("organizations.api.applications")),
    path("", include("audit.api.events")),
    path("", include("apikeys.api.keys")),
    path("", include("organizations.api.oauth")),
    path("", include("accounts.pages")),
    path("", include("erasure.pages")),
    path("", include("accounts.signin")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    # Made anew it costs a third of a second, which nobody should be able to ask for in a loop.
    path("openapi.json", cache_page(3600)(SpectacularJSONAPIView.as_view()), name="openapi"),
    path("docs", pages.DocumentationView.as_view(), name="docs"),
    path(".well-known/jwks.json", key_set),
    path("healthz", pages.healthz),
    path("readyz", pages.readyz),
    path("metrics", pages.show_metrics),
]

handler400 = "config.pages.bad_request"
handler404 = "config.pages.not_found"
handler500 = "config.pages.server_error"
