"""What the review desk asks the database: which deletions are in which state, and how many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import BooleanField, Case, Count, Exists, OuterRef, Q, Value, When
from django.http import HttpRequest
from django.utils import timezone

from erasure.desk.shown import show_deletion, show_number, tell_next
from erasure.desk.staff import may_see
from erasure.models import DeletionRequest, LegalHold
from erasure.subjects import get_kind, kind_names

COUNTED = 10_000
"""Nobody reads a larger number of finished deletions, and counting them all takes seconds."""

FOUND = 500


@dataclass(frozen=True)
class View:
    """One state of deletions as staff think of it, and how its list is ordered."""

    slug: str
    name: str
    hint: str
    order: Sequence[str]
    tone: str = ""


BY_DUE = ("due_at", "id")
BY_END = ("-finished_at", "-id")
VIEWS = (
    View("grace", "In grace", "can be restored", BY_DUE),
    View("due", "Due", "erased by the next purge", BY_DUE),
    View("overdue", "Overdue", "should be gone by now", BY_DUE, "bad"),
    View("running", "Being erased", "a worker is on it", BY_DUE),
    View("held", "On hold", "a legal hold stands", BY_DUE, "held"),
    View("failed", "Failed", "tried again later", BY_DUE, "bad"),
    View("erased", "Erased", "finished, with a receipt", BY_END, "end"),
    View("restored", "Restored", "taken back in time", BY_END, "end"),
)
OPEN_VIEWS = VIEWS[:6]
ENDS = {"erased": "completed", "restored": "cancelled"}


@dataclass(frozen=True)
class Tile:
    view: View
    number: str
    is_zero: bool
    is_chosen: bool
    url: str


def overdue_after() -> timedelta:
    after: timedelta = getattr(settings, "ERASURE_OVERDUE_AFTER", timedelta(days=1))
    return after


def condition_of(slug: str, now: datetime) -> Q | None:
    """Return the condition on requests, annotated by ``with_hold``, that a view stands for.

    The open views are disjoint and leave no open request out.
    """
    late = now - overdue_after()
    waiting = Q(state="scheduled", held=False)
    stalled = Q(state="running", held=False) & (Q(lease_until=None) | Q(lease_until__lte=now))
    leased = Q(state="running", lease_until__gt=now)
    conditions = {
        "grace": waiting & Q(due_at__gt=now),
        "due": (stalled | waiting & Q(due_at__lte=now)) & Q(due_at__gt=late),
        "overdue": (waiting | stalled) & Q(due_at__lte=late),
        "running": leased,
        "held": Q(state__in=DeletionRequest.OPEN, held=True) & ~leased,
        "failed": Q(state="failed", held=False),
        "erased": Q(state="completed"),
        "restored": Q(state="cancelled"),
    }
    return conditions.get(slug)


def tell_view(request: Any, now: datetime) -> View:
    """Return the view that a request annotated by ``with_hold`` lies in."""
    late = now - overdue_after()
    by_slug = {view.slug: view for view in VIEWS}
    if request.state == "completed":
        return by_slug["erased"]
    if request.state == "cancelled":
        return by_slug["restored"]
    if request.is_leased(now):
        return by_slug["running"]
    if request.held:
        return by_slug["held"]
    if request.state == "failed":
        return by_slug["failed"]
    if request.state == "scheduled" and request.due_at > now:
        return by_slug["grace"]
    return by_slug["overdue" if request.due_at <= late else "due"]


def count_views(now: datetime) -> dict[str, int]:
    """Return how many requests each view holds; those that are finished up to COUNTED + 1."""
    conditions = {view.slug: condition_of(view.slug, now) for view in OPEN_VIEWS}
    numbers = {f"in_{slug}": Count("pk", filter=found) for slug, found in conditions.items()}
    # The few holds first: asking for each of a million open requests takes seconds.
    stopped = DeletionRequest.objects.open().filter(subject_id__in=_held_ids()).with_hold()
    held = Q(pk__in=list(stopped.filter(held=True).values_list("pk", flat=True)))
    known = Case(When(held, then=Value(True)), default=Value(False), output_field=BooleanField())
    found = DeletionRequest.objects.open().annotate(held=known).aggregate(**numbers)
    counts: dict[str, int] = {view.slug: found[f"in_{view.slug}"] for view in OPEN_VIEWS}
    for slug, state in ENDS.items():
        done = DeletionRequest.objects.filter(state=state, finished_at__isnull=False)
        counts[slug] = done.order_by()[: COUNTED + 1].count()
    return counts


def _held_ids() -> Any:
    return LegalHold.objects.active().values("subject_id")


def make_tiles(counts: Mapping[str, int], *, chosen: str, url: str) -> list[Tile]:
    """Return the numbers at the top of the desk; the chosen one leads back to the whole list."""
    return [
        Tile(
            view=view,
            number=tell_capped(counts[view.slug]),
            is_zero=not counts[view.slug],
            is_chosen=view.slug == chosen,
            url=url if view.slug == chosen else f"{url}?view={view.slug}",
        )
        for view in VIEWS
    ]


def tell_capped(number: int) -> str:
    return show_number(number) if number <= COUNTED else f"{show_number(COUNTED)}+"


def find_living(user: Any, text: str) -> Q:
    """Return the condition that finds requests by what is known of subjects that still exist, of
    the kinds that this member of staff may see."""
    found = Q(pk__in=[])
    for name in kind_names():
        kind = get_kind(name)
        if not may_see(user, name) or (condition := kind.search(text)) is None:
            continue
        rows = kind.model._default_manager.filter(condition).values_list("pk", flat=True)
        ids = [kind.id_of(pk) for pk in rows.order_by("-pk")[:FOUND]]
        found |= Q(subject_kind=name, subject_id__in=ids)
    return found


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to COUNTED rows: the first pages of a million are as fast as those of a few."""

    @property
    def count(self) -> int:
        listed: Any = self.object_list
        if not hasattr(self, "_counted"):
            self._counted = int(listed[:COUNTED].count())
        return self._counted


