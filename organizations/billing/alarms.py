"""What tells people that Stripe has not done yet what it was asked to do."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from erasure import health, metrics
from organizations.billing.models import BillingOrder

NAME = "billing"
PATIENCE = timedelta(hours=1)


def look(now: datetime) -> str:
    """Return what is wrong, in words without personal data; nothing when all is well."""
    waiting = BillingOrder.objects.open()
    if not settings.STRIPE_API_KEY:
        number = waiting.count()
        return (
            f"orders to Stripe that wait: {number}, and STRIPE_API_KEY is not set" if number else ""
        )
    late = waiting.filter(created_at__lte=now - PATIENCE)
    if not (number := late.count()):
        return ""
    error = late.order_by("created_at").values_list("last_error", flat=True).first()
    why = f" ({error})" if error else ": run manage.py worker"
    return f"orders to Stripe that wait for more than an hour: {number}{why}"


class BillingCollector(Collector):
    """Numbers for a monitor, read in one query."""

    def collect(self) -> Iterator[Metric]:
        found = BillingOrder.objects.open().aggregate(number=Count("pk"), since=Min("created_at"))
        age = (timezone.now() - found["since"]).total_seconds() if found["since"] else 0.0
        yield GaugeMetricFamily(
            "billing_orders_open", "Orders that Stripe has not confirmed.", value=found["number"]
        )
        yield GaugeMetricFamily(
            "billing_oldest_order_age_seconds",
            "For how long the oldest open order has waited; 0 when none does.",
            value=age,
        )


def register() -> None:
    """Have readiness, the review desk and the metrics tell of orders."""
    health.register_alarm(NAME, look)
    metrics.registry.register(BillingCollector())
