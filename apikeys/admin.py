"""API keys: issued, listed and revoked. The secret is shown once and kept nowhere."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminSplitDateTime, AutocompleteSelect
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from accounts.models import User
from accounts.steps import label_user
from apikeys import scopes
from apikeys.exceptions import ApiKeyError
from apikeys.models import ApiKey
from apikeys.services import IssuedKey, issue_key, revoke_any_key
from audit.events import Reference
from erasure.desk.pages import Order, ReadOnlyAdmin
from erasure.desk.refusals import explain
from erasure.desk.shown import show_id
from erasure.desk.staff import actor_of, by_time, date_column
from erasure.exceptions import ActorGone
from organizations.models import Organization


def _select(field: str) -> AutocompleteSelect:
    relation: Any = ApiKey._meta.get_field(field)
    return AutocompleteSelect(relation, admin.site)


class UserField(forms.ModelChoiceField):  # type: ignore[type-arg]
    def label_from_instance(self, obj: User) -> str:
        return label_user(obj)


class KeyForm(forms.Form):
    """What a key is for. Either a user or an organization owns it."""

    user = UserField(queryset=User.live.all(), required=False)
    organization = forms.ModelChoiceField(queryset=Organization.live.all(), required=False)
    name = forms.CharField(
        max_length=100,
        help_text="What the key is for, so that it can be told apart later.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope}: {text}") for scope, text in scopes.DESCRIPTIONS.items()],
        widget=forms.CheckboxSelectMultiple,
        help_text="What the key may do. It never grows.",
    )
    expires_at = forms.SplitDateTimeField(
        label="Expires",
        required=False,
        widget=AdminSplitDateTime,
        help_text="Leave empty for a key that holds until it is revoked.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("user", "organization"):
            field: Any = self.fields[name]
            field.widget = _select(name)
            field.widget.choices = field.choices

    def clean(self) -> None:
        super().clean()
        owners = [self.cleaned_data.get(name) for name in ("user", "organization")]
        if not self.errors and len([owner for owner in owners if owner]) != 1:
            raise forms.ValidationError("Choose a user or an organization, and not both.")

    @property
    def owner(self) -> Reference:
        kind = "user" if self.cleaned_data["user"] else "organization"
        return Reference(kind, self.cleaned_data[kind].pk)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("holds", "holds"), ("expired", "expired"), ("revoked", "revoked")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = timezone.now()
        unexpired = Q(expires_at=None) | Q(expires_at__gt=now)
        conditions = {
            "holds": unexpired & Q(revoked_at=None),
            "expired": Q(expires_at__lte=now, revoked_at=None),
            "revoked": Q(revoked_at__isnull=False),
        }
        condition = conditions.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    actions = ("revoke",)
    list_display = (
        "hint",
        "name",
        "owner",
        "shown_scopes",
        date_column("created_at", "Created"),
        date_column("expires_at", "Expires"),
        date_column("revoked_at", "Revoked"),
        date_column("last_used_at", "Last used"),
    )
    fields = (*list_display[:4], "maker", *list_display[4:])
    list_filter = (StateFilter, by_time("created_at", "time of creation"))
    list_select_related = ("user", "organization")
    list_per_page = 50
    id_columns = ("pk", "user_id", "organization_id")
    search_fields = ("hint", "name", "user__username", "organization__name")
    search_help_text = "Hint, name, or the owner's name or id"

    def describe(self, row: ApiKey) -> str:
        return row.hint

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("apikeys.add_apikey")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("apikeys.change_apikey")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = KeyForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                issued = self._issue(request, form)
            except (ApiKeyError, ActorGone) as error:
                form.add_error(None, explain(error))
            else:
                return self._show_once(request, issued)
        return self.render_form(
            request,
            form,
            "erasure/desk/form_page.html",
            title="Issue an API key",
            button="Issue key",
        )

    def _issue(self, request: HttpRequest, form: KeyForm) -> IssuedKey:
        with transaction.atomic():
            issued = issue_key(
                actor=actor_of(request),
                owner=form.owner,
                name=form.cleaned_data["name"],
                wanted=form.cleaned_data["scopes"],
                expires_at=form.cleaned_data["expires_at"],
                now=timezone.now(),
            )
            self.log_addition(request, ApiKey.objects.get(pk=issued.key.id), [{"added": {}}])
        return issued

    def _show_once(self, request: HttpRequest, issued: IssuedKey) -> HttpResponse:
        """Answer with the secret itself: a message would pass through a cookie or the database."""
        return self.render_form(
            request,
            forms.Form(),
            "admin/apikeys/apikey/issued.html",
            title="API key issued",
            issued=issued,
        )

    @admin.action(description="Revoke", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: Any) -> None:
        def act(order: Order) -> str:
            revoke_any_key(actor=order.actor, key_id=order.id, now=order.now)
            return "revoked."

        self.report_each(request, [(key.pk, self.describe(key)) for key in queryset], act)

    @admin.display(description="Owner")
    def owner(self, key: ApiKey) -> str:
        if key.user is None:
            return str(key.organization)
        pk = show_id("user", key.user.pk)
        return format_html('{} <span class="typed-id">{}</span>', key.user.username, pk)

    @admin.display(description="Scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        return ", ".join(key.scopes)

    @admin.display(description="Made by")
    def maker(self, key: ApiKey) -> str:
        return show_id("user", key.created_by_id) if key.created_by_id else "-"
