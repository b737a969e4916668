"""The bases of the staff's pages: rows named by plain ids, and pages that are only for reading."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.admin import ActionLocation
from django.contrib.admin.helpers import AdminForm
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst

from audit.actors import Actor
from erasure.desk.foreseen import Seen
from erasure.desk.history import record_entry
from erasure.desk.refusals import explain
from erasure.desk.shown import speak_ids
from erasure.desk.staff import AnyAdmin, actor_of, find_id
from erasure.refusals import has_words

logger = logging.getLogger("sexton.staff")


@dataclass(frozen=True)
class Order:
    """What one member of staff wants done to one row, now. ``plan_id`` names the plan that their
    page showed, ``planned`` is its record, ``data`` holds what they filled in."""

    actor: Actor
    id: UUID
    now: datetime
    plan_id: str = ""
    planned: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        return str(self.data.get("reference", ""))


Act = Callable[[Order], str]
"""Does one thing to one row; returns what to report."""


class StaffAdmin(AnyAdmin):
    """Names rows by ``describe``, on the page and in the admin's own history; finds them by id."""

    id_columns: ClassVar[tuple[str, ...]] = ("pk",)
    """Where an id that is searched for may stand. Empty where ids are no UUIDs."""

    class Media:
        css = {"all": ["erasure/desk.css"]}

    def describe(self, row: Any) -> str:
        """Return a row's name for staff. It is kept in the history: no personal data."""
        return speak_ids(str(row))

    def head(self, row: Any) -> str:
        """Return a row's name as a heading. It may be personal: it stays on the page."""
        return self.describe(row)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        if not self.id_columns or (pk := find_id(search_term)) is None:
            return super().get_search_results(request, queryset, search_term)
        anywhere = Q(*((column, pk) for column in self.id_columns), _connector=Q.OR)
        return queryset.filter(anywhere), False

    def report_each(
        self,
        request: HttpRequest,
        rows: Iterable[tuple[UUID, str]],
        act: Act,
        data: Mapping[str, Any] | None = None,
        plans: Mapping[UUID, Seen] | None = None,
    ) -> None:
        """Act on each row on its own, and report on each by a message of its own."""
        actor = replace(actor_of(request), reason=(data or {}).get("reason", ""))
        for pk, name in rows:
            level = messages.ERROR
            seen = (plans or {}).get(pk, Seen("", None))
            try:
                text = act(Order(actor, pk, timezone.now(), *seen, data or {}))
                level = messages.SUCCESS
            except Exception as error:
                if has_words(type(error)):
                    text = explain(error)
                else:
                    # The others still get their turn; the log tells what went wrong here.
                    logger.exception("staff action failed", extra={"row": str(pk)})
                    text = "nothing was done: something went wrong. The log has the details."
            self.message_user(request, f"{capfirst(self.opts.verbose_name)} {name}: {text}", level)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record_entry("admin.added", request, obj, message)
        return self._name_entry(super().log_addition(request, obj, message), obj)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record_entry("admin.changed", request, obj, message)
        return self._name_entry(super().log_change(request, obj, message), obj)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            record_entry("admin.deleted", request, obj, "")
        return super().log_deletions(request, queryset)

    def get_actions(
        self, request: HttpRequest, action_location: Any = ActionLocation.CHANGE_LIST
    ) -> Any:
        found: Any = super().get_actions(request, action_location)
        if chosen := found.get("delete_selected"):
            # Django opens no transaction for it, and rows and their events go together.
            together = transaction.atomic(chosen.func)
            found["delete_selected"] = replace(chosen, func=together)
        return found

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

    def render_page(self, request: HttpRequest, template: str, **context: Any) -> TemplateResponse:
        """Return a page of the admin's looks."""
        request.current_app = self.admin_site.name
        frame = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, template, {**frame, **context})

    def render_form(
        self, request: HttpRequest, form: forms.Form, template: str, **context: Any
    ) -> TemplateResponse:
        """Return a page of the admin's looks around a form of our own."""
        fieldsets: Any = [(None, {"fields": list(form.fields)})]
        plain: Any = form
        mine = {
            "form": form,
            "adminform": AdminForm(plain, fieldsets, {}),
            "media": self.media + form.media,
        }
        return self.render_page(request, template, **{**mine, **context})

    def url_of(self, name: str, *args: Any) -> str:
        """Return the address of one of this model's own pages, such as ``changelist``."""
        full = f"admin:{self.opts.app_label}_{self.opts.model_name}_{name}"
        return reverse(full, args=args, current_app=self.admin_site.name)

    def list_url(self) -> str:
        return self.url_of("changelist")

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
