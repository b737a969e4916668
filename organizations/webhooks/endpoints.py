"""Making and changing endpoints. Whoever runs an organization manages its endpoints, with a key of
their own or of the organization's; staff manage the recipients of the whole instance."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.rights import require_staff
from erasure.subjects import lock_subject
from erasure.typeids import spell_id
from organizations.services import administered_by
from organizations.standing import forbid_archived
from organizations.webhooks.delivering import give_up
from organizations.webhooks.events import DESCRIPTIONS
from organizations.webhooks.exceptions import (
    OrganizationOutOfReach,
    TooManyEndpoints,
    UnknownEvents,
    WebhookNotFound,
)
from organizations.webhooks.models import Endpoint
from organizations.webhooks.recipients import ENDPOINT
from organizations.webhooks.sealing import seal
from organizations.webhooks.signatures import make_secret
from organizations.webhooks.targets import read_target

OVERLAP = timedelta(days=1)
"""For so long a former secret signs beside the new one, unless another time is asked for."""

LONGEST_OVERLAP = timedelta(days=30)

SWITCHED_OFF = "Switched off by hand."


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """An endpoint as its owner may see it."""

    id: UUID
    organization_id: UUID | None
    name: str
    url: str
    events: list[str]
    is_active: bool
    disabled_reason: str
    former_until: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewSecret:
    """An endpoint with the secret that was just made for it, which is shown once."""

    endpoint: EndpointFacts
    secret: str


def create_endpoint(
    *,
    actor: Actor,
    organization_id: UUID | None,
    url: str,
    events: Collection[str],
    name: str = "",
    now: datetime,
) -> NewSecret:
    """Make an endpoint of an organization; of the whole instance when that is None.

    Raises OrganizationOutOfReach, OrganizationArchived, RightMissing, TargetRefused, UnknownEvents
    or TooManyEndpoints.
    """
    read_target(url)
    chosen = check_events(events)
    secret = make_secret()
    with transaction.atomic(durable=True):
        require_reach(actor, organization_id, may="add", is_locking=True)
        if organization_id is not None:
            mine = Endpoint.objects.filter(organization_id=organization_id)
            if mine.count() >= settings.WEBHOOKS_MOST_ENDPOINTS:
                raise TooManyEndpoints(settings.WEBHOOKS_MOST_ENDPOINTS)
        endpoint = Endpoint.objects.create(
            organization_id=organization_id,
            name=name,
            url=url,
            events=chosen,
            secret=seal(secret),
            created_at=now,
        )
        _record("webhook.created", endpoint, actor, now, events=endpoint.chosen)
    return NewSecret(describe(endpoint), secret)


def list_endpoints(*, actor: Actor, organization_id: UUID) -> list[EndpointFacts]:
    """Return an organization's endpoints, newest first. Raises OrganizationOutOfReach."""
    require_reach(actor, organization_id, may="view")
    return [describe(one) for one in Endpoint.objects.filter(organization_id=organization_id)]


def read_endpoint(*, actor: Actor, organization_id: UUID, endpoint_id: UUID) -> EndpointFacts:
    """Return one endpoint. Raises OrganizationOutOfReach or WebhookNotFound."""
    return describe(find_endpoint(actor, organization_id, endpoint_id))


def update_endpoint(
    *,
    actor: Actor,
    organization_id: UUID | None,
    endpoint_id: UUID,
    now: datetime,
    url: str | None = None,
    events: Collection[str] | None = None,
    name: str | None = None,
    is_active: bool | None = None,
) -> EndpointFacts:
    """Change what is given. Switched off, an endpoint hears of nothing, and what was on its way is
    given up; switched on again, it hears of what happens from then on.

    Raises what ``create_endpoint`` raises, or WebhookNotFound.
    """
    if url is not None:
        read_target(url)
    chosen = check_events(events) if events is not None else None
    with transaction.atomic(durable=True):
        endpoint = _lock(actor, organization_id, endpoint_id, may="change")
        given = {"url": url, "events": chosen, "name": name, "is_active": is_active}
        changed = [field for field, value in given.items() if value is not None]
        for field in changed:
            setattr(endpoint, field, given[field])
        if is_active is not None:
            endpoint.disabled_reason = "" if is_active else SWITCHED_OFF
        endpoint.save()
        if is_active is False:
            give_up(endpoint.pk, "given up: the endpoint is disabled", now=now)
        _record("webhook.updated", endpoint, actor, now, changed=sorted(changed))
        return describe(endpoint)


