"""What other rooms hang onto an erasure, a sweep and readiness."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Session, User
from accounts.policies import UserKind
from audit.actors import Actor
from erasure import alone, chores, executor, health, locking, pacing, receipts, sets
from erasure.chores import Errand, register_errand
from erasure.clocks import sweep
from erasure.executor import erase_now
from erasure.health import register_alarm
from erasure.purging import purge_due
from erasure.subjects import get_kind, register
from tests.bystanders import charlie_untouched
from tests.erasure.leaving import (
    NOW,
    SYSTEM,
    about,
    due_person,
    gone,
    person,
    request_of,
    sessions_of,
)
from tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db


class Ordering(UserKind):
    """Writes down what is ordered, and how much of the subject was there."""

    def __init__(self) -> None:
        self.ordered: list[tuple[UUID, int]] = []
        self.atomic: list[bool] = []

    def order_effects(
        self, ids: Collection[UUID], *, actor: Actor, now: datetime
    ) -> Mapping[UUID, Sequence[str]]:
        self.atomic.append(connection.in_atomic_block)
        self.ordered += [(one, Session.objects.filter(user_id=one).count()) for one in ids]
        return {one: [f"parcel {one}"] for one in ids}


@pytest.fixture
def orders() -> Iterator[Ordering]:
    kind = get_kind("user")
    ordering = Ordering()
    register(ordering)
    yield ordering
    register(kind)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 12)
    monkeypatch.setattr(alone, "PIECE", 4)


def purge() -> None:
    purge_due(actor=SYSTEM, clock=lambda: NOW, jobs=1)


def test_effects_are_ordered_before_rows_go_by_an_erasure_that_somebody_waits_for(
    orders: Ordering,
) -> None:
    with charlie_untouched():
        user = person()
        erase_now(actor=SYSTEM, subject=about(user), now=NOW)
    assert orders.ordered == [(user.pk, 1)]
    assert orders.atomic == [True]
    assert told_of(user) == ["e-mail", f"parcel {user.pk}"]


def test_and_by_a_purge_of_many(orders: Ordering) -> None:
    with charlie_untouched():
        users = [due_person(), due_person()]
        purge()
    assert sorted(orders.ordered) == sorted((user.pk, 1) for user in users)
    for user in users:
        assert told_of(user) == ["e-mail", f"parcel {user.pk}"]


def told_of(user: User) -> Any:
    """Return what the receipt says about who was told and what was ordered."""
    request = request_of(user)
    receipts.forbid_changed(request)
    return json.loads(receipts.payload(request))["told"]


@pytest.mark.usefixtures("_small")
def test_and_by_a_purge_of_a_large_subject_in_its_first_piece(orders: Ordering) -> None:
    with charlie_untouched():
        user = due_person(sessions=20)
        rows = sessions_of(user)
        purge()
    assert gone(user)
    # Whoever is large is asked for again with the last piece, when the rows are gone.
    assert (user.pk, rows) in orders.ordered
    assert all(orders.atomic)


@pytest.mark.usefixtures("_small")
def test_and_as_access_ends_when_somebody_waits_for_a_large_one(orders: Ordering) -> None:
    with charlie_untouched():
        user = person()
        for _ in range(20):
            MembershipFactory(user=user)
        erase_now(actor=SYSTEM, subject=about(user), now=NOW)
    assert gone(user)
    assert {one for one, _ in orders.ordered} == {user.pk}


@pytest.fixture
def _errands() -> Iterator[None]:
    before = dict(chores._errands)
    yield
    chores._errands.clear()
    chores._errands.update(before)


@pytest.mark.usefixtures("_errands")
def test_a_sweep_runs_errands_and_a_dry_one_counts_them() -> None:
    seen: list[datetime] = []

    def see_to(now: datetime) -> int:
        seen.append(now)
        return 2

    register_errand(Errand("parcels", lambda now: 3, see_to))
    now = timezone.now()
    assert sweep(now=now, execute=False).done["errands"]["parcels"] == 3
    assert not seen
    assert sweep(now=now, execute=True).done["errands"]["parcels"] == 2
    assert seen == [now]


@pytest.mark.usefixtures("_errands")
def test_an_errand_that_fails_is_told_and_the_others_are_run() -> None:
    seen: list[str] = []

    def fail(now: datetime) -> int:
        raise OSError

    def see_to(now: datetime) -> int:
        seen.append("run")
        return 1

    register_errand(Errand("a", fail, fail))
    register_errand(Errand("b", see_to, see_to))
    assert sweep(now=timezone.now(), execute=True).failed == {"errands": "OSError"}
    assert seen == ["run"]


def test_an_alarm_of_another_room_turns_readiness_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_alarms", dict(health._alarms))
    wrong = ""
    register_alarm("parcels", lambda now: wrong)
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["parcels"]) == (200, "ok")
    wrong = "a parcel is late"
    assert health.find_alarms(timezone.now()) == {"parcels": "a parcel is late"}
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["parcels"]) == (503, "a parcel is late")
