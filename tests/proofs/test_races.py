"""Restore against purge at the last second, hold against purge, two workers on one person, and a
job of an earlier deletion that fires late: everybody ends whole or gone, in rows, on record, and by
receipt.

Each race runs on real connections behind a barrier, in sets and in pieces. The controls take one
guard out, at a moment that they choose, and somebody must end in between.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

import pytest
from django.db import connection

from accounts.services import SoftDeletion, soft_delete_own_account
from audit.actors import Actor
from erasure import alone, closing, draining, locking, pacing, requests, sets
from erasure.alone import Budget
from erasure.closing import Closing, Due
from erasure.deleting import restore
from erasure.exceptions import (
    DeletionInProgress,
    GraceExpired,
    NotRestorable,
    SubjectNotFound,
)
from erasure.holds import place_hold, release_hold
from erasure.locking import Locked
from erasure.models import DeletionRequest, LegalHold
from erasure.purging import PurgeReport, purge_due
from erasure.working import work_off
from tests.bystanders import charlie_untouched
from tests.proofs.people import Person, Ring, find_faults, make_people
from tests.proofs.sizes import RACES

pytestmark = pytest.mark.django_db(transaction=True)

ACTOR = Actor.system("races")
SECOND = timedelta(seconds=1)
REFUSALS = (SubjectNotFound, NotRestorable, GraceExpired, DeletionInProgress)
PATIENCE = 0.5
"""Seconds for whoever waits for a lock in a control. Longer or shorter, the verdict is the same."""


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement may take as long as a busy machine wants."""
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)


@pytest.fixture(params=["in sets", "in pieces"])
def in_pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "in pieces":
        for module in (alone, sets):
            monkeypatch.setattr(module, "LARGE", 2)
        monkeypatch.setattr(alone, "PIECE", 0)
        monkeypatch.setattr(draining, "FIRST", 2)
        monkeypatch.setattr(draining, "MOST", 2)
    return bool(request.param == "in pieces")


def purge(person: Person) -> PurgeReport:
    return purge_due(actor=ACTOR, clock=lambda: person.due, canary=False, jobs=1)


def take_back(person: Person) -> DeletionRequest:
    return restore(actor=ACTOR, subject=person.subject, now=person.due - SECOND)


def hold(person: Person) -> Any:
    return place_hold(
        actor=ACTOR, subject=person.subject, reason="a suit", review_at=None, now=person.due
    )


def work_off_late(person: Person) -> Any:
    """What a worker does that has seen the deletion due, some time ago."""
    return work_off([person.candidate], actor=ACTOR, clock=lambda: person.due, budget=Budget())


def take_back_and_delete_again(person: Person) -> SoftDeletion:
    take_back(person)
    actor = Actor(kind="user", id=person.id, channel="test", person_id=person.id)
    return soft_delete_own_account(actor=actor, user_id=person.id, now=person.due)


def clash(
    people: list[Person], first: Callable[[Person], Any], second: Callable[[Person], Any]
) -> list[Any]:
    return Ring(f"{len(people)}").clash(
        [(partial(first, it), partial(second, it)) for it in people]
    )


def purge_the_rest(people: list[Person]) -> None:
    """Erase whoever is due still, the leases of any who gave up having lapsed."""
    last = people[-1].due + timedelta(hours=1)
    report = purge_due(actor=ACTOR, clock=lambda: last, canary=False, jobs=1)
    assert (report.failed, report.stopped) == ({}, "")


@RACES
def test_a_restore_at_the_last_second(size: int, in_pieces: bool) -> None:
    with charlie_untouched():
        people = make_people(size)
        told = clash(people, take_back, purge)
        assert find_faults(people) == {}
        for restored, purged in told:
            assert isinstance(restored, (DeletionRequest, *REFUSALS)), restored
            assert isinstance(purged, PurgeReport), purged
            assert purged.erased + isinstance(restored, DeletionRequest) == 1


@RACES
def test_a_hold_at_the_last_second(size: int, in_pieces: bool) -> None:
    """One that comes while the pieces go stops the rest; what went stays counted."""
    with charlie_untouched():
        people = make_people(size)
        told = clash(people, hold, purge)
        faults = find_faults(people)
        for person, (held, purged) in zip(people, told, strict=True):
            assert isinstance(purged, PurgeReport), purged
            assert isinstance(held, SubjectNotFound) == (purged.erased == 1), held
            if in_pieces and person.id in faults:
                request = DeletionRequest.objects.get(subject_id=person.id)
                assert (request.state, bool(request.cursor)) == ("running", True)
                del faults[person.id]
        assert faults == {}
        for hold_id in LegalHold.objects.active().values_list("pk", flat=True):
            release_hold(actor=ACTOR, hold_id=hold_id, now=people[-1].due)
        purge_the_rest(people)
        assert find_faults(people) == {}
        assert (
            not DeletionRequest.objects.filter(subject_id__in=[it.id for it in people])
            .exclude(state="completed")
            .exists()
        )


