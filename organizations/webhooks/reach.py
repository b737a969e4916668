"""Who is told of what.

An organization is told of itself, of its members and of the users that it manages; what becomes of
a member's own API key is not its affair, that of a user whom it manages is. A recipient of the
whole instance is told of everybody. An endpoint is told of the events that it chose.
"""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from organizations.models import ManagedUser, Membership
from organizations.webhooks.events import API_KEY_REVOKED
from organizations.webhooks.models import Endpoint

Receivers = dict[UUID, list[Endpoint]]


def find_receivers(event: str, kind: str, ids: Collection[UUID]) -> Receivers:
    """Return the endpoints that are to be told of an event about each of some subjects, those
    without any left out. A number of queries that does not grow with the subjects."""
    if not ids:
        return {}
    wanting = Endpoint.objects.wanting(event)
    wide = list(wanting.of_instance())
    found: Receivers = {pk: list(wide) for pk in ids} if wide else {}
    if kind == "organization":
        pairs = [(one.organization_id, one) for one in wanting.filter(organization_id__in=ids)]
    elif kind == "user":
        pairs = _of_users(wanting, event, ids)
    else:
        pairs = []
    for pk, endpoint in pairs:
        found.setdefault(pk, []).append(endpoint)
    # Somebody who is both a member and managed is told of once.
    return {pk: list(dict.fromkeys(several)) for pk, several in found.items()}


def _of_users(wanting: Any, event: str, ids: Collection[UUID]) -> list[tuple[UUID, Endpoint]]:
    belonging = _belonging(ManagedUser.objects.filter(user_id__in=ids))
    if event != API_KEY_REVOKED:
        belonging += _belonging(Membership.objects.filter(user_id__in=ids))
    of: dict[UUID, list[Endpoint]] = {}
    for endpoint in wanting.filter(organization_id__in={pk for _, pk in belonging}):
        of.setdefault(endpoint.organization_id, []).append(endpoint)
    return [(user, one) for user, organization in belonging for one in of.get(organization, ())]


def _belonging(rows: Iterable[Any]) -> list[tuple[UUID, UUID]]:
    found: Any = rows
    return list(found.order_by().values_list("user_id", "organization_id"))
