"""Webhooks for staff: recipients of the whole instance are made here, everything else is looked at.
A secret is shown once, when it is made."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join

from audit.events import Reference
from erasure.desk.pages import Order, ReadOnlyAdmin
from erasure.desk.refusals import explain
from erasure.desk.shown import show_id, show_time
from erasure.desk.staff import actor_of, by_flag, by_time, date_column
from erasure.references import spell
from organizations.webhooks import endpoints, history
from organizations.webhooks.endpoints import NewSecret
from organizations.webhooks.events import DESCRIPTIONS
from organizations.webhooks.exceptions import WebhookError
from organizations.webhooks.models import Attempt, Delivery, Endpoint
from organizations.webhooks.refusals import WEBHOOK, WEBHOOK_MESSAGE


class RecipientForm(forms.Form):
    """Somebody to whom personal data was disclosed, and where they take messages."""

    name = forms.CharField(
        max_length=100,
        help_text="Receipts name the recipient by it. No person's name.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    url = forms.CharField(
        label="URL",
        max_length=2000,
        help_text="Where messages are sent to; it must begin with https://.",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    events = forms.MultipleChoiceField(
        choices=[(event, f"{event}: {text}") for event, text in DESCRIPTIONS.items()],
        widget=forms.CheckboxSelectMultiple,
        initial=["user.erased"],
        help_text="What the recipient is told, of every account and organization.",
    )


class ScopeFilter(admin.SimpleListFilter):
    title = "reach"
    parameter_name = "reach"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("instance", "whole instance"), ("organization", "one organization")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "instance":
            return queryset.filter(organization=None)
        return queryset.exclude(organization=None) if self.value() else queryset


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    actions = ("send_test", "rotate", "switch_on", "switch_off", "remove")
    list_display = (
        "shown_id",
        "name",
        "owner",
        "url",
        "shown_events",
        "is_active",
        date_column("created_at", "Created"),
    )
    fields = (*list_display[:6], "disabled_reason", "rotation", list_display[6])
    list_filter = (ScopeFilter, by_flag("is_active", "switched on"))
    list_select_related = ("organization",)
    list_per_page = 50
    id_columns = ("pk", "organization_id")
    search_fields = ("name", "organization__name")
    search_help_text = "Name, or the id of the endpoint or of its organization"

    def describe(self, row: Endpoint) -> str:
        return show_id(WEBHOOK, row.pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.add_endpoint")

    def has_handle_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.change_endpoint")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.delete_endpoint")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Make a recipient of the whole instance; an organization makes its own endpoints."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = RecipientForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                made = endpoints.create_endpoint(
                    actor=actor_of(request),
                    organization_id=None,
                    now=timezone.now(),
                    **form.cleaned_data,
                )
            except WebhookError as error:
                form.add_error(None, explain(error))
            else:
                endpoint = Endpoint.objects.get(pk=made.endpoint.id)
                self.log_addition(request, endpoint, [{"added": {}}])
                return self._show_once(request, made)
        return self.render_form(
            request,
            form,
            "erasure/desk/form_page.html",
            title="Add a recipient of the whole instance",
            button="Add recipient",
        )

    def _show_once(self, request: HttpRequest, made: NewSecret) -> HttpResponse:
        """Answer with the secret itself: a message would pass through a cookie or the database."""
        return self.render_form(
            request,
            forms.Form(),
            "admin/webhooks/endpoint/secret.html",
            title="Secret of the endpoint",
            made=made,
            shown=show_id(WEBHOOK, made.endpoint.id),
        )

    @admin.action(description="Send a test event", permissions=["handle"])
    def send_test(self, request: HttpRequest, queryset: Any) -> None:
        self._each(request, queryset, history.send_test, "a test event is on its way.")

    @admin.action(description="Make a new secret", permissions=["handle"])
    def rotate(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, "Choose one endpoint: its secret is shown once.", "WARNING")
            return None
        row = queryset.get()
        try:
            made = endpoints.rotate_secret(**self._place(request, row), now=timezone.now())
        except WebhookError as error:
            self.message_user(request, explain(error), "ERROR")
            return None
        self.log_change(request, row, "Made a new secret.")
        return self._show_once(request, made)

    @admin.action(description="Switch on", permissions=["handle"])
    def switch_on(self, request: HttpRequest, queryset: Any) -> None:
        self._each(request, queryset, endpoints.update_endpoint, "switched on.", is_active=True)

    @admin.action(description="Switch off", permissions=["handle"])
    def switch_off(self, request: HttpRequest, queryset: Any) -> None:
        done = "switched off. What was on its way is given up."
        self._each(request, queryset, endpoints.update_endpoint, done, is_active=False)

    @admin.action(description="Remove", permissions=["remove"])
    def remove(self, request: HttpRequest, queryset: Any) -> None:
        self._each(request, queryset, endpoints.delete_endpoint, "removed with its history.")

    def _each(
        self,
        request: HttpRequest,
        queryset: Any,
        act: Callable[..., Any],
        done: str,
        **wish: Any,
    ) -> None:
        places = {row.pk: self._place(request, row) for row in queryset}

        def do(order: Order) -> str:
            act(**places[order.id], now=order.now, **wish)
            return done

        self.report_each(request, [(row.pk, self.describe(row)) for row in queryset], do)

    def _place(self, request: HttpRequest, row: Endpoint) -> dict[str, Any]:
        return {
            "actor": actor_of(request),
            "organization_id": row.organization_id,
            "endpoint_id": row.pk,
        }

    @admin.display(description="Id")
    def shown_id(self, row: Endpoint) -> str:
        return format_html('<span class="typed-id">{}</span>', show_id(WEBHOOK, row.pk))

    @admin.display(description="Told of", ordering="organization__name")
    def owner(self, row: Endpoint) -> str:
        return str(row.organization) if row.organization else "whole instance"

    @admin.display(description="Events")
    def shown_events(self, row: Endpoint) -> str:
        return ", ".join(row.chosen)

    @admin.display(description="Former secret")
    def rotation(self, row: Endpoint) -> str:
        until = row.former_until
        signs = bool(row.former_secret) and until is not None and until > timezone.now()
        return f"signs, too, until {show_time(until)}" if signs else "none"


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    actions = ("redeliver",)
    list_display = (
        "shown_message",
        "shown_type",
        "shown_subject",
        "shown_receiver",
        "state",
        "attempts",
        date_column("created_at", "Created"),
        date_column("next_try_at", "Next try"),
        "last_error",
    )
    fields = (
        *list_display[:7],
        date_column("finished_at", "Ended"),
        *list_display[7:],
        "payload",
        "tries",
    )
    list_filter = ("state", "message__type", by_time("created_at", "time"))
    list_select_related = ("message", "endpoint")
    list_per_page = 50
    show_full_result_count = False
    id_columns = ("pk", "message_id", "receiver_id", "subject_id")
    search_fields = ("message__type__exact",)
    search_help_text = "Id of a message, an endpoint or a subject"

    def describe(self, row: Delivery) -> str:
        return show_id(WEBHOOK_MESSAGE, row.message_id)

    def has_redeliver_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("webhooks.change_endpoint")

    @admin.action(description="Send once more", permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: Any) -> None:
        rows = {row.pk: row for row in queryset}

        def act(order: Order) -> str:
            row = rows[order.id]
            history.redeliver(
                actor=order.actor,
                organization_id=row.endpoint.organization_id if row.endpoint else None,
                endpoint_id=row.receiver_id,
                message_id=row.message_id,
                now=order.now,
            )
            return "is on its way once more."

        self.report_each(request, [(pk, self.describe(row)) for pk, row in rows.items()], act)

    @admin.display(description="Message")
    def shown_message(self, row: Delivery) -> str:
        return format_html('<span class="typed-id">{}</span>', self.describe(row))

    @admin.display(description="Event", ordering="message__type")
    def shown_type(self, row: Delivery) -> str:
        return row.message.type

    @admin.display(description="About")
    def shown_subject(self, row: Delivery) -> str:
        kind = row.message.subject_kind
        shown = spell(Reference(kind, row.subject_id))
        if kind == WEBHOOK:
            shown = show_id(WEBHOOK, row.subject_id)
        return format_html('<span class="typed-id">{}</span>', shown)

    @admin.display(description="To")
    def shown_receiver(self, row: Delivery) -> str:
        name = row.endpoint.name if row.endpoint else ""
        shown = show_id(WEBHOOK, row.receiver_id)
        return format_html('{} <span class="typed-id">{}</span>', name, shown)

    @admin.display(description="Body")
    def payload(self, row: Delivery) -> str:
        return row.message.payload

    @admin.display(description="Tries")
    def tries(self, row: Delivery) -> str:
        found = [
            (show_time(one.at), _tell_answer(one), f"{one.milliseconds} ms", one.response_body)
            for one in row.history.all()
        ]
        if not found:
            return "None yet."
        lines = format_html_join("", "<dt>{}</dt><dd>{}, {}<br>{}</dd>", found)
        return format_html('<dl class="facts">{}</dl>', lines)


def _tell_answer(attempt: Attempt) -> str:
    return attempt.error or f"status {attempt.response_status}"