@pytest.mark.parametrize("fields", [{}, {"state": "failed", "attempts": 1}], ids=["new", "failed"])
@RACES
def test_two_workers_on_one_person(size: int, fields: dict[str, Any], in_pieces: bool) -> None:
    """Who failed before is done alone, under a lease, and everybody else in sets or pieces."""
    with charlie_untouched():
        people = make_people(size // 2, **fields)
        told = clash(people, purge, purge)
        for reports in told:
            assert all(isinstance(one, PurgeReport) and not one.failed for one in reports), reports
            assert sum(one.erased for one in reports) == 1
        assert find_faults(people) == {}


@RACES
def test_the_job_of_an_earlier_deletion_fires_late(size: int, in_pieces: bool) -> None:
    with charlie_untouched():
        people = make_people(size)
        told = clash(people, take_back_and_delete_again, work_off_late)
        assert find_faults(people) == {}
        for person, (again, worked) in zip(people, told, strict=True):
            assert isinstance(again, (SoftDeletion, *REFUSALS)), again
            assert len(worked.erased) + isinstance(again, SoftDeletion) == 1
            assert work_off_late(person).erased == []
        assert find_faults(people) == {}


# --- the controls: one guard out, and somebody ends in between ---------------------------------


def read_without_looking(ids: Any, now: datetime) -> list[Due]:
    rows = DeletionRequest.objects.filter(pk__in=list(ids))
    return [Due(*row) for row in rows.values_list(*Due._fields)]


def close_without_looking(closing: Closing, now: Any) -> int:
    for it, counts, signature in zip(closing.dues, closing.counts, closing.signatures, strict=True):
        closed: Any = {
            "state": "completed",
            "finished_at": now,
            "counts": counts,
            "signature": bytes.fromhex(signature),
            "statement": closing.statement,
        }
        DeletionRequest.objects.filter(pk=it.id).update(**closed)
    return len(closing.dues)


def lock_nobody(kind: Any, ids: Any, **more: Any) -> dict[Any, Any]:
    rows = kind.model._base_manager.filter(pk__in=list(ids))
    return {row.pk: Locked(kind.born(row), row.is_deleted) for row in rows}


@pytest.fixture(params=[True, False], ids=["guarded", "unguarded"])
def is_guarded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def verdict(people: list[Person]) -> bool:
    """Whether everybody is whole or gone."""
    return find_faults(people) == {}


def test_what_was_seen_due_is_read_again(is_guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore comes between the look and the lock."""
    [person] = people = make_people(1)
    if not is_guarded:
        monkeypatch.setattr(sets, "_read_due", read_without_looking)
        monkeypatch.setattr(sets, "can_suspend", lambda kind: False)
        monkeypatch.setattr(closing, "_close", close_without_looking)
    take_back(person)
    work_off_late(person)
    assert verdict(people) is is_guarded


def test_a_hold_is_looked_for_under_the_lock(
    is_guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hold comes between the look and the lock."""
    [person] = people = make_people(1)
    if not is_guarded:
        monkeypatch.setattr(sets, "held_among", lambda ids: set())
    hold(person)
    work_off_late(person)
    assert verdict(people) is is_guarded


def test_a_job_knows_its_own_deletion(is_guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete, restore, delete, and then the job of the first deletion."""
    [person] = people = make_people(1)
    if not is_guarded:
        monkeypatch.setattr(sets, "_read_due", read_without_looking)
        monkeypatch.setattr(sets, "can_suspend", lambda kind: False)
        monkeypatch.setattr(closing, "_close", close_without_looking)
    take_back_and_delete_again(person)
    work_off_late(person)
    assert verdict(people) is is_guarded


def test_a_claim_looks_whether_there_is_anything_to_claim(
    is_guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second worker comes when the first one is done."""
    [person] = people = make_people(1)
    work_off_late(person)
    if not is_guarded:
        monkeypatch.setattr(requests, "claim", claim_without_looking)
    work_off_late(person)
    assert verdict(people) is is_guarded


def claim_without_looking(deletion_id: Any, *, now: datetime) -> DeletionRequest:
    request = DeletionRequest.objects.get(pk=deletion_id)
    requests.take(request, now=now)
    return request


def test_nobody_passes_a_purge_that_has_decided(
    is_guarded: bool, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restore comes after a purge has decided and before it acts: it waits for the row."""
    if vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time and no lock that could be taken out.")
    [person] = people = make_people(1)
    if not is_guarded:
        monkeypatch.setattr(sets, "lock_free", lock_nobody)
        monkeypatch.setattr(closing, "_close", close_without_looking)
    with meeting(monkeypatch, sets, "_erase", partial(take_back, person)):
        work_off_late(person)
    assert verdict(people) is is_guarded


class meeting:  # noqa: N801 - reads as a verb
    """Let somebody else act when a function is entered, and go on when they are done, or wait."""

    def __init__(
        self, patch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Any]
    ) -> None:
        self.done = Event()
        self.thread = Thread(target=self._run, args=(act,))
        inner = getattr(module, name)

        def enter(*args: Any, **kwargs: Any) -> Any:
            self.thread.start()
            self.done.wait(PATIENCE)
            return inner(*args, **kwargs)

        patch.setattr(module, name, enter)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.thread.join()

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except REFUSALS:
            pass
        finally:
            self.done.set()
            connection.close()
