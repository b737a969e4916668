"""OAuth applications and their tokens: staff look, and end what must end."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils import timezone
from oauth2_provider import admin as package

from erasure.desk.pages import Order, ReadOnlyAdmin
from erasure.desk.shown import show_id
from erasure.desk.staff import by_time, date_column
from organizations.oauth.applications import FLOWS
from organizations.oauth.models import AccessToken, Application, RefreshToken
from organizations.oauth.services import end_access_token, end_tokens_of_application

# The package's own pages would show and change what must go through a service.
for model in (
    package.application_model,
    package.access_token_model,
    package.grant_model,
    package.id_token_model,
    package.refresh_token_model,
):
    admin.site.unregister(model)


class _LiveOrExpired(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("holds", "holds"), ("expired", "expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        conditions = {"holds": Q(expires__gt=now), "expired": Q(expires__lte=now)}
        condition = conditions.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


@admin.register(Application)
class ApplicationAdmin(ReadOnlyAdmin):
    actions = ("end_tokens",)
    list_display = (
        "client_id",
        "name",
        "organization",
        "flow",
        "shown_scopes",
        "people",
        "live_tokens",
        date_column("created", "Created"),
    )
    fields = (
        *list_display[:4],
        "client_type",
        "redirect_uris",
        "shown_scopes",
        "people",
        "live_tokens",
        "maker",
        list_display[-1],
    )
    list_filter = ("client_type", by_time("created", "time of creation"))
    list_select_related = ("organization",)
    list_per_page = 50
    id_columns = ("pk", "organization_id")
    search_fields = ("client_id", "name", "organization__name")
    search_help_text = "Client id, name, or the organization's name or id"

    def get_queryset(self, request: HttpRequest) -> Any:
        def count(rows: Any) -> Any:
            mine = rows.objects.filter(application=OuterRef("pk"), expires__gt=timezone.now())
            counted = mine.order_by().values("application").annotate(n=Count("pk")).values("n")
            return Coalesce(Subquery(counted), 0)

        counts = {"token_count": count(AccessToken), "people_count": count(RefreshToken)}
        return super().get_queryset(request).annotate(**counts)

    def has_end_tokens_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("oauth.change_application")

    @admin.action(description="End all tokens", permissions=["end_tokens"])
    def end_tokens(self, request: HttpRequest, queryset: Any) -> None:
        def act(order: Order) -> str:
            ended = end_tokens_of_application(
                actor=order.actor, application_id=order.id, now=order.now
            )
            return f"{ended} access token{'' if ended == 1 else 's'} ended."

        self.report_each(request, [(row.pk, self.describe(row)) for row in queryset], act)

    @admin.display(description="Acts for")
    def flow(self, row: Application) -> str:
        kind = FLOWS.get(row.authorization_grant_type)
        return "its organization" if kind == "client_credentials" else "people who let it"

    @admin.display(description="Scopes")
    def shown_scopes(self, row: Application) -> str:
        return ", ".join(row.scopes)

    @admin.display(description="People", ordering="people_count")
    def people(self, row: Any) -> int:
        return int(row.people_count)

    @admin.display(description="Living tokens", ordering="token_count")
    def live_tokens(self, row: Any) -> int:
        return int(row.token_count)

    @admin.display(description="Made by")
    def maker(self, row: Application) -> str:
        return show_id("user", row.created_by_id) if row.created_by_id else "-"


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    actions = ("revoke",)
    list_display = (
        "token_id",
        "client",
        "speaks_for",
        "scope",
        date_column("created", "Issued"),
        date_column("expires", "Expires"),
    )
    fields = list_display
    list_filter = (_LiveOrExpired, by_time("created", "time of issue"))
    list_select_related = ("application__organization",)
    list_per_page = 50
    id_columns = ("pk", "application_id", "user_id", "application__organization_id")
    search_fields = ("application__name", "application__client_id")
    search_help_text = "The application's name or id, or the user's or organization's id"

    def describe(self, row: AccessToken) -> str:
        return str(row.pk)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("oauth.change_accesstoken")

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        def act(order: Order) -> str:
            end_access_token(actor=order.actor, token_id=order.id, now=order.now)
            return "revoked."

        self.report_each(request, [(row.pk, self.describe(row)) for row in queryset], act)

    @admin.display(description="Id")
    def token_id(self, row: AccessToken) -> str:
        return str(row.pk)

    @admin.display(description="Application")
    def client(self, row: AccessToken) -> str:
        return f"{row.application.name} ({row.application.client_id})"

    @admin.display(description="Speaks for")
    def speaks_for(self, row: AccessToken) -> str:
        if row.user_id is not None:
            return show_id("user", row.user_id)
        return str(row.application.organization)
