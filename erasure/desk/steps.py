"""What staff do to rows after a page has said what would happen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.utils import timezone

from audit.events import Reference
from erasure.bulk import BULK_LIMIT
from erasure.closing import Erasure
from erasure.desk.foreseen import Foreseen, Seen, foresee, unpack_plan
from erasure.desk.pages import Act, StaffAdmin
from erasure.desk.proposals import ask_to_propose
from erasure.desk.shown import show_deletion, tell_rows
from erasure.desk.staff import actor_of
from erasure.exceptions import SubjectNotFound
from erasure.foureyes import count_ordered, threshold
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from erasure.typeids import read_uuid

AT_ONCE = 100


@dataclass(frozen=True)
class Concern:
    """What a confirmation page says about one row."""

    id: UUID
    name: str
    remarks: Sequence[str] = ()
    foreseen: Foreseen | None = None


def concern_of(subject: Reference, pk: UUID, name: str, remarks: Sequence[str] = ()) -> Concern:
    """Return what an erasure would take, as its plan counts it."""
    try:
        plan = make_plan(subject)
    except SubjectNotFound:
        return Concern(pk, name, (*remarks, "It is gone already."))
    return Concern(pk, name, remarks, foresee(plan))


def tell_erased(done: Erasure | DeletionRequest, how: str = "erased for ever") -> str:
    """Return what an erasure removed, in one line, or that a worker does it; who went along is
    counted by its cause."""
    if isinstance(done, DeletionRequest):
        return (
            "is large: access has ended, and a worker removes the data now. "
            f"{show_deletion(done.pk)} on the review desk tells how far it is."
        )
    along = DeletionRequest.objects.filter(cause_id=done.request_id).count()
    others = f", and {along} that went along, with all their data" if along else ""
    return f"{how}: {tell_rows(done.counts)}{others}."


@dataclass(frozen=True)
class Step:
    """Something that staff do to rows after a page has said what would happen.

    ``permission`` opens it; empty when it depends on the row, which ``ConfirmedSteps.may_act``
    then decides. A final step takes no more than a few rows: above ``BULK_THRESHOLD``, counted with
    what the same person has had erased lately, it becomes a proposal that somebody else decides on.
    """

    slug: str
    permission: str
    title: str
    intro: str
    button: str
    form: type[forms.Form]
    foresee: Callable[[Any], Concern]
    act: Act
    is_final: bool = False


class ConfirmedSteps(StaffAdmin):
    """Adds a page for each step at ``<list>/<slug>/``: GET asks, and POST alone acts.

    The pages lie outside of the admin's own transaction, so that each row has one of its own.
    """

    steps: Sequence[Step] = ()
    change_form_template = "erasure/desk/step_change_form.html"

    def get_urls(self) -> Any:
        mine = [
            path(
                f"{step.slug}/",
                self.admin_site.admin_view(partial(self.step_view, step=step)),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{step.slug}",
            )
            for step in self.steps
        ]
        return mine + super().get_urls()

    def may(self, request: HttpRequest, step: Step) -> bool:
        """Whether the step's page opens at all."""
        has_right = not step.permission or request.user.has_perm(step.permission)
        return self.has_view_permission(request) and has_right

    def may_act(self, request: HttpRequest, row: Any, step: Step) -> bool:
        """Whether this member of staff may do the step to this row."""
        return self.may(request, step)

    def offers(self, row: Any, step: Step) -> bool:
        """Whether a row's own page shows the step's button. The service decides in the end."""
        return True

    def step(self, slug: str) -> Step:
        return next(step for step in self.steps if step.slug == slug)

    def subject_of(self, row: Any) -> Reference:
        """Return whom a row is about."""
        raise NotImplementedError(f"{type(self).__name__} has no subjects")

    def ask(self, request: HttpRequest, slug: str, rows: Any) -> HttpResponse:
        """Answer a list action: nothing happens yet."""
        step = self.step(slug)
        chosen = list(rows[: BULK_LIMIT + 1])
        if self._takes_two(request, step, len(chosen)):
            return self._propose(request, step, chosen)
        return self._ask(request, step, [str(row.pk) for row in chosen])

    def step_view(self, request: HttpRequest, step: Step) -> HttpResponse:
        if not self.may(request, step):
            raise PermissionDenied
        if request.method != "POST":
            return self._ask(request, step, request.GET.getlist("id"))
        form = step.form(request.POST)
        wanted = request.POST.getlist("id")
        if not form.is_valid() or len(set(wanted)) > _most(step):
            return self._ask(request, step, wanted, form)
        if self._takes_two(request, step, len(set(wanted))):
            return self._propose(request, step, self._find(request, wanted))
        known = [row for row in self._find(request, wanted) if self.may_act(request, row, step)]
        here = [(row.pk, self.describe(row)) for row in known]
        plans = read_plans(request.POST.getlist("plan"))
        self.report_each(request, here, step.act, form.cleaned_data, plans)
        if len(known) < len(set(wanted)):
            gone = "Some of the rows are not on this list any more. Nothing was done to them."
            self.message_user(request, gone, messages.WARNING)
        return HttpResponseRedirect(self.lead_back(request, known))

    def lead_back(self, request: HttpRequest, rows: Sequence[Any]) -> str:
        """Return where a step leads when it is done."""
        return self.list_url()

    def _takes_two(self, request: HttpRequest, step: Step, number: int) -> bool:
        """Whether so many more rows are too many for one person."""
        if not step.is_final:
            return False
        return number + count_ordered(actor_of(request).person_id, timezone.now()) > threshold()

    def _propose(self, request: HttpRequest, step: Step, rows: Sequence[Any]) -> HttpResponse:
        mine = [self.subject_of(row) for row in rows if self.may_act(request, row, step)]
        return ask_to_propose(self, request, mine)

    def _find(self, request: HttpRequest, wanted: Sequence[str]) -> list[Any]:
        pks = [pk for pk in map(read_uuid, wanted) if pk]
        return list(self.get_queryset(request).filter(pk__in=pks)[:AT_ONCE])

    def _ask(
        self, request: HttpRequest, step: Step, wanted: Sequence[str], form: Any = None
    ) -> HttpResponse:
        rows = [row for row in self._find(request, wanted) if self.may_act(request, row, step)]
        if not rows or len(set(wanted)) > _most(step):
            text = f"Choose between 1 and {_most(step)} of the list. Nothing was done."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self.list_url())
        if self._takes_two(request, step, len(rows)):
            return self._propose(request, step, rows)
        return self.render_form(
            request,
            form or step.form(),
            "erasure/desk/confirm_step.html",
            title=step.title,
            step=step,
            action=self.url_of(step.slug),
            back=self.lead_back(request, rows),
            concerns=[step.foresee(row) for row in rows],
        )

    def buttons_of(self, request: HttpRequest, row: Any) -> list[tuple[str, Step]]:
        """Return the steps that a row's page offers, each with its address."""
        return [
            (f"{self.url_of(step.slug)}?id={row.pk}", step)
            for step in self.steps
            if self.may_act(request, row, step) and self.offers(row, step)
        ]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        row = context.get("original")
        context["step_buttons"] = self.buttons_of(request, row) if row else []
        return super().render_change_form(request, context, *args, **kwargs)


def _most(step: Step) -> int:
    return threshold() if step.is_final else AT_ONCE


def read_plans(given: Sequence[str]) -> Mapping[UUID, Seen]:
    """Return the plan that the page had shown for each row, from its hidden fields."""
    plans = {}
    for text in given:
        row, _, packed = text.partition(":")
        if packed and (pk := read_uuid(row)) is not None:
            plans[pk] = unpack_plan(packed)
    return plans
