"""What everybody at the desk must see before anything else: a pause, work that is overdue, what
waits for somebody's decision."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.text import capfirst

from erasure.bulk import APPROVE
from erasure.desk.shown import show_manager, show_number, show_person, show_span, show_time
from erasure.desk.views import condition_of
from erasure.health import find_alarms
from erasure.models import BulkErasure, DeletionRequest, LegalHold, Pause

SHOWN = 5


@dataclass(frozen=True)
class Banner:
    """One line at the top of the desk; ``url`` is empty where the reader may not go."""

    tone: str
    title: str
    text: str
    url: str
    link: str


def make_banners(counts: Mapping[str, int], user: Any, now: datetime, *, site: str) -> list[Banner]:
    """Return the banners of this moment, the gravest first."""

    def url(model: str, permission: str, query: str = "") -> str:
        if not user.has_perm(permission):
            return ""
        return reverse(f"admin:erasure_{model}_changelist", current_app=site) + query

    desk = url("deletionrequest", "erasure.view_deletionrequest")
    return [
        *_alarms(now),
        *_pauses(url("pause", "erasure.view_pause", "?state=standing")),
        *_late(counts, now, desk),
        *_failed(counts, desk),
        *_reviews(url("legalhold", "erasure.view_legalhold", "?state=review")),
        *_proposals(url("bulkerasure", APPROVE, "?state__exact=proposed")),
    ]


def _alarms(now: datetime) -> Iterator[Banner]:
    """What turns readiness red in other rooms: whoever sits here can do something about it."""
    for name, text in find_alarms(now).items():
        yield Banner("bad", f"{capfirst(name)} needs somebody", f"{capfirst(text)}.", "", "")


def _pauses(url: str) -> Iterator[Banner]:
    standing = list(Pause.objects.standing().order_by("placed_at")[: SHOWN + 1])
    for pause in standing[:SHOWN]:
        scope = f"of {show_manager(pause.organization_id)} " if pause.organization_id else ""
        by = f", by {show_person(pause.placed_by_id)}" if pause.placed_by_id else ""
        yield Banner(
            "pause",
            f"Erasure {scope}is paused",
            f"{pause.reason.rstrip('.')}. Since {show_time(pause.placed_at)}{by}.",
            url,
            "See pauses",
        )
    if len(standing) > SHOWN:
        yield Banner("pause", "More pauses stand", "They are not all shown here.", url, "See all")


def _late(counts: Mapping[str, int], now: datetime, url: str) -> Iterator[Banner]:
    if not (number := counts["overdue"]):
        return
    late: Any = condition_of("overdue", now)
    oldest = DeletionRequest.objects.open().with_hold().filter(late).order_by("due_at").first()
    since = f" The oldest has been due for {show_span(now - oldest.due_at)}." if oldest else ""
    text = f"{show_number(number)} should be gone by now.{since} Look whether the purge runs."
    yield Banner("bad", "Erasure is behind", text, f"{url}?view=overdue", "See them")


def _failed(counts: Mapping[str, int], url: str) -> Iterator[Banner]:
    if number := counts["failed"]:
        text = f"{show_number(number)} could not be erased and will be tried again."
        yield Banner("bad", "Attempts have failed", text, f"{url}?view=failed", "See why")


def _reviews(url: str) -> Iterator[Banner]:
    due = LegalHold.objects.active().filter(review_at__lte=timezone.localdate()).count()
    if due and url:
        text = f"{show_number(due)} stand beyond the day on which somebody wanted to look again."
        yield Banner("plain", "Legal holds are due for review", text, url, "Review")


def _proposals(url: str) -> Iterator[Banner]:
    if not url:
        return
    waiting = BulkErasure.objects.filter(state=BulkErasure.State.PROPOSED).count()
    if waiting:
        text = f"{show_number(waiting)} wait for a second person."
        yield Banner("plain", "Bulk erasures are proposed", text, url, "Decide")
