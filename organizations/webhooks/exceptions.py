"""Why work on webhooks is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


class WebhookError(Exception):
    """Base of every refusal in this room."""


@dataclass
class WebhookNotFound(WebhookError):
    """There is no such endpoint or delivery, or it is out of the actor's reach."""

    id: UUID | None = None


@dataclass
class OrganizationOutOfReach(WebhookError):
    """The actor does not run this organization, or there is none."""

    organization_id: UUID | None = None


@dataclass
class TargetRefused(WebhookError):
    """A request must not go to this address. ``reason`` says why, without quoting the address."""

    reason: str


@dataclass
class UnknownEvents(WebhookError):
    """These are no events that an endpoint can choose."""

    events: Sequence[str]


@dataclass
class TooManyEndpoints(WebhookError):
    """The organization has as many endpoints as it may have."""

    most: int


class EndpointDisabled(WebhookError):
    """Nothing is sent to a disabled endpoint."""


class AlreadyPending(WebhookError):
    """The message is on its way already."""
