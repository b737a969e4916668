"""Bulk erasures: proposed here or on a list, decided on by somebody else, followed to the end."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.text import capfirst

from audit.actors import Actor
from erasure.bulk import (
    APPROVE,
    AlreadyDecided,
    OwnProposal,
    TooMany,
    approve_bulk,
    carry_out,
    count_progress,
    propose_bulk,
    reject_bulk,
    subjects_of,
    waiting_subjects,
)
from erasure.desk.forms import ProposalForm
from erasure.desk.pages import ReadOnlyAdmin
from erasure.desk.proposals import add_up, ask_to_propose, name_subjects, read_subjects
from erasure.desk.refusals import explain
from erasure.desk.shown import show_id, show_person
from erasure.desk.staff import actor_of, by_time, date_column
from erasure.engines import wake
from erasure.exceptions import PlanDrifted, RightMissing
from erasure.models import BulkErasure
from erasure.refusals import put_into_words
from erasure.rights import require_staff
from erasure.tasks import hand_over

AT_ONCE = 100
"""Subjects that are handed to the purge while somebody waits; the rest follows in background."""

put_into_words(
    {
        OwnProposal: "whoever proposed it cannot approve it. Somebody else has to",
        AlreadyDecided: lambda error: f"it is {error.state} already",
        TooMany: lambda error: f"one proposal names at most {error.limit} subjects",
    }
)


class BulkErasureAdmin(ReadOnlyAdmin):
    actions = None
    list_display = (
        "bulk_id",
        "shown_state",
        "size",
        "reference",
        "proposer",
        date_column("proposed_at", "Proposed"),
        "decider",
        date_column("decided_at", "Decided"),
    )
    list_filter = ("state", by_time("proposed_at", "time of proposal"))
    list_per_page = 50
    search_fields = ("reference",)
    search_help_text = "Case reference, or any id"

    def describe(self, row: BulkErasure) -> str:
        return f"{row.pk}"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(super().has_view_permission(request, obj) or request.user.has_perm(APPROVE))

    def get_urls(self) -> Any:
        wrap = self.admin_site.admin_view
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path("propose/", wrap(self.propose_view), name=f"{name}_propose"),
            path("<uuid:pk>/approve/", wrap(self.approve_view), name=f"{name}_approve"),
            path("<uuid:pk>/reject/", wrap(self.reject_view), name=f"{name}_reject"),
            path("<uuid:pk>/carry-on/", wrap(self.carry_on_view), name=f"{name}_carry_on"),
            *super().get_urls(),
        ]

    def propose_view(self, request: HttpRequest) -> HttpResponse:
        """Write down a proposal. Only POST gets here: lists lead to the page that asks."""
        if request.method != "POST":
            return HttpResponseRedirect(self.list_url())
        form = ProposalForm(request.POST)
        subjects = read_subjects(request.POST.getlist("subject"))
        if not subjects:
            self.message_user(request, "Nobody was chosen. Nothing was done.", messages.WARNING)
            return HttpResponseRedirect(self.list_url())
        if not form.is_valid():
            return ask_to_propose(self, request, subjects, form)
        try:
            pk = propose_bulk(
                actor=actor_of(request),
                subjects=subjects,
                reference=form.cleaned_data["reference"],
                now=timezone.now(),
            )
        except RightMissing as error:
            raise PermissionDenied from error
        text = f"{len(subjects)} subjects are proposed. Somebody else has to approve it."
        self.message_user(request, text, messages.SUCCESS)
        if not self.has_view_permission(request):
            return HttpResponseRedirect(self.index_url())
        return HttpResponseRedirect(self.url_of("change", pk))

    def approve_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        def approve(actor: Actor) -> str:
            bulk = BulkErasure.objects.get(pk=pk)
            if add_up(request.user, subjects_of(bulk)).digest != request.POST.get("seen"):
                raise PlanDrifted(["what would go is no longer what the page showed"])
            approve_bulk(actor=actor, bulk_id=pk, now=timezone.now())
            return f"Approved. {self._carry_on(pk)}"

        return self._decide(request, pk, approve)

    def reject_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        def reject(actor: Actor) -> str:
            reject_bulk(actor=actor, bulk_id=pk, now=timezone.now())
            return "Rejected. Nothing happens to anybody."

        return self._decide(request, pk, reject)

    def carry_on_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        def carry_on(actor: Actor) -> str:
            require_staff(actor, APPROVE)
            return self._carry_on(pk)

        return self._decide(request, pk, carry_on)

    def _carry_on(self, pk: Any) -> str:
        done = carry_out(bulk_id=pk, clock=timezone.now, limit=AT_ONCE)
        if len(list(waiting_subjects(BulkErasure.objects.get(pk=pk)))) > len(done.refused):
            wake(hand_over, str(pk))
            return f"{done.handed_over} subjects are due now; the others follow in a moment."
        refused = f" {len(done.refused)} were refused, as listed below." if done.refused else ""
        return f"{done.handed_over} subjects are due now; the next purge erases them.{refused}"

    def _decide(self, request: HttpRequest, pk: Any, act: Callable[[Actor], str]) -> HttpResponse:
        if request.method != "POST" or not self.has_view_permission(request):
            raise PermissionDenied
        if not BulkErasure.objects.filter(pk=pk).exists():
            raise Http404
        try:
            self.message_user(request, act(actor_of(request)), messages.SUCCESS)
        except RightMissing as error:
            raise PermissionDenied from error
        except (OwnProposal, AlreadyDecided, PlanDrifted) as error:
            self.message_user(request, capfirst(explain(error)), messages.ERROR)
        return HttpResponseRedirect(self.url_of("change", pk))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        bulk = self.get_object(request, object_id)
        if bulk is None:
            raise Http404
        if not self.has_view_permission(request, bulk):
            raise PermissionDenied
        is_open = bulk.state == BulkErasure.State.PROPOSED
        is_mine = actor_of(request).person_id == bulk.proposed_by_id
        may_decide = request.user.has_perm(APPROVE)
        return self.render_page(
            request,
            "erasure/desk/bulk.html",
            title="Bulk erasure",
            subtitle=f"{bulk.size} subjects, case {bulk.reference}",
            bulk=bulk,
            proposer=show_person(bulk.proposed_by_id),
            decider=show_person(bulk.decided_by_id) if bulk.decided_by_id else "",
            sum=add_up(request.user, subjects_of(bulk)) if is_open else None,
            progress=self._progress(bulk),
            waiting=self._waiting(request, bulk),
            may_carry_on=may_decide,
            is_mine=is_mine,
            may_approve=is_open and may_decide and not is_mine,
            may_reject=is_open and (may_decide or is_mine),
            urls={name: self.url_of(name, bulk.pk) for name in ("approve", "reject", "carry_on")},
            requests_url=self._requests_url(bulk),
        )

    def index_url(self) -> str:
        return reverse("admin:index", current_app=self.admin_site.name)

    def _requests_url(self, bulk: BulkErasure) -> str:
        desk = reverse("admin:erasure_deletionrequest_changelist", current_app=self.admin_site.name)
        return f"{desk}?cause={bulk.pk}"

    def _progress(self, bulk: BulkErasure) -> list[tuple[str, int]]:
        if bulk.state != BulkErasure.State.APPROVED:
            return []
        counts = count_progress(bulk)
        return [(name, counts[state]) for state, name in PROGRESS if counts[state]]

    def _waiting(self, request: HttpRequest, bulk: BulkErasure) -> list[str]:
        if bulk.state != BulkErasure.State.APPROVED:
            return []
        waiting = list(waiting_subjects(bulk))[:AT_ONCE]
        names = name_subjects(request.user, waiting)
        return [names.get(one) or f"{show_id(one.kind, one.id)}, which is gone" for one in waiting]

    @admin.display(description="Bulk", ordering="pk")
    def bulk_id(self, bulk: BulkErasure) -> str:
        return format_html('<span class="typed-id">{}</span>', bulk.pk)

    @admin.display(description="State", ordering="state")
    def shown_state(self, bulk: BulkErasure) -> str:
        return "waits for somebody else" if bulk.state == "proposed" else bulk.state

    @admin.display(description="Proposed by")
    def proposer(self, bulk: BulkErasure) -> str:
        return show_person(bulk.proposed_by_id)

    @admin.display(description="Decided by")
    def decider(self, bulk: BulkErasure) -> str:
        return show_person(bulk.decided_by_id)


PROGRESS = (
    ("completed", "erased"),
    ("running", "being erased"),
    ("scheduled", "due"),
    ("failed", "failed"),
    ("cancelled", "restored"),
    ("waiting", "not handed over"),
)
