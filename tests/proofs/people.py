"""People whose deletion is due at moments of their own, and the verdict on each: whole or gone."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread
from typing import Any
from uuid import UUID

from django.db import connection
from uuid_utils.compat import uuid7

from accounts.models import User
from apikeys.models import ApiKey
from audit.events import Reference
from audit.models import AuditEvent, EventDetail
from erasure import signing
from erasure.models import DeletionRequest, LegalHold
from erasure.receipts import receipt_of, verify
from erasure.sets import Candidate
from organizations.models import Membership
from tests.factories import MembershipFactory, OrganizationFactory

START = datetime(2025, 5, 1, tzinfo=UTC)
DETAILS = "audit.EventDetail"
PLANTED = {
    "accounts.User": 1,
    "apikeys.ApiKey": 1,
    DETAILS: 3,
    "organizations.Membership": 1,
}
OWNERS: list[tuple[Any, str]] = [
    (User, "pk"),
    (ApiKey, "user_id"),
    (EventDetail, "person_id"),
    (Membership, "user_id"),
]


@dataclass(frozen=True)
class Person:
    id: UUID
    deletion_id: UUID
    due: datetime

    @property
    def subject(self) -> Reference:
        return Reference("user", self.id)

    @property
    def candidate(self) -> Candidate:
        """Their deletion as a worker saw it while it was due."""
        return Candidate(self.due, self.deletion_id, "user", self.id)


def make_people(size: int, **fields: Any) -> list[Person]:
    """Create soft deleted people, each with rows and a deletion that is due a minute after the one
    before it. ``fields`` are of the deletions."""
    organization = MembershipFactory(organization=OrganizationFactory(), role="owner").organization
    users = [
        User(
            username=f"p{number}",
            email=f"p{number}@example.com",
            password="!",
            is_active=False,
            is_deleted=True,
            deleted_at=START,
            date_joined=START,
        )
        for number in range(size)
    ]
    User.objects.bulk_create(users)
    Membership.objects.bulk_create(
        Membership(user=it, organization=organization, joined_at=START) for it in users
    )
    ApiKey.objects.bulk_create(
        ApiKey(user=it, name="k", digest=it.pk.hex, hint="h", created_at=START, revoked_at=START)
        for it in users
    )
    EventDetail.objects.bulk_create(
        EventDetail(event_id=uuid7(), person_id=it.pk, field=field, value="192.0.2.7")
        for it in users
        for field in ("address", "user_agent", "other")
    )
    made = DeletionRequest.objects.bulk_create(
        DeletionRequest(
            subject_kind="user",
            subject_id=it.pk,
            channel="test",
            requested_by_kind="user",
            requested_by_id=it.pk,
            requested_at=START - timedelta(days=14),
            due_at=START + timedelta(minutes=number),
            before={"is_active": True},
            **fields,
        )
        for number, it in enumerate(users)
    )
    return [Person(it.subject_id, it.pk, it.due_at) for it in made]


@dataclass
class Known:
    """What the database holds about one person."""

    rows: Counter[str] = field(default_factory=Counter)
    requests: list[DeletionRequest] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    user: User | None = None
    held: bool = False


def find_faults(people: Sequence[Person]) -> dict[UUID, str]:
    """Return who is neither whole nor gone, in the database or on record, and why."""
    keys = signing.key_set()["keys"]
    known = _read()
    found = {it.id: _judge(known[it.id], keys) for it in people}
    return {pk: fault for pk, fault in found.items() if fault}


def _read() -> dict[UUID, Known]:
    known: dict[UUID, Known] = defaultdict(Known)
    for model, owner in OWNERS:
        for pk in model._base_manager.values_list(owner, flat=True):
            known[pk].rows[model._meta.label] += 1
    for user in User.objects.all():
        known[user.pk].user = user
    for request in DeletionRequest.objects.order_by("generation"):
        known[request.subject_id].requests.append(request)
    for pk, action in AuditEvent.objects.values_list("subject_id", "action"):
        if pk:
            known[pk].events[action] += 1
    for pk in LegalHold.objects.active().values_list("subject_id", flat=True):
        known[pk].held = True
    return known


def _judge(it: Known, keys: Any) -> str:
    states = [request.state for request in it.requests]
    told = f"rows {dict(it.rows)}, requests {states}, events {dict(it.events)}, held {it.held}"
    if it.events["user.restored"] != states.count("cancelled"):
        return f"restored in word only: {told}"
    if any(state != "cancelled" for state in states[:-1]):
        return f"two deletions at once: {told}"
    if not it.rows:
        return _judge_gone(it, keys, told)
    if dict(it.rows) != PLANTED:
        return f"half of the rows: {told}"
    if it.user is None or states[-1] not in {"scheduled", "cancelled"} or it.events["user.erased"]:
        return f"whole, and on record as something else: {told}"
    if it.user.is_deleted != (states[-1] == "scheduled") or it.user.is_active == it.user.is_deleted:
        return f"flags that say otherwise: {told}"
    return ""


def _judge_gone(it: Known, keys: Any, told: str) -> str:
    last = it.requests[-1]
    if last.state != "completed" or it.events["user.erased"] != 1:
        return f"gone, and on record as something else: {told}"
    if it.held:
        return f"gone in spite of a hold: {told}"
    # The reason of a hold lies beside its event, and is the person's, too.
    expected = {**PLANTED, DETAILS: PLANTED[DETAILS] + it.events["hold.placed"]}
    if last.counts != expected or verify(receipt_of(last), keys)["removed"] != expected:
        return f"counted wrongly, {last.counts}: {told}"
    return ""


class Ring:
    """Two who act at the same moment, again and again, each in a thread with a connection of its
    own."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def clash(self, rounds: Sequence[tuple[Callable[[], Any], Callable[[], Any]]]) -> list[Any]:
        """Run each round's two calls behind a barrier; return what they returned or raised."""
        barrier = Barrier(2)
        told: list[list[Any]] = [[], []]
        # One of the two starts a little later, so that they meet at every place of their work.
        delays = [(self.rng.randrange(2), self.rng.uniform(0, 0.004)) for _ in rounds]

        def run(side: int) -> None:
            try:
                for calls, (late, delay) in zip(rounds, delays, strict=True):
                    barrier.wait(600)
                    if late == side:
                        Event().wait(delay)
                    try:
                        told[side].append(calls[side]())
                    except Exception as error:  # noqa: BLE001 - the test looks at it
                        told[side].append(error)
                    barrier.wait(600)
            except BaseException:
                barrier.abort()
                raise
            finally:
                connection.close()

        threads = [Thread(target=run, args=(side,)) for side in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told[0]) == len(told[1]) == len(rounds)
        return list(zip(*told, strict=True))
