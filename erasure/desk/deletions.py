"""The review desk: every deletion by state, and a page for each that tells its story."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html

from erasure.desk import papers, views
from erasure.desk.banners import make_banners
from erasure.desk.deletionsteps import (
    ERASE,
    HOLD,
    RELEASE,
    RESTORE,
    RETRY,
    RIGHTS,
    fits,
    name_of,
    show_when,
)
from erasure.desk.filters import AskedFilter, CauseFilter, KindFilter, ViewFilter
from erasure.desk.holds import AboutSubject
from erasure.desk.proposals import name_subjects
from erasure.desk.shown import (
    show_deletion,
    show_id,
    show_time,
    tell_next,
    tell_requester,
    tell_verdict,
)
from erasure.desk.sources import gather
from erasure.desk.staff import find_id
from erasure.desk.steps import ConfirmedSteps, Step
from erasure.desk.story import tell_story
from erasure.models import DeletionRequest
from erasure.subjects import get_kind, kind_names


class Requests(ChangeList):
    """Names the living subjects of a page in one query for each kind."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        attach_names(request.user, self.result_list)


def attach_names(user: Any, rows: list[Any]) -> None:
    """Give each request the name of its subject as ``living``, where there is one to be seen."""
    names = name_subjects(user, [row.subject for row in rows])
    for row in rows:
        row.living = names.get(row.subject, "")


class DeletionRequestAdmin(ConfirmedSteps, AboutSubject):
    steps = (RESTORE, HOLD, RELEASE, RETRY, ERASE)
    actions = ("restore", "hold", "erase")
    change_list_template = "erasure/desk/requests.html"
    list_display = ("subject", "shown_state", "what_next", "asked", "by", "when")
    list_display_links = ("subject",)
    list_filter = (ViewFilter, KindFilter, AskedFilter, CauseFilter)
    list_per_page = 50
    show_full_result_count = False
    paginator = views.CappedPaginator
    id_columns = ("pk", "subject_id", "requested_by_id", "organization_id")
    search_fields = ("request_id",)
    search_help_text = "Any id (usr_…, del_…, req_… or plain), e-mail address, username or slug"

    def describe(self, row: DeletionRequest) -> str:
        return f"{show_id(row.subject_kind, row.subject_id)} ({row.state})"

    def get_urls(self) -> Any:
        return papers.paths_of(self) + super().get_urls()

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.with_hold()

    def get_ordering(self, request: HttpRequest) -> Any:
        chosen = request.GET.get("view")
        # An id holds the moment at which it was made, and has an index of its own.
        return next((view.order for view in views.VIEWS if view.slug == chosen), ("-id",))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        return Requests

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        term = search_term.strip()
        if not term:
            return queryset, False
        if find_id(term) is not None:
            return super().get_search_results(request, queryset, term)
        if term.startswith("req_"):
            return queryset.filter(request_id=term), False
        return queryset.filter(views.find_living(request.user, term)), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        now = timezone.now()
        counts = views.count_views(now)
        chosen = request.GET.get("view", "")
        context = {
            "title": "Review desk",
            "tiles": views.make_tiles(counts, chosen=chosen, url=self.list_url()),
            "banners": make_banners(counts, request.user, now, site=self.admin_site.name),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def may(self, request: HttpRequest, step: Step) -> bool:
        if (right := RIGHTS.get(step.slug)) is None:
            return super().may(request, step)
        mine = any(request.user.has_perm(right(get_kind(name))) for name in kind_names())
        return self.has_view_permission(request) and mine

    def may_act(self, request: HttpRequest, row: Any, step: Step) -> bool:
        if (right := RIGHTS.get(step.slug)) is None or row.subject_kind not in kind_names():
            return self.may(request, step)
        has_right = request.user.has_perm(right(get_kind(row.subject_kind)))
        return self.has_view_permission(request) and has_right

    def offers(self, row: Any, step: Step) -> bool:
        return fits(row, step, views.tell_view(row, timezone.now()).slug)

    def subject_of(self, row: DeletionRequest) -> Any:
        return row.subject

    def lead_back(self, request: HttpRequest, rows: Any) -> str:
        return self.url_of("change", rows[0].pk) if len(rows) == 1 else self.list_url()

    def _find(self, request: HttpRequest, wanted: Any) -> list[Any]:
        rows = super()._find(request, wanted)
        attach_names(request.user, rows)
        return rows

    def get_open(self, request: HttpRequest, pk: UUID | str) -> Any:
        """Return a request for its own pages. Raises PermissionDenied or Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row: Any = self.get_object(request, str(pk))
        if row is None:
            raise Http404
        attach_names(request.user, [row])
        return row

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied
        row, now = self.get_open(request, object_id), timezone.now()
        return self.render_page(
            request,
            "erasure/desk/request.html",
            title=show_id(row.subject_kind, row.subject_id),
            name=row.living.partition(" (")[0],
            row=row,
            deletion=show_deletion(row.pk),
            view=views.tell_view(row, now),
            verdict=tell_verdict(row, held=row.held, now=now),
            story=tell_story(gather(row), now=now),
            buttons=self.buttons_of(request, row),
            papers=papers.links_of(self, request, row),
            **(extra_context or {}),
        )

    def has_restore_permission(self, request: HttpRequest) -> bool:
        return self.may(request, RESTORE)

    def has_hold_permission(self, request: HttpRequest) -> bool:
        return self.may(request, HOLD)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return self.may(request, ERASE)

    @admin.action(description="Restore…", permissions=["restore"])
    def restore(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, RESTORE.slug, queryset)

    @admin.action(description="Place a legal hold…", permissions=["hold"])
    def hold(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, HOLD.slug, queryset)

    @admin.action(description="Erase…", permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return self.ask(request, ERASE.slug, queryset)

    @admin.display(description="Subject")
    def subject(self, row: Any) -> str:
        text = show_id(row.subject_kind, row.subject_id)
        name = name_of(row).partition(" (")[0] if row.living else ""
        shown = format_html('<span class="living">{}</span>', name) if name else ""
        return format_html('{}<span class="typed-id">{}</span>', shown, text)

    @admin.display(description="State")
    def shown_state(self, row: Any) -> str:
        view = views.tell_view(row, timezone.now())
        return format_html('<span class="badge {}">{}</span>', view.tone, view.name)

    @admin.display(description="What happens next")
    def what_next(self, row: Any) -> str:
        return tell_next(row, held=row.held, now=timezone.now())

    @admin.display(description="Asked for", ordering="requested_at")
    def asked(self, row: DeletionRequest) -> str:
        return show_time(row.requested_at)

    @admin.display(description="By")
    def by(self, row: DeletionRequest) -> str:
        who = tell_requester(row)
        return format_html('{}<span class="through">{}</span>', who, row.channel)

    @admin.display(description="Due or ended", ordering="due_at")
    def when(self, row: DeletionRequest) -> str:
        return show_when(row)
