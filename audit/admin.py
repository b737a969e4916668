"""The audit log, for reading."""

from typing import Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html, format_html_join

from audit.models import AuditEvent, EventDetail
from erasure.desk.pages import ReadOnlyAdmin
from erasure.desk.shown import show_id, show_person, tell_facts
from erasure.desk.staff import by_time, date_column


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
    )
    list_filter = ("action", "channel", "outcome", by_time("at", "time"))
    list_per_page = 50
    show_full_result_count = False
    id_columns = ("pk", "subject_id", "actor_id", "organization_id", "credential_id")
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
                "description": "Kept beside the event, and erased with the person they are about.",
            },
        ),
    )

    def describe(self, row: AuditEvent) -> str:
        return row.action

    @admin.display(description="Subject")
    def subject(self, event: AuditEvent) -> str:
        return _typed(event.subject_kind, event.subject_id)

    @admin.display(description="By")
    def actor(self, event: AuditEvent) -> str:
        return _typed(event.actor_kind, event.actor_id)

    @admin.display(description="Organization")
    def shown_organization(self, event: AuditEvent) -> str:
        return str(event.organization_id or "-")

    @admin.display(description="Key")
    def used_key(self, event: AuditEvent) -> str:
        return show_id("key", event.credential_id) if event.credential_id else "-"

    @admin.display(description="Facts")
    def shown_facts(self, event: AuditEvent) -> str:
        return tell_facts(event.facts) or "-"

    @admin.display(description="Details")
    def details(self, event: AuditEvent) -> str:
        kept = EventDetail.objects.filter(event_id=event.pk).order_by("field")
        rows = [
            (row.field.replace("_", " ").capitalize(), row.value, show_person(row.person_id))
            for row in kept
        ]
        if not rows:
            return "None is kept."
        lines = format_html_join("", "<dt>{}</dt><dd>{} (about {})</dd>", rows)
        return format_html('<dl class="facts">{}</dl>', lines)


def _typed(kind: str, value: Any) -> str:
    return format_html('<span class="typed-id">{}</span>', show_id(kind, value) or "-")
