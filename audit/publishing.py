"""Checkpoints leave the machine: whoever registers here is given each new one, at least once.

A newer checkpoint vouches for all before it, so nobody is given one that has been overtaken: a
publisher that was down for a day gets the newest. What was published is noted after the publisher
has returned; should we die in between it is published again. What the note claims is believed only
as far as it can be true: it lies in the database, where anybody with its password may write.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, Subquery
from django.db.models.functions import Coalesce

from audit import signers
from audit.models import Checkpoint, Publication
from audit.notes import InvalidNote, open_note

logger = logging.getLogger("sexton.audit")


@dataclass(frozen=True)
class Publisher:
    """Somebody outside. ``publish`` takes size and note and raises whatever goes wrong; ``every``
    is the least time between two."""

    name: str
    publish: Callable[[int, str], None]
    every: timedelta = timedelta()


Publishers = Callable[[], Iterable[Publisher]]
Kept = Callable[[], Iterable[tuple[str, str]]]

_publishers: dict[str, Publishers] = {}
_archives: dict[str, Kept] = {}


def register_publishers(name: str, publishers: Publishers) -> None:
    """Add whom checkpoints go to. Asked at each seal, so that settings may change."""
    _publishers[name] = publishers


def register_archive(name: str, read: Kept) -> None:
    """Add where older checkpoints are read again, as names and notes: the log is held against
    them."""
    _archives[name] = read


def read_archives() -> Iterable[tuple[str, str]]:
    """Yield the checkpoints that are kept elsewhere, as names and notes."""
    for read in _archives.values():
        yield from read()


def publish(*, now: datetime) -> dict[str, str]:
    """Give the newest checkpoint to everybody who is due; return the failures by publisher."""
    # Before the newest, so that another sealer's cannot seem to be ahead of it. Times stay in the
    # database, which can hold some that Python cannot.
    known = {it.name: it for it in Publication.objects.defer("at")}
    # Its note is read where a failure is told: it may be bytes that are no text.
    newest: Any = Checkpoint.objects.defer("note").last()
    failed: dict[str, str] = {}
    if newest is None:
        return failed
    for publisher in (it for many in list(_publishers.values()) for it in many()):
        past = known.get(publisher.name) or Publication(name=publisher.name)
        size: Any = past.size
        if not isinstance(size, int):
            past.size = 0
        if past.size == newest.size:
            continue
        is_ahead = isinstance(newest.size, int) and past.size >= newest.size
        if not is_ahead and _had_one_lately(publisher, now):
            continue
        try:
            _check(newest)
            publisher.publish(newest.size, newest.note)
        except Exception as error:
            # The next seal tries again; the others still get theirs.
            logger.exception("a checkpoint was not published", extra={"publisher": publisher.name})
            failed[publisher.name] = past.error = type(error).__name__
        else:
            past.size, past.at, past.error = newest.size, now, ""
        past.save()
    return failed


def count_behind() -> int:
    """Return how many publishers have failed at their last attempt, or are said to have what there
    is not: after a restored backup, or because somebody wrote so."""
    newest = Subquery(Checkpoint.objects.order_by("-size").values("size")[:1])
    return Publication.objects.filter(~Q(error="") | Q(size__gt=Coalesce(newest, 0))).count()


def _check(newest: Checkpoint) -> None:
    """Raise InvalidNote unless it is a checkpoint of this size that the service signed: what has
    left the machine nobody calls back, and the log would be held against it for good."""
    if open_note(newest.note, signers.verifiers()).size != newest.size:
        raise InvalidNote("It is another size's.")


def _had_one_lately(publisher: Publisher, now: datetime) -> bool:
    """Whether its time has not come yet. A time that lies ahead of us is none."""
    lately = Publication.objects.filter(at__gt=now - publisher.every, at__lte=now)
    return lately.filter(name=publisher.name).exists()