def attach_deletions(kind: str, rows: Sequence[Any]) -> None:
    """Give each subject's row its open deletion request as ``deletion``, and what stands on it,
    in one query."""
    known = get_kind(kind)
    by_subject = {
        request.subject_id: request
        for request in DeletionRequest.objects.open()
        .with_hold()
        .filter(subject_kind=kind, subject_id__in=[known.id_of(row.pk) for row in rows])
    }
    for row in rows:
        row.deletion = by_subject.get(known.id_of(row.pk))


def show_deletion_of(row: Any) -> str:
    """Return how far the deletion of a subject is, given its row with the deletion attached."""
    if row.deletion is None:
        return "none is open"
    told = tell_next(row.deletion, held=row.deletion.held, now=timezone.now())
    return f"{told} ({show_deletion(row.deletion.pk)})"


def changelist_with_deletions(kind: str) -> type[ChangeList]:
    """Return a change list that attaches the open requests of a page in one query."""

    class WithDeletions(ChangeList):
        def get_results(self, request: HttpRequest) -> None:
            super().get_results(request)
            self.result_list = list(self.result_list)
            attach_deletions(kind, self.result_list)

    return WithDeletions


def next_filter(kind: str) -> type[admin.SimpleListFilter]:
    """Return a filter of subjects by the state of their deletion."""

    class NextFilter(admin.SimpleListFilter):
        title = "what happens next"
        parameter_name = "next"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return [(view.slug, view.name) for view in OPEN_VIEWS]

        def queryset(self, request: HttpRequest, queryset: Any) -> Any:
            condition = condition_of(self.value() or "", timezone.now())
            if condition is None:
                return queryset
            about = DeletionRequest.objects.open().with_hold().filter(subject_kind=kind)
            return queryset.filter(Exists(about.filter(condition, subject_id=OuterRef("pk"))))

    return NextFilter
