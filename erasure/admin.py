"""Deletion requests, for reading, and legal holds."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminDateWidget, AdminTextareaWidget
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html

from accounts.forms import PlainForm
from accounts.staff import (
    actor_of,
    by_time,
    date_column,
    explain,
    find_id,
    find_subject,
    show_id,
    show_time,
    tell_next,
    tell_requester,
    tell_rows,
)
from accounts.staffpages import Concern, ConfirmedSteps, ReadOnlyAdmin, Step
from audit.actors import Actor
from audit.events import Reference
from erasure.exceptions import SubjectNotFound
from erasure.holds import place_hold, release_hold
from erasure.models import DeletionRequest, LegalHold


class AboutSubject(ReadOnlyAdmin):
    """Rows that point at a user or an organization."""

    @admin.display(description="Subject")
    def subject(self, row: Any) -> str:
        text = show_id(row.subject_kind, row.subject_id)
        return format_html('<span class="typed-id">{}</span>', text)


@admin.register(DeletionRequest)
class DeletionRequestAdmin(AboutSubject):
    actions = None
    list_display = (
        "subject",
        "state",
        "what_next",
        "channel",
        "requester",
        date_column("requested_at", "Requested"),
        date_column("due_at", "Due"),
        date_column("finished_at", "Finished"),
        "attempts",
        "last_error",
        "removed",
    )
    fields = (
        *list_display[:8],
        "attempts",
        "last_error",
        date_column("retry_at", "Next try"),
        "removed",
        "request_id",
        "generation",
    )
    list_filter = ("state", "channel", by_time("requested_at", "time of request"))
    list_per_page = 50
    search_fields = ("request_id",)
    search_help_text = "Account id (usr_…), any other id, or request id (req_…)"

    def describe(self, row: DeletionRequest) -> str:
        return f"{show_id(row.subject_kind, row.subject_id)} ({row.state})"

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.with_hold()

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        term = search_term.strip()
        if (pk := find_id(term)) is not None:
            named = Q(pk=pk) | Q(subject_id=pk) | Q(requested_by_id=pk) | Q(organization_id=pk)
            return queryset.filter(named), False
        return (queryset.filter(request_id=term) if term else queryset), False

    @admin.display(description="Requested by")
    def requester(self, request: DeletionRequest) -> str:
        return tell_requester(request)

    @admin.display(description="What happens next")
    def what_next(self, request: Any) -> str:
        if request.state in ("completed", "cancelled"):
            return "nothing"
        return tell_next(request, held=request.held, now=timezone.now())

    @admin.display(description="Removed")
    def removed(self, request: DeletionRequest) -> str:
        return tell_rows(request.counts) if request.counts else "-"


class HoldForm(forms.Form):
    subject = forms.CharField(
        max_length=60,
        help_text="An account id (usr_…), or the plain id of a user or an organization",
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    reason = forms.CharField(
        max_length=2000,
        widget=AdminTextareaWidget,
        help_text="Why the data must be kept, with the case's number",
    )
    review_at = forms.DateField(
        label="Review on",
        widget=AdminDateWidget,
        help_text="When somebody looks again whether the hold is still needed",
    )

    def clean_subject(self) -> Reference:
        found = find_subject(self.cleaned_data["subject"])
        if found is None:
            raise forms.ValidationError("This is no id. Account ids look like usr_01h2xcej….")
        return found


def _foresee_release(hold: LegalHold) -> Concern:
    name = show_id(hold.subject_kind, hold.subject_id)
    about = Reference(hold.subject_kind, hold.subject_id)
    remarks = [f"Placed on {show_time(hold.placed_at)}: {hold.reason}"]
    others = LegalHold.objects.active().on(about).exclude(pk=hold.pk).count()
    deletion = DeletionRequest.objects.about(about).open().first()
    if hold.released_at:
        remarks.append("It has ended already.")
    elif others:
        remarks.append(f"Holds that stay on the same subject: {others}.")
    elif deletion:
        after = tell_next(deletion, held=False, now=timezone.now())
        remarks.append(f"What happens next to the subject: {after}.")
    return Concern(hold.pk, name, remarks)


def _release(actor: Actor, pk: UUID, reference: str, now: datetime) -> str:
    ended = release_hold(actor=actor, hold_id=pk, now=now)
    return "released." if ended else "it had ended before."


RELEASE = Step(
    slug="release",
    permission="erasure.change_legalhold",
    title="Release legal holds",
    intro="Without a hold, what is due is erased by the next purge.",
    button="Release",
    form=PlainForm,
    foresee=_foresee_release,
    act=_release,
)


class ActiveFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "stands"), ("released", "released"), ("review", "review is due")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        conditions = {
            "active": Q(released_at=None),
            "released": Q(released_at__isnull=False),
            "review": Q(released_at=None, review_at__lte=timezone.localdate()),
        }
        condition = conditions.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


@admin.register(LegalHold)
class LegalHoldAdmin(ConfirmedSteps, AboutSubject):
    steps = (RELEASE,)
    actions = ("release",)
    list_display = (
        "subject",
        "state",
        "reason",
        date_column("placed_at", "Placed"),
        "placed_by",
        "review_at",
        date_column("released_at", "Released"),
        "released_by",
    )
    fields = list_display
    list_filter = (ActiveFilter, by_time("placed_at", "time of placing"))
    list_per_page = 50
    search_fields = ("reason",)
    search_help_text = "Reason, account id (usr_…) or any other id"

    def describe(self, row: LegalHold) -> str:
        return f"on {show_id(row.subject_kind, row.subject_id)}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("erasure.add_legalhold")

    def has_release_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RELEASE)

    def offers(self, row: LegalHold, step: Step) -> bool:
        return row.released_at is None

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        if (pk := find_id(search_term)) is not None:
            return queryset.filter(Q(pk=pk) | Q(subject_id=pk)), False
        return super().get_search_results(request, queryset, search_term)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # Not the admin's own view: placing a hold has a transaction of its own.
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = HoldForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                place_hold(actor=actor_of(request), now=timezone.now(), **form.cleaned_data)
            except SubjectNotFound as error:
                form.add_error("subject", explain(error))
            else:
                about = form.cleaned_data["subject"]
                text = f"A legal hold stands on {show_id(about.kind, about.id)} now."
                self.message_user(request, text, "SUCCESS")
                return HttpResponseRedirect(self.list_url())
        return self.render_form(
            request, form, "admin/form_page.html", title="Place a legal hold", button="Place hold"
        )

    @admin.action(description="Release…", permissions=["release"])
    def release(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RELEASE.slug, queryset)

    @admin.display(description="State", ordering="released_at")
    def state(self, hold: LegalHold) -> str:
        return "released" if hold.released_at else "stands"

    @admin.display(description="Placed by")
    def placed_by(self, hold: LegalHold) -> str:
        return show_id("user", hold.placed_by_id) if hold.placed_by_id else "-"

    @admin.display(description="Released by")
    def released_by(self, hold: LegalHold) -> str:
        return show_id("user", hold.released_by_id) if hold.released_by_id else "-"
