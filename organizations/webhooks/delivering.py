"""Delivers what is due: claims it under a lease, sends it, and writes down what came back.

No transaction is open while a request is on its way. A worker that is killed between the claim and
the record leaves a lease that runs out; then the message is sent once more, under the same id. So
each one is delivered at least once, and a receiver tells by the id whether it has it already.
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber
from uuid_utils.compat import uuid7

from erasure.typeids import spell_id
from organizations.webhooks import recipients
from organizations.webhooks.models import Attempt, Delivery, Endpoint
from organizations.webhooks.retrying import next_try, read_retry_after
from organizations.webhooks.sealing import unseal_json
from organizations.webhooks.sending import TOTAL, Answer, post
from organizations.webhooks.signatures import MESSAGE, secrets_of, sign

logger = logging.getLogger("sexton.webhooks")

STATE = Delivery.State

AT_ONCE = 8
"""Requests of one worker at the same time."""

OF_ONE = 2
"""Of these to the same receiver: one that is slow must not keep the others waiting."""

LEASE = timedelta(seconds=4 * TOTAL)
"""Longer than any request takes."""

AGENT = "Sexton-Webhooks/1"

GONE = 410

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Parcel:
    """A claimed delivery with all that sending needs, so that no thread asks the database."""

    delivery_id: UUID
    endpoint_id: UUID | None
    token: UUID
    number: int
    url: str
    payload: str
    message_id: str
    secrets: Sequence[str]
    why_not: str = ""
    is_final: bool = False


def deliver_due(*, clock: Clock, limit: int = AT_ONCE) -> int:
    """Claim some of what is due, send it, and record each answer as it comes; return how many were
    claimed."""
    parcels = [_pack(delivery, clock()) for delivery in claim(now=clock(), limit=limit)]
    for parcel, headers, answer in _send(parcels, clock):
        record_answer(parcel, headers, answer, now=clock())
    return len(parcels)


def claim(*, now: datetime, limit: int) -> list[Delivery]:
    """Take due deliveries under a lease, few of each receiver, and return them.

    The UPDATE checks again, row by row, so that of two workers one gets each.
    """
    place = Window(RowNumber(), partition_by=[F("receiver_id")], order_by=[F("next_try_at").asc()])
    due = Delivery.objects.due(now).order_by().annotate(place=place).filter(place__lte=OF_ONE)
    found = list(due.values_list("pk", flat=True)[: 4 * limit])
    # Workers that look at the same moment see the same rows: let each begin somewhere else.
    random.shuffle(found)
    token = uuid7()
    taken: list[UUID] = []
    for pk in found:
        if len(taken) == limit:
            break
        free = Q(lease_until=None) | Q(lease_until__lte=now)
        mine = Delivery.objects.pending().filter(free, pk=pk, next_try_at__lte=now)
        if mine.update(
            lease_until=now + LEASE,
            lease_token=token,
            attempts=F("attempts") + 1,
        ):
            taken.append(pk)
    rows = Delivery.objects.filter(pk__in=taken, lease_token=token)
    return list(rows.select_related("message", "endpoint"))


def record_answer(
    parcel: Parcel, headers: dict[str, str], answer: Answer, *, now: datetime
) -> str | None:
    """Write down what came of a try, and what follows from it; return the delivery's state, or None
    when somebody else has taken it over since: then nothing is written."""
    with transaction.atomic(durable=True):
        # First the endpoint, as everybody who changes one does, and its deliveries after it.
        Endpoint.objects.select_for_update().filter(pk=parcel.endpoint_id).first()
        rows = Delivery.objects.select_for_update()
        mine = rows.filter(pk=parcel.delivery_id, lease_token=parcel.token, state=STATE.PENDING)
        if (delivery := mine.first()) is None:
            return None
        Attempt.objects.create(
            delivery=delivery,
            number=parcel.number,
            at=now,
            request_headers=headers,
            response_status=answer.status,
            response_body=answer.body,
            error=answer.error,
            milliseconds=answer.milliseconds,
        )
        _settle(delivery, parcel, answer, now)
        delivery.save()
        if delivery.state != STATE.PENDING:
            _end(delivery, answer, now)
        return str(delivery.state)


def count_due(now: datetime) -> int:
    return int(Delivery.objects.due(now).count())


def give_up(endpoint_id: UUID, reason: str, *, now: datetime) -> int:
    """Give up whatever is on its way to a locked endpoint, in the caller's transaction; return how
    many that were. The receipts of erasures say that a recipient of the whole instance was not
    reached."""
    pending = Delivery.objects.pending().filter(endpoint_id=endpoint_id)
    pending = pending.select_for_update(of=("self",)).order_by("pk")
    rows = list(pending.select_related("message", "endpoint"))
    for delivery in rows:
        delivery.state, delivery.finished_at = STATE.DEAD, now
        delivery.last_error = reason
        delivery.next_try_at = delivery.lease_until = delivery.lease_token = None
        delivery.save()
        recipients.note(delivery, now=now)
    return len(rows)


def _pack(delivery: Delivery, now: datetime) -> Parcel:
    """Return what to send. What cannot be sent says why, and ends as a failed try does."""
    url, secrets, why_not, is_final = "", [], "", False
    try:
        if delivery.endpoint is not None:
            url, secrets = delivery.endpoint.url, secrets_of(delivery.endpoint, now=now)
            if not delivery.endpoint.is_active:
                why_not, is_final = "not sent: the endpoint is disabled", True
        elif delivery.farewell:
            known = unseal_json(delivery.farewell)
            url, secrets = known["url"], known["secrets"]
        else:
            why_not, is_final = "not sent: the address is not kept any more", True
    except InvalidToken:
        why_not = "not sent: the secret was sealed under another SECRET_KEY"
    token = delivery.lease_token
    assert token is not None  # noqa: S101 - for the type checker; the claim set it
    return Parcel(
        delivery_id=delivery.pk,
        endpoint_id=delivery.endpoint_id,
        token=token,
        number=delivery.attempts,
        url=url,
        payload=delivery.message.payload,
        message_id=spell_id(MESSAGE, delivery.message_id),
        secrets=secrets,
        why_not=why_not,
        is_final=is_final,
    )


def _send(
    parcels: Sequence[Parcel], clock: Clock
) -> Iterator[tuple[Parcel, dict[str, str], Answer]]:
    """Send all at once, and yield each with its answer as it comes."""
    if not parcels:
        return
    with ThreadPoolExecutor(max_workers=len(parcels), thread_name_prefix="webhook") as threads:
        asked = {threads.submit(_send_one, parcel, clock()): parcel for parcel in parcels}
        for done in as_completed(asked):
            headers, answer = done.result()
            yield asked[done], headers, answer


def _send_one(parcel: Parcel, now: datetime) -> tuple[dict[str, str], Answer]:
    if parcel.why_not:
        return {}, Answer(error=parcel.why_not)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        **sign(parcel.message_id, parcel.payload, parcel.secrets, now=now),
    }
    try:
        return headers, post(parcel.url, parcel.payload, headers)
    except Exception as error:
        # Ours, not theirs: it must cost this one a try, and the others nothing.
        logger.exception("a webhook could not be sent")
        return headers, Answer(error=f"not sent: {type(error).__name__}")


def _settle(delivery: Delivery, parcel: Parcel, answer: Answer, now: datetime) -> None:
    delivery.lease_until = delivery.lease_token = None
    delivery.first_tried_at = delivery.first_tried_at or now
    delivery.last_error = "" if answer.is_success else answer.error or f"status {answer.status}"
    delivery.next_try_at = None
    if answer.is_success:
        delivery.state = STATE.DELIVERED
    elif parcel.is_final or answer.status == GONE:
        delivery.state = STATE.DEAD
    else:
        after = read_retry_after(answer.headers.get("retry-after", ""), now=now)
        delivery.next_try_at = next_try(
            delivery.attempts, first=delivery.first_tried_at, now=now, after=after
        )
        if delivery.next_try_at is None:
            delivery.state = STATE.DEAD
    if delivery.state != STATE.PENDING:
        delivery.finished_at = now
        # Nobody needs the address of an organization that is gone any longer.
        delivery.farewell = ""


def _end(delivery: Delivery, answer: Answer, now: datetime) -> None:
    """What follows from the end of a delivery, in the transaction that writes it."""
    recipients.note(delivery, now=now)
    if answer.is_success or delivery.endpoint_id is None:
        return
    if answer.status == GONE:
        disable(delivery.endpoint_id, "It answered that it is gone (410).", now=now)
    elif delivery.attempts and not _has_worked(delivery):
        rows = Endpoint.objects.filter(pk=delivery.endpoint_id)
        if rows.exclude(organization=None).exists():
            reason = "Nothing was delivered to it for three days."
            disable(delivery.endpoint_id, reason, now=now)


def disable(endpoint_id: UUID, reason: str, *, now: datetime) -> None:
    """Stop sending to an endpoint, and give up what is on its way, in the caller's transaction."""
    rows = Endpoint.objects.filter(pk=endpoint_id, is_active=True)
    if rows.update(is_active=False, disabled_reason=reason[:200]):
        give_up(endpoint_id, "given up: the endpoint is disabled", now=now)


def _has_worked(delivery: Delivery) -> bool:
    """Whether anything was delivered to the same receiver since this was first tried."""
    since = delivery.first_tried_at
    others = Delivery.objects.filter(receiver_id=delivery.receiver_id, state=STATE.DELIVERED)
    return others.filter(finished_at__gte=since).exists()
