"""The bases of the staff's pages: plain ids, pages for reading, steps that are confirmed first."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.utils.text import capfirst

from accounts.staff import AnyAdmin, actor_of, explain, find_id, name_rows, speak_ids
from apikeys.exceptions import ApiKeyError
from audit.actors import Actor
from contracts import ids
from erasure.exceptions import DeletionError, RestoreError
from erasure.planner import Plan

logger = logging.getLogger("sexton.staff")

AT_ONCE = 100

Act = Callable[[Actor, UUID, str, datetime], str]
"""Does one thing to one row, given actor, id, case reference and clock; returns what to report."""


class StaffAdmin(AnyAdmin):
    """Names rows by ``describe``, on the page and in the admin's own history; finds them by id."""

    id_columns: ClassVar[tuple[str, ...]] = ("pk",)
    """Where an id that is searched for may stand."""

    def describe(self, row: Any) -> str:
        """Return a row's name for staff. It is kept in the history: no personal data."""
        return speak_ids(str(row))

    def head(self, row: Any) -> str:
        """Return a row's name as a heading. It may be personal: it stays on the page."""
        return self.describe(row)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        if (pk := find_id(search_term)) is None:
            return super().get_search_results(request, queryset, search_term)
        anywhere = Q(*((column, pk) for column in self.id_columns), _connector=Q.OR)
        return queryset.filter(anywhere), False

    def report_each(
        self, request: HttpRequest, rows: Iterable[tuple[UUID, str]], act: Act, reference: str = ""
    ) -> None:
        """Act on each row on its own, and report on each by a message of its own."""
        for pk, name in rows:
            level = messages.ERROR
            try:
                text = act(actor_of(request), pk, reference, timezone.now())
                level = messages.SUCCESS
            except (DeletionError, RestoreError, ApiKeyError) as error:
                text = explain(error)
            except Exception:
                # The others still get their turn; the log tells what went wrong here.
                logger.exception("staff action failed", extra={"row": str(pk)})
                text = "nothing was done: something went wrong. The log has the details."
            self.message_user(request, f"{capfirst(self.opts.verbose_name)} {name}: {text}", level)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._name_entry(super().log_addition(request, obj, message), obj)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return self._name_entry(super().log_change(request, obj, message), obj)

    def message_user(self, request: HttpRequest, message: Any, *args: Any, **kwargs: Any) -> None:
        # The same type again: what Django has marked as safe HTML stays so.
        super().message_user(request, type(message)(speak_ids(message)), *args, **kwargs)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        if context.get("original"):
            context["subtitle"] = self.head(context["original"])
        return super().render_change_form(request, context, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context = {"title": capfirst(self.opts.verbose_name_plural), **(extra_context or {})}
        return super().changelist_view(request, context)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        row = self.get_object(request, object_id)
        context = {"title": "History", "subtitle": self.head(row)} if row else {}
        return super().history_view(request, object_id, {**context, **(extra_context or {})})

    def render_form(
        self, request: HttpRequest, form: forms.Form, template: str, **context: Any
    ) -> TemplateResponse:
        """Return a page of the admin's looks around a form of our own."""
        request.current_app = self.admin_site.name
        fieldsets: Any = [(None, {"fields": list(form.fields)})]
        plain: Any = form
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "form": form,
            "adminform": AdminForm(plain, fieldsets, {}),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, template, {**frame, **context})

    def list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def _name_entry(self, entry: Any, row: Any) -> Any:
        entry.object_repr = self.describe(row)[:200]
        entry.save(update_fields=["object_repr"])
        return entry


class ReadOnlyAdmin(StaffAdmin):
    """Staff may look, and that is all."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@dataclass(frozen=True)
class Concern:
    """What a confirmation page says about one row."""

    id: UUID
    name: str
    remarks: Sequence[str] = ()
    rows: Sequence[tuple[str, int]] = ()
    detached: Sequence[tuple[str, int]] = ()
    total: int | None = None
    is_held: bool = False


def concern_of(plan: Plan | None, pk: UUID, name: str, remarks: Sequence[str] = ()) -> Concern:
    """Return what an erasure would take, as its plan counts it."""
    if plan is None:
        return Concern(pk, name, (*remarks, "It is gone already."))
    return Concern(
        id=pk,
        name=name,
        remarks=remarks,
        rows=name_rows(plan.removed),
        detached=name_rows(plan.detached),
        total=plan.total,
        is_held=plan.held,
    )


@dataclass(frozen=True)
class Step:
    """Something that staff do to rows after a page has said what would happen."""

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
    change_form_template = "admin/step_change_form.html"

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
        return self.has_view_permission(request) and request.user.has_perm(step.permission)

    def offers(self, row: Any, step: Step) -> bool:
        """Whether a row's own page shows the step's button. The service decides in the end."""
        return True

    def step(self, slug: str) -> Step:
        return next(step for step in self.steps if step.slug == slug)

    def ask(self, request: HttpRequest, slug: str, rows: Any) -> HttpResponse:
        """Answer a list action: nothing happens yet."""
        return self._ask(request, self.step(slug), [str(row.pk) for row in rows[: AT_ONCE + 1]])

    def step_view(self, request: HttpRequest, step: Step) -> HttpResponse:
        if not self.may(request, step):
            raise PermissionDenied
        if request.method != "POST":
            return self._ask(request, step, request.GET.getlist("id"))
        form = step.form(request.POST)
        wanted = request.POST.getlist("id")
        if not form.is_valid():
            return self._ask(request, step, wanted, form)
        known = self._find(request, wanted)
        here = [(row.pk, self.describe(row)) for row in known]
        self.report_each(request, here, step.act, form.cleaned_data.get("reference", ""))
        if len(known) < len(set(wanted)):
            gone = "Some of the rows are not on this list any more. Nothing was done to them."
            self.message_user(request, gone, messages.WARNING)
        return HttpResponseRedirect(self.list_url())

    def _find(self, request: HttpRequest, wanted: Sequence[str]) -> list[Any]:
        pks = [pk for pk in map(ids.decode_uuid, wanted) if pk]
        return list(self.get_queryset(request).filter(pk__in=pks)[:AT_ONCE])

    def _ask(
        self, request: HttpRequest, step: Step, wanted: Sequence[str], form: Any = None
    ) -> HttpResponse:
        rows = self._find(request, wanted)
        if not rows or len(set(wanted)) > AT_ONCE:
            text = f"Choose between 1 and {AT_ONCE} of the list. Nothing was done."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(self.list_url())
        return self.render_form(
            request,
            form or step.form(),
            "admin/confirm_step.html",
            title=step.title,
            step=step,
            action=reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{step.slug}"),
            back=self.list_url(),
            concerns=[step.foresee(row) for row in rows],
        )

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        row = context.get("original")
        base = f"admin:{self.opts.app_label}_{self.opts.model_name}"
        context["step_buttons"] = [
            (f"{reverse(f'{base}_{step.slug}')}?id={row.pk}", step)
            for step in self.steps
            if row and self.may(request, step) and self.offers(row, step)
        ]
        return super().render_change_form(request, context, *args, **kwargs)
