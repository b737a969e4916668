"""Writes what is to be told, in the transaction in which it happens.

So an event is told if and only if it happened, and it costs nobody a request. Most events are
written by a listener of the audit log. The last event of a subject is prepared earlier, before the
rows go that say whom to tell, and let go by the listener when the erasure is recorded: it says that
the data is gone, not that it will be.

When nobody wants an event, that is found out by one small query for a whole set of subjects.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Max, Q
from uuid_utils.compat import uuid7

from audit.events import Reference
from audit.listeners import Told
from audit.statements import Among
from erasure.engines import wake
from erasure.models import DeletionRequest
from organizations.webhooks.events import EVENT_OF, LAST_OF, write_payload
from organizations.webhooks.models import Delivery, Endpoint, Message
from organizations.webhooks.reach import Receivers, find_receivers
from organizations.webhooks.sealing import seal_json
from organizations.webhooks.signatures import secrets_of

STATE = Delivery.State


class Looked(NamedTuple):
    """What a look into the tables found: whether anybody wants an event, and whether any last
    event is prepared and waits."""

    is_wanted: bool
    is_prepared: bool


def hear(told: Told) -> None:
    """Write the messages of some events that have just been recorded, and wake whoever sends
    them. In the caller's transaction."""
    event = EVENT_OF[told.action]
    if event == LAST_OF.get(told.subject_kind):
        _let_go(event, told)
        return
    if not _look(event).is_wanted:
        return
    ids = list(dict.fromkeys(one.subject_id for one in told.happenings))
    receivers = find_receivers(event, told.subject_kind, ids)
    if not receivers:
        return
    facts = [(one.subject_id, _read(one.facts)) for one in told.happenings]
    _write(event, told.subject_kind, facts, receivers, now=told.now)
    _wake()


def prepare_last(kind: str, ids: Collection[UUID], *, now: datetime) -> None:
    """Write the last messages about subjects whose rows are about to go, to be sent when the end
    of their erasure is recorded. In the caller's transaction; twice is once.

    An endpoint of an organization goes with it, so its address and its secrets are kept, sealed,
    beside the message.
    """
    event = LAST_OF[kind]
    looked = _look(event)
    vars(connection)["webhooks_nobody"] = None if any(looked) else (kind, now)
    if not looked.is_wanted:
        return
    receivers = find_receivers(event, kind, ids)
    if not receivers:
        return
    if looked.is_prepared:
        receivers = _leave_prepared(event, kind, receivers)
    deletions = _open_deletions(kind, receivers)
    facts = [(pk, {"deletion": deletions.get(pk)}) for pk in receivers]
    _write(event, kind, facts, receivers, now=now, state=STATE.PREPARED)


def _let_go(event: str, told: Told) -> None:
    # Whoever prepares in this transaction has looked already: when it found nobody, so it is.
    if vars(connection).get("webhooks_nobody") == (told.subject_kind, told.now):
        return
    ids = [one.subject_id for one in told.happenings]
    prepared = Delivery.objects.filter(
        Among("subject_id", ids), state=STATE.PREPARED, message__type=event
    )
    # What an erasure prepared in an earlier transaction tells the wrong time, and what was prepared
    # before the deletion had a row does not name it. In a purge neither is the case.
    stale = Message.objects.filter(
        Q(created_at__lt=told.now) | Q(deletion_id=None),
        Among("subject_id", ids),
        type=event,
        deliveries__in=prepared,
    ).distinct()
    if found := list(stale):
        facts = {one.subject_id: _read(one.facts) for one in told.happenings}
        for message in found:
            _rewrite(message, facts[message.subject_id], now=told.now)
    if prepared.update(state=STATE.PENDING, next_try_at=told.now, created_at=told.now):
        _wake()


def _rewrite(message: Message, facts: Mapping[str, Any], *, now: datetime) -> None:
    subject = Reference(message.subject_kind, message.subject_id)
    fresh = make_message(message.type, subject, message.sequence, facts, now=now)
    message.payload, message.deletion_id = fresh.payload, fresh.deletion_id
    message.created_at = now
    message.save(update_fields=["payload", "deletion_id", "created_at"])


