"""Orders whose time has come are tried again, should their wake-up have got lost."""

from datetime import datetime

from erasure.chores import Errand, register_errand
from erasure.engines import wake
from organizations.billing.models import BillingOrder
from organizations.billing.tasks import settle_orders


def count_due(now: datetime) -> int:
    return BillingOrder.objects.due(now).count()


def wake_orders(now: datetime) -> int:
    if due := count_due(now):
        wake(settle_orders)
    return due


register_errand(Errand("billing orders", count_due, wake_orders))
