"""What a monitor watches, in Prometheus' text format, read from the database at every scrape.

So each process answers the same, however many serve, and a restart forgets nothing. Numbers only:
no id, no name, no reason.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Q
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from erasure import totals
from erasure.clocks import SWEPT
from erasure.models import DeletionRequest, Heartbeat, Pause

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REQUESTS = {
    "scheduled": "Deletions whose grace period runs.",
    "due": "Deletions whose time has come and that no legal hold stops.",
    "overdue": "Due deletions whose time came long ago (ERASURE_OVERDUE_HOURS).",
    "failed": "Open deletions whose last attempt failed.",
    "running": "Deletions that a worker is carrying out.",
    "stalled": "Deletions whose worker died: their lease has lapsed.",
    "held": "Open deletions that a legal hold stops.",
}


class ErasureCollector(Collector):
    """Reads everything in a few queries."""

    def collect(self) -> Iterator[Metric]:
        now = timezone.now()
        yield from _requests(now)
        yield from _pauses()
        yield from _sweep(now)
        subjects, rows = totals.read_totals(now)
        yield CounterMetricFamily("erasure_subjects", "Subjects erased.", value=subjects)
        yield CounterMetricFamily("erasure_rows", "Rows removed by erasures.", value=rows)


registry = CollectorRegistry()
registry.register(ErasureCollector())


def render_metrics() -> bytes:
    """Return all metrics as a scrape reads them."""
    return generate_latest(registry)


def overdue_after() -> timedelta:
    after: timedelta = getattr(settings, "ERASURE_OVERDUE_AFTER", timedelta(days=1))
    return after


def _requests(now: datetime) -> Iterator[Metric]:
    # All, less those on hold, rather than one condition: a database looks for the hold of each of
    # a million requests, or finds the requests of a few holds at once.
    everything = _count(DeletionRequest.objects.open(), now)
    held = _count(DeletionRequest.objects.open().with_hold().filter(held=True), now)
    counts = {name: everything[name] - held[name] for name in ("due", "overdue")}
    counts |= {name: everything[name] for name in ("scheduled", "failed", "running", "stalled")}
    counts["held"] = held["open"]
    for name, text in REQUESTS.items():
        yield GaugeMetricFamily(f"erasure_requests_{name}", text, value=counts[name])
    yield GaugeMetricFamily(
        "erasure_oldest_due_age_seconds",
        "For how long the oldest due deletion has been due; 0 when none is.",
        value=_oldest_due_age(now),
    )


def _count(requests: Any, now: datetime) -> dict[str, int]:
    due = Q(due_at__lte=now)
    running = Q(state="running")
    counts: dict[str, int] = requests.aggregate(
        open=Count("pk"),
        scheduled=Count("pk", filter=Q(state="scheduled", due_at__gt=now)),
        due=Count("pk", filter=due),
        overdue=Count("pk", filter=Q(due_at__lte=now - overdue_after())),
        failed=Count("pk", filter=Q(state="failed")),
        running=Count("pk", filter=running & Q(lease_until__gt=now)),
        stalled=Count("pk", filter=running & Q(lease_until__lte=now)),
    )
    return counts


def _oldest_due_age(now: datetime) -> float:
    due = DeletionRequest.objects.open().with_hold().filter(held=False, due_at__lte=now)
    oldest = due.order_by("due_at", "id").values_list("due_at", flat=True).first()
    return (now - oldest).total_seconds() if oldest else 0.0


def _pauses() -> Iterator[Metric]:
    standing = Pause.objects.standing().aggregate(
        everything=Count("pk", filter=Q(organization_id=None)),
        organization=Count("pk", filter=~Q(organization_id=None)),
    )
    family = GaugeMetricFamily(
        "erasure_pauses", "Brakes that are on, of everything or of one organization.", labels=["of"]
    )
    for of, number in standing.items():
        family.add_metric([of], number)
    yield family


def _sweep(now: datetime) -> Iterator[Metric]:
    last = Heartbeat.objects.filter(name=SWEPT).first()
    if last is None:
        # No sample rather than a lie; absent() finds it.
        return
    yield GaugeMetricFamily(
        "erasure_last_sweep_age_seconds",
        "Since when nothing has swept.",
        value=(now - last.at).total_seconds(),
    )
    yield GaugeMetricFamily(
        "erasure_last_sweep_failed_steps",
        "Steps of the last sweep that failed.",
        value=len(last.facts.get("failed", {})),
    )
