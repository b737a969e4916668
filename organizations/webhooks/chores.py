"""What a sweep sees to: deliveries that are due, and history that has become old."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef

from erasure.chores import Chore, Errand, register_chore, register_errand
from organizations.webhooks.delivering import count_due
from organizations.webhooks.models import Delivery, Message
from organizations.webhooks.tasks import see_to_due

CHUNK = 1000


def old_messages(now: datetime) -> Any:
    """Messages that were written long ago and are on their way to nobody."""
    under_way = Delivery.objects.filter(
        message_id=OuterRef("pk"), state__in=(Delivery.State.PENDING, Delivery.State.PREPARED)
    )
    old = Message.objects.filter(created_at__lte=now - settings.WEBHOOKS_HISTORY_KEPT)
    return old.filter(~Exists(under_way)).order_by("created_at")


def count_history(now: datetime) -> int:
    return int(old_messages(now).count())


def remove_history(now: datetime) -> int:
    """Remove old messages with their deliveries and tries, a thousand at once."""
    removed = 0
    while ids := list(old_messages(now).values_list("pk", flat=True)[:CHUNK]):
        # A crash between two chunks leaves the rest for the next sweep.
        Message.objects.filter(pk__in=ids).delete()
        removed += len(ids)
    return removed


HISTORY = Chore("webhook_history", "old webhook messages", count_history, remove_history)
register_chore(HISTORY)
register_errand(Errand("webhooks", count_due, see_to_due))
