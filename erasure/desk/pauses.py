"""Pauses: the brake on everything that erases by itself, and its release."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone

from erasure.brakes import PLACE, place_pause, release_pause
from erasure.brakes import RELEASE as MAY_RELEASE
from erasure.desk.forms import PauseForm, PlainForm
from erasure.desk.pages import Order, ReadOnlyAdmin
from erasure.desk.shown import show_manager, show_number, show_person, show_time
from erasure.desk.staff import actor_of, by_time, date_column
from erasure.desk.steps import Concern, ConfirmedSteps, Step
from erasure.desk.views import count_views
from erasure.models import Pause


def name_scope(organization_id: UUID | None) -> str:
    """Return what a pause stops, as staff read it."""
    return show_manager(organization_id) if organization_id else "everything"


def _foresee_release(pause: Pause) -> Concern:
    remarks = [f"Since {show_time(pause.placed_at)}: {pause.reason}"]
    if pause.released_at:
        remarks.append("It has ended already.")
    elif pause.organization_id is None:
        counts = count_views(timezone.now())
        waiting = counts["due"] + counts["overdue"]
        remarks.append(f"Due by now, and erased by the next purge: {show_number(waiting)}.")
    return Concern(pause.pk, f"Pause of {name_scope(pause.organization_id)}", remarks)


def _release(order: Order) -> str:
    ended = release_pause(actor=order.actor, pause_id=order.id, now=order.now)
    return "released." if ended else "it had ended before."


RELEASE = Step(
    slug="release",
    permission=MAY_RELEASE,
    title="Release pauses",
    intro="Erasure goes on: the next purge takes everything that has come due meanwhile.",
    button="Release",
    form=PlainForm,
    foresee=_foresee_release,
    act=_release,
)


class StandingFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("standing", "stands"), ("released", "released")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "standing":
            return queryset.filter(released_at=None)
        if self.value() == "released":
            return queryset.filter(released_at__isnull=False)
        return queryset


class PauseAdmin(ConfirmedSteps, ReadOnlyAdmin):
    steps = (RELEASE,)
    actions = ("release",)
    list_display = (
        "scope",
        "state",
        "reason",
        date_column("placed_at", "Placed"),
        "placed_by",
        date_column("released_at", "Released"),
        "released_by",
    )
    fields = list_display
    list_filter = (StandingFilter, by_time("placed_at", "time of placing"))
    list_per_page = 50
    id_columns = ("pk", "organization_id")
    search_fields = ("reason",)
    search_help_text = "Reason, or an organization's id"

    def describe(self, row: Pause) -> str:
        return f"of {name_scope(row.organization_id)}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(PLACE))

    def has_release_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RELEASE)

    def offers(self, row: Pause, step: Step) -> bool:
        return row.released_at is None

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = PauseForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            place_pause(actor=actor_of(request), now=timezone.now(), **form.cleaned_data)
            scope = name_scope(form.cleaned_data["organization_id"])
            self.message_user(request, f"Erasure of {scope} is paused.", "SUCCESS")
            return HttpResponseRedirect(self.list_url())
        return self.render_form(
            request,
            form,
            "erasure/desk/form_page.html",
            title="Pause erasure",
            button="Pause",
        )

    @admin.action(description="Release…", permissions=["release"])
    def release(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RELEASE.slug, queryset)

    @admin.display(description="Stops", ordering="organization_id")
    def scope(self, pause: Pause) -> str:
        return name_scope(pause.organization_id)

    @admin.display(description="State", ordering="released_at")
    def state(self, pause: Pause) -> str:
        return "released" if pause.released_at else "stands"

    @admin.display(description="Placed by")
    def placed_by(self, pause: Pause) -> str:
        return show_person(pause.placed_by_id)

    @admin.display(description="Released by")
    def released_by(self, pause: Pause) -> str:
        return show_person(pause.released_by_id)
