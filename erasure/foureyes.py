"""How many erasures one member of staff may order alone, and when it takes a second person.

What somebody orders in small portions is added up over a window of time: ten today at noon and ten
more at one are twenty.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model

from audit.actors import Actor
from audit.events import Reference
from erasure.exceptions import SecondPersonNeeded
from erasure.models import DeletionRequest
from erasure.people import kind_of_users, name_of_users, user_key


def threshold() -> int:
    """Return how many subjects one member of staff may erase alone within the window."""
    return int(getattr(settings, "BULK_THRESHOLD", 10))


def window() -> timedelta:
    """Return the time over which erasures are added up: the setting BULK_WINDOW, or a day."""
    found: timedelta = getattr(settings, "BULK_WINDOW", timedelta(hours=24))
    return found


def count_ordered(person_id: UUID | None, now: datetime) -> int:
    """Return how many subjects somebody has had erased alone within the window. Whoever went along
    with one of them is not counted, nor what a second person has approved."""
    if person_id is None:
        return 0
    mine = DeletionRequest.objects.filter(ordered_by_id=person_id, started_at__gt=now - window())
    return int(mine.count())


def forbid_alone(actor: Actor, now: datetime) -> None:
    """Raise SecondPersonNeeded when a person may order no more erasures alone. Call it with that
    person's row locked, so that two requests at once are two."""
    if actor.kind == "system":
        return
    if (done := count_ordered(actor.person_id, now)) >= threshold():
        raise SecondPersonNeeded(done, threshold(), window())


def lock_orderer(actor: Actor) -> list[Reference]:
    """Return whom to lock along with the subject, so that no two erasures of one person pass the
    count at once. Users who are no subjects of deletion are locked here: nobody waits for them."""
    if actor.kind == "system" or actor.person_id is None:
        return []
    if kind_of_users() is not None:
        return [Reference(name_of_users(), actor.person_id)]
    users: Any = get_user_model()
    users._default_manager.select_for_update().filter(pk=user_key(actor.person_id)).first()
    return []
