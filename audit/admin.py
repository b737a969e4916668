"""The audit log, for reading."""

from contextlib import suppress
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join

from audit.models import AuditEvent, EventDetail
from audit.querying import about, read_events, read_rest
from audit.spoiled import UNREADABLE
from erasure.desk.pages import ReadOnlyAdmin
from erasure.desk.shown import show_id, show_person, tell_facts
from erasure.desk.staff import by_time, date_column, find_id


class Story(admin.SimpleListFilter):
    """Everything about one person or organization, oldest first: reached by a link on their id."""

    title = "story"
    parameter_name = "story"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get(self.parameter_name, "")
        return [(given, given)] if find_id(given) else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        found = find_id(self.value() or "")
        return queryset.filter(about(found)) if found else queryset


class Values(admin.AllValuesFieldListFilter):
    """The values that there are, without those that cannot be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lookup_choices: Any = read_rest(self.lookup_choices)


class Events(ChangeList):
    """A page of events, without those that somebody has spoiled."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        events: Any = self.result_list
        self.result_list = read_events(events, most=self.list_max_show_all)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    actions = None
    list_display = (
        date_column("at", "When"),
        "action",
        "outcome",
        "subject",
        "actor",
        "channel",
        "shown_facts",
        "place",
    )
    list_filter = (
        Story,
        ("action", Values),
        ("channel", Values),
        ("outcome", Values),
        by_time("at", "time"),
    )
    list_per_page = 50
    show_full_result_count = False
    id_columns = ("pk", "subject_id", "actor_id", "person_id", "organization_id", "credential_id")
    search_fields = ("request_id__exact",)
    search_help_text = "Account id (usr_…), any other id, or request id (req_…)"
    fieldsets: ClassVar[Any] = (
        (None, {"fields": (date_column("at", "When"), "action", "outcome", "shown_facts")}),
        ("About", {"fields": ("subject", "shown_organization")}),
        ("By", {"fields": ("actor", "used_key", "channel", "request_id")}),
        (
            "Personal details",
            {
                "fields": ("details",),
                "description": "Kept beside the event, and erased with whoever acted or whom it "
                "happened to. The event holds a commitment to each.",
            },
        ),
        ("Proof", {"fields": ("position",)}),
    )

    def describe(self, row: AuditEvent) -> str:
        return row.action

    def get_ordering(self, request: HttpRequest) -> tuple[str, str]:
        # A story is read from its beginning.
        return ("at", "id") if request.GET.get(Story.parameter_name) else ("-at", "-id")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Events

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> AuditEvent | None:
        found: AuditEvent | None = None
        with suppress(*UNREADABLE):
            found = super().get_object(request, *args, **kwargs)
        return None if found is None or found.is_spoiled else found

    @admin.display(description="Subject")
    def subject(self, event: AuditEvent) -> str:
        return _typed(event.subject_kind, event.subject_id)

    @admin.display(description="By")
    def actor(self, event: AuditEvent) -> str:
        return _typed(event.actor_kind, event.actor_id)

    @admin.display(description="Organization")
    def shown_organization(self, event: AuditEvent) -> str:
        return _linked(str(event.organization_id or ""), event.organization_id)

    @admin.display(description="Sealed")
    def place(self, event: AuditEvent) -> str:
        return event.place

    @admin.display(description="Position in the sealed log")
    def position(self, event: AuditEvent) -> str:
        if event.is_forged:
            return "not sealed: the service did not write this event, or it was changed since"
        return "not sealed yet" if event.sealed_seq is None else str(event.sealed_seq)

    @admin.display(description="Key")
    def used_key(self, event: AuditEvent) -> str:
        return show_id("key", event.credential_id) if event.credential_id else "-"

    @admin.display(description="Facts")
    def shown_facts(self, event: AuditEvent) -> str:
        return tell_facts(event.facts) or "-"

    @admin.display(description="Details")
    def details(self, event: AuditEvent) -> str:
        kept = read_rest(EventDetail.objects.filter(event_id=event.pk).order_by("field"))
        rows = [
            (str(row.field).replace("_", " ").capitalize(), row.value, show_person(row.person_id))
            for row in kept
        ]
        if not rows:
            return "None is kept."
        lines = format_html_join("", "<dt>{}</dt><dd>{} (by {})</dd>", rows)
        return format_html('<dl class="facts">{}</dl>', lines)


def _typed(kind: str, value: Any) -> str:
    return _linked(show_id(kind, value), value)


def _linked(text: str, value: Any) -> str:
    """Return an id that leads to its story."""
    if value is None:
        return format_html('<span class="typed-id">{}</span>', text or "-")
    url = reverse("admin:audit_auditevent_changelist")
    return format_html(
        '<a class="typed-id" href="{}?{}={}">{}</a>', url, Story.parameter_name, value, text
    )
