"""What may leave the log: personal values, and events whose time is over.

Both leave proof behind. An event keeps its commitments to values that are gone, and the tree keeps
the hash of an event that is gone, so that every older proof still holds. And each is told of by an
event of its own, by which ``verify_audit_log`` tells a lawful removal from any other.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.models import Q
from django.utils import timezone

from audit.actors import Actor
from audit.doors import open_door
from audit.entries import write_time
from audit.events import record
from audit.evidence import FORGOTTEN, Claims, Evidence, id_of
from audit.leaves import SignedTree, read_authentic
from audit.models import AuditEvent, EventDetail
from audit.rows import PLACE, Row, claim_of, keys_in
from audit.sealing import read_sizes, seal
from audit.spoiled import HasId
from audit.statements import Among, as_array
from audit.tiles import DamagedTree

KEPT = Q(action=FORGOTTEN)
"""What is never removed, for the log could not be understood without."""

PRUNED_AT_ONCE = 2_000

_BEYOND = 1 << 62


def _is_any(row: Row) -> bool:
    return True


def redact_person(person_id: UUID) -> int:
    """Erase every personal value of the events whose actor or subject is this person; return how
    many there were. GDPR Art. 17(1).

    The events themselves stay: they hold opaque ids, and commitments that nothing leads back from.
    The caller records it, in the same transaction, as ``….erased`` or ``….logs_erased``.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit_redact(%s)", [person_id])
            return int(cursor.fetchone()[0])
    with open_door("redact"):
        theirs = EventDetail.objects.filter(Q(person_id=person_id) | Q(subject_id=person_id))
        return theirs.delete()[0]


def forget_events(
    ids: Collection[UUID], *, because: str = "retention", is_due: Callable[[Row], bool] = _is_any
) -> int:
    """Remove events whose retention is over, with what is personal about them; return how many.

    The one way out of the log, in the caller's transaction. GDPR Art. 5(1)(e). Their hashes stay
    in the tree, and an event names their positions. One that is not what was sealed stays: whether
    its time is over is not known, and whoever verifies the log is to hear of it. ``is_due`` is
    asked of what was sealed: somebody may have changed a row back since the caller looked.
    """
    going = find_forgettable(models.QuerySet(AuditEvent).filter(Among("id", ids)))
    sealed = read_authentic(going.values_list("id", flat=True))
    found = [row for row in sealed if row.values[PLACE["action"]] != FORGOTTEN and is_due(row)]
    if not found:
        return 0
    leaving = [UUID(row.id) for row in found]
    claims = Claims()
    for row in found:
        claims.add(*claim_of(row.values))
    bare = _find_bare(claims, leaving)
    record_forgotten([row.seq for row in found if row.seq is not None], bare, because)
    return _remove(leaving)


def find_forgettable(events: Any) -> Any:
    """Narrow a query of events to those that may be removed, having sealed what can be: only what
    the tree holds can be shown to have been there."""
    if events.filter(sealed_seq=None).exists():
        seal(now=timezone.now())
    return events.exclude(sealed_seq=None).exclude(KEPT)


def forbid_damage() -> None:
    """Raise DamagedTree where nothing can be shown of any event, since the tree is not the one that
    was signed, or its key is not at hand. For whoever would not look at an event again that was
    refused: it may be what was sealed."""
    head, _ = read_sizes()
    signed = SignedTree().size
    if not signed or not isinstance(head, int) or head > signed:
        raise DamagedTree(f"{head} events are sealed, but {signed} are signed for")


def prune(*, before: datetime, execute: bool, at_once: int = PRUNED_AT_ONCE) -> int:
    """Remove all sealed events from before a time, in transactions of some thousand, or only count
    them; return how many."""
    old = AuditEvent.objects.filter(at__lt=before).exclude(sealed_seq=None).exclude(KEPT)
    if not execute:
        return old.count()
    removed, first, until = 0, 0, write_time(before.astimezone(UTC))
    while rows := list(
        old.filter(HasId("id"), sealed_seq__gte=first, sealed_seq__lt=_BEYOND)
        .order_by("sealed_seq")
        .values_list("sealed_seq", "id")[:at_once]
    ):
        # SQLite can hold positions that are no whole numbers, or no numbers.
        first = int(rows[-1][0]) + 1
        with transaction.atomic(durable=True):
            ids = [pk for _, pk in rows]
            removed += forget_events(
                ids, because="age", is_due=lambda row: row.values[PLACE["at"]] < until
            )
    return removed


def record_forgotten(positions: Sequence[int], bare: Sequence[int], because: str) -> None:
    """Write the event that accounts for positions whose events are gone, and for those whose
    personal values are, while the event that accounted for that is gone, too."""
    facts: dict[str, Any] = {
        "because": because,
        "events": len(positions),
        "positions": as_ranges(positions),
    }
    if bare:
        facts["bare"] = as_ranges(bare)
    record(FORGOTTEN, actor=Actor.system("audit"), subject=None, now=timezone.now(), facts=facts)


def as_ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Return whole numbers as ranges, first and last: ``[1, 2, 3, 7]`` is ``[[1, 3], [7, 7]]``."""
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] >= number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def _find_bare(claims: Claims, leaving: Collection[UUID]) -> list[int]:
    """Return the positions of remaining events whose values went with these erasures, which nothing
    else may say any more."""
    if not claims.erased:
        return []
    subjects = [UUID(id_of(key)) for key in claims.erased]
    theirs: Any = models.QuerySet(AuditEvent).filter(
        Q(Among("actor_id", subjects))
        | Q(Among("person_id", subjects))
        | Q(Among("subject_id", subjects))
    )
    rest = theirs.filter(HasId("id")).exclude(commitments={}).exclude(sealed_seq=None)
    gone = set(leaving)
    ids = [pk for pk in rest.values_list("id", flat=True) if pk not in gone]
    evidence = Evidence(claims)
    known = {
        UUID(row.id): row.seq or 0
        for row in read_authentic(ids)
        if evidence.accounts_for(-1, row.values[PLACE["at"]], keys_in(row.values))
    }
    whole = EventDetail.objects.filter(Among("event_id", known)).values_list("event_id", flat=True)
    return sorted(set(known.values()) - {known[pk] for pk in whole})


def _remove(ids: Sequence[UUID]) -> int:
    connection: Any = connections[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit_forget(%s::uuid[])", [as_array(ids)])
            return int(cursor.fetchone()[0])
    with open_door("forget"):
        EventDetail.objects.filter(Among("event_id", ids)).delete()
        # The log's own manager refuses every removal.
        return models.QuerySet(AuditEvent).filter(Among("id", ids)).delete()[0]
