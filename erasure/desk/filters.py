"""By what the list of deletions is narrowed down."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from erasure.desk import views
from erasure.subjects import kind_names
from erasure.typeids import read_uuid


class Chips(admin.SimpleListFilter):
    """A filter in one line above the list, whose whole width the columns need."""

    template = "erasure/desk/chips.html"


class ViewFilter(admin.SimpleListFilter):
    """Chosen by the tiles at the top."""

    title = "state"
    parameter_name = "view"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(view.slug, view.name) for view in views.VIEWS]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        condition = views.condition_of(self.value() or "", timezone.now())
        return queryset if condition is None else queryset.filter(condition)


class KindFilter(Chips):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in kind_names()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(subject_kind=self.value()) if self.value() else queryset


class CauseFilter(Chips):
    """Of one bulk or one organization; there only when a link brought it."""

    title = "decision"
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get(self.parameter_name, "")
        return [(given, "one decision")] if read_uuid(given) else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        cause = read_uuid(self.value() or "")
        return queryset.filter(cause_id=cause) if cause else queryset


class AskedFilter(Chips):
    title = "asked for"
    parameter_name = "asked"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "in 24 hours"), ("7", "in 7 days"), ("30", "in 30 days")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        days = {"1": 1, "7": 7, "30": 30}.get(self.value() or "")
        if days is None:
            return queryset
        return queryset.filter(requested_at__gte=timezone.now() - timedelta(days=days))