def _write(
    event: str,
    kind: str,
    facts: Sequence[tuple[UUID, Mapping[str, Any]]],
    receivers: Receivers,
    *,
    now: datetime,
    state: str = STATE.PENDING,
) -> None:
    """Write the messages of a set by one statement, and their deliveries by another."""
    sequences = next_sequences(kind, receivers, now=now)
    messages, deliveries = [], []
    for subject_id, known in facts:
        if subject_id not in receivers:
            continue
        message = make_message(
            event, Reference(kind, subject_id), sequences[subject_id], known, now=now
        )
        # Two events of one subject in one set: each has its own place.
        sequences[subject_id] += 1
        messages.append(message)
        deliveries += [
            make_delivery(message, endpoint, now=now, state=state)
            for endpoint in receivers[subject_id]
        ]
    Message.objects.bulk_create(messages)
    Delivery.objects.bulk_create(deliveries)


def make_message(
    event: str, subject: Reference, sequence: int, facts: Mapping[str, Any], *, now: datetime
) -> Message:
    """Return the message of one event, not yet written."""
    deletion = facts.get("deletion")
    return Message(
        id=uuid7(),
        type=event,
        subject_kind=subject.kind,
        subject_id=subject.id,
        sequence=sequence,
        deletion_id=UUID(str(deletion)) if deletion else None,
        payload=write_payload(event, subject=subject, sequence=sequence, now=now, facts=facts),
        created_at=now,
    )


def make_delivery(
    message: Message, endpoint: Endpoint, *, now: datetime, state: str = STATE.PENDING
) -> Delivery:
    """Return the delivery of a message to an endpoint, not yet written. One that the endpoint's
    own organization takes along gets what is needed to go on without it."""
    is_farewell = (
        message.type in LAST_OF.values() and endpoint.organization_id == message.subject_id
    )
    snapshot = ""
    if is_farewell:
        snapshot = seal_json({"url": endpoint.url, "secrets": secrets_of(endpoint, now=now)})
    return Delivery(
        message=message,
        endpoint=None if is_farewell else endpoint,
        receiver_id=endpoint.pk,
        farewell_of=endpoint.organization_id if is_farewell else None,
        farewell=snapshot,
        subject_id=message.subject_id,
        sequence=message.sequence,
        state=state,
        created_at=now,
        next_try_at=now,
    )


def next_sequences(kind: str, ids: Collection[UUID], *, now: datetime) -> dict[UUID, int]:
    """Return the next place in the order of each subject's events.

    It is the time in milliseconds, or one more than the last place: so the order goes on where it
    was when the history has been removed, and no clock that lags behind turns it round. Whoever
    records an event holds the subject's lock, so no two take the same place.
    """
    least = int(now.timestamp() * 1000)
    last = Message.objects.filter(Among("subject_id", ids), subject_kind=kind).order_by()
    known = dict(last.values_list("subject_id").annotate(last=Max("sequence")))
    return {pk: max(least, known[pk] + 1) if pk in known else least for pk in ids}


def _leave_prepared(event: str, kind: str, receivers: Receivers) -> Receivers:
    """Return the receivers for whom nothing is prepared yet."""
    known = set(
        Delivery.objects.filter(
            Among("subject_id", list(receivers)),
            state=STATE.PREPARED,
            message__type=event,
            message__subject_kind=kind,
        ).values_list("subject_id", "receiver_id")
    )
    left = {
        pk: [one for one in several if (pk, one.pk) not in known]
        for pk, several in receivers.items()
    }
    return {pk: several for pk, several in left.items() if several}


def _open_deletions(kind: str, ids: Collection[UUID]) -> dict[UUID, UUID]:
    rows = DeletionRequest.objects.filter(
        Among("subject_id", list(ids)), subject_kind=kind, state__in=DeletionRequest.OPEN
    )
    return dict(rows.values_list("subject_id", "pk"))


def _look(event: str) -> Looked:
    endpoint, delivery = Endpoint._meta.db_table, Delivery._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT EXISTS (SELECT 1 FROM {endpoint} WHERE is_active AND events LIKE %s), "  # noqa: S608
            f"EXISTS (SELECT 1 FROM {delivery} WHERE state = 'prepared')",
            [f"% {event} %"],
        )
        row = cursor.fetchone()
    return Looked(bool(row[0]), bool(row[1]))


def _read(facts: Mapping[str, Any] | str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(facts) if isinstance(facts, str) else facts
    return found


def _wake() -> None:
    # Tasks import what sends, and that what is written here.
    from organizations.webhooks.tasks import deliver

    wake(deliver)
