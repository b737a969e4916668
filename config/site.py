"""The admin site: its title, the order of its parts, and how it names rows in choices."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.http import HttpRequest, HttpResponse

ORDER = ("accounts", "organizations", "webhooks", "apikeys", "erasure", "audit", "auth")


class NamedChoices(AutocompleteJsonView):
    """Offers rows under the label that their own page gives them for choosing, if it does."""

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        result = super().serialize_result(obj, to_field_name)
        label = getattr(self.model_admin, "label_choice", None)
        return {**result, "text": label(obj)} if label else result


class SextonAdminSite(AdminSite):
    site_title = "Sexton"
    site_header = "Sexton"
    index_title = "Accounts and deletions"
    site_url = None
    # The lists need the width more than they need a second index beside them.
    enable_nav_sidebar = False

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        view: Any = NamedChoices.as_view(admin_site=self)
        answer: HttpResponse = view(request)
        return answer

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> Any:
        def rank(app: Any) -> int:
            return ORDER.index(app["app_label"]) if app["app_label"] in ORDER else len(ORDER)

        return sorted(super().get_app_list(request, app_label), key=rank)
