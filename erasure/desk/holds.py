"""Legal holds: placed with a reason, released after a page that says what follows."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html

from audit.events import Reference
from erasure.desk.forms import HoldForm, PlainForm
from erasure.desk.pages import Order, ReadOnlyAdmin
from erasure.desk.refusals import explain
from erasure.desk.shown import show_id, show_person, show_time, tell_next
from erasure.desk.staff import actor_of, by_time, date_column
from erasure.desk.steps import Concern, ConfirmedSteps, Step
from erasure.exceptions import SubjectNotFound
from erasure.holds import PLACE, place_hold, release_hold
from erasure.holds import RELEASE as MAY_RELEASE
from erasure.models import DeletionRequest, LegalHold


class AboutSubject(ReadOnlyAdmin):
    """Rows that point at a subject."""

    @admin.display(description="Subject")
    def subject(self, row: Any) -> str:
        text = show_id(row.subject_kind, row.subject_id)
        return format_html('<span class="typed-id">{}</span>', text)


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


def _release(order: Order) -> str:
    ended = release_hold(actor=order.actor, hold_id=order.id, now=order.now)
    return "released." if ended else "it had ended before."


RELEASE = Step(
    slug="release",
    permission=MAY_RELEASE,
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
    id_columns = ("pk", "subject_id")
    search_fields = ("reason",)
    search_help_text = "Reason, typed id such as usr_…, or any other id"

    def describe(self, row: LegalHold) -> str:
        return f"on {show_id(row.subject_kind, row.subject_id)}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm(PLACE))

    def has_release_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RELEASE)

    def offers(self, row: LegalHold, step: Step) -> bool:
        return row.released_at is None

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
            request,
            form,
            "erasure/desk/form_page.html",
            title="Place a legal hold",
            button="Place hold",
        )

    @admin.action(description="Release…", permissions=["release"])
    def release(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RELEASE.slug, queryset)

    @admin.display(description="State", ordering="released_at")
    def state(self, hold: LegalHold) -> str:
        return "released" if hold.released_at else "stands"

    @admin.display(description="Placed by")
    def placed_by(self, hold: LegalHold) -> str:
        return show_person(hold.placed_by_id)

    @admin.display(description="Released by")
    def released_by(self, hold: LegalHold) -> str:
        return show_person(hold.released_by_id)