def delete_endpoint(
    *, actor: Actor, organization_id: UUID | None, endpoint_id: UUID, now: datetime
) -> None:
    """Remove an endpoint with its history and whatever is on its way. Raises
    OrganizationOutOfReach, OrganizationArchived, RightMissing or WebhookNotFound."""
    with transaction.atomic(durable=True):
        endpoint = _lock(actor, organization_id, endpoint_id, may="delete")
        give_up(endpoint.pk, "given up: the endpoint was removed", now=now)
        _record("webhook.deleted", endpoint, actor, now)
        endpoint.delete()


def rotate_secret(
    *,
    actor: Actor,
    organization_id: UUID | None,
    endpoint_id: UUID,
    now: datetime,
    overlap: timedelta = OVERLAP,
) -> NewSecret:
    """Make a new secret. The former one signs, too, for as long as ``overlap`` says; one that was
    former already ends at once. Raises what ``delete_endpoint`` raises."""
    secret = make_secret()
    with transaction.atomic(durable=True):
        endpoint = _lock(actor, organization_id, endpoint_id, may="change")
        endpoint.former_secret = endpoint.secret if overlap else ""
        endpoint.former_until = now + overlap if overlap else None
        endpoint.secret = seal(secret)
        endpoint.save()
        _record("webhook.secret_rotated", endpoint, actor, now)
    return NewSecret(describe(endpoint), secret)


def find_endpoint(actor: Actor, organization_id: UUID, endpoint_id: UUID) -> Endpoint:
    """Return an endpoint of an organization within the actor's reach. Raises
    OrganizationOutOfReach or WebhookNotFound."""
    require_reach(actor, organization_id, may="view")
    rows = Endpoint.objects.filter(pk=endpoint_id, organization_id=organization_id)
    found: Endpoint | None = rows.first()
    if found is None:
        raise WebhookNotFound(endpoint_id)
    return found


def require_reach(
    actor: Actor, organization_id: UUID | None, *, may: str, is_locking: bool = False
) -> None:
    """Raise OrganizationOutOfReach unless the actor runs the organization or is it, and
    RightMissing where there is none and the actor is no staff that ``may`` do this. With
    ``is_locking`` the organization is locked first, in the caller's transaction, and
    OrganizationArchived is raised for one that is archived."""
    if organization_id is None or actor.channel == "admin":
        require_staff(actor, f"webhooks.{may}_endpoint")
        return
    if is_locking:
        row = lock_subject(Reference("organization", organization_id))
        if row is None or row.is_deleted:
            raise OrganizationOutOfReach(organization_id)
        forbid_archived(row)
    if actor.organization_id == organization_id:
        return
    if organization_id not in administered_by(actor):
        raise OrganizationOutOfReach(organization_id)


def check_events(events: Collection[str]) -> str:
    """Return chosen events as they are stored. Raises UnknownEvents, for none at all as well."""
    unknown = sorted(set(events) - DESCRIPTIONS.keys())
    if unknown or not events:
        raise UnknownEvents(unknown)
    return f" {' '.join(name for name in DESCRIPTIONS if name in set(events))} "


def describe(endpoint: Endpoint) -> EndpointFacts:
    """Return what may be shown of an endpoint."""
    return EndpointFacts(
        id=endpoint.pk,
        organization_id=endpoint.organization_id,
        name=endpoint.name,
        url=endpoint.url,
        events=endpoint.chosen,
        is_active=endpoint.is_active,
        disabled_reason=endpoint.disabled_reason,
        former_until=endpoint.former_until,
        created_at=endpoint.created_at,
    )


def _lock(actor: Actor, organization_id: UUID | None, endpoint_id: UUID, *, may: str) -> Endpoint:
    require_reach(actor, organization_id, may=may, is_locking=True)
    rows = Endpoint.objects.select_for_update()
    found: Endpoint | None = rows.filter(pk=endpoint_id, organization_id=organization_id).first()
    if found is None:
        raise WebhookNotFound(endpoint_id)
    return found


def _record(action: str, endpoint: Endpoint, actor: Actor, now: datetime, **facts: Any) -> None:
    subject = Reference("webhook", endpoint.pk)
    if endpoint.organization_id is not None:
        subject = Reference("organization", endpoint.organization_id)
    known = {"webhook": spell_id(ENDPOINT, endpoint.pk), **facts}
    record(action, actor=actor, subject=subject, now=now, facts=known)
