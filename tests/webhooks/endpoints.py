"""What the tests of webhooks share: endpoints, and deliveries at a chosen time."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from organizations.models import Organization
from organizations.webhooks.delivering import deliver_due
from organizations.webhooks.events import DESCRIPTIONS
from organizations.webhooks.models import Endpoint
from organizations.webhooks.sealing import seal
from organizations.webhooks.signatures import make_secret

EVERY = tuple(DESCRIPTIONS)


def make_endpoint(
    organization: Organization | None,
    url: str = "https://hooks.example.com/in",
    *events: str,
    name: str = "",
) -> tuple[Endpoint, str]:
    """Give an organization, or the whole instance, an endpoint; return it with its secret."""
    secret = make_secret()
    endpoint = Endpoint.objects.create(
        organization=organization,
        name=name,
        url=url,
        events=f" {' '.join(events or EVERY)} ",
        secret=seal(secret),
        created_at=timezone.now(),
    )
    return endpoint, secret


def deliver_all(now: datetime | None = None, *, least: Sequence[str] = ()) -> int:
    """Deliver whatever is due at a moment; return how many tries that took."""
    at = now or timezone.now() + timedelta(milliseconds=1)
    tries = 0
    while some := deliver_due(clock=lambda: at):
        tries += some
    return tries
