"""The purge: what it takes, in which order, what stops it, and how it gets past what fails."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from accounts.models import User
from audit.events import Reference
from audit.models import AuditEvent, EventDetail
from erasure import alone, closing, draining, locking, pacing, purging, sets
from erasure.brakes import place_pause, release_pause
from erasure.closing import Erasure
from erasure.draining import Drain
from erasure.exceptions import LedgerUnavailable
from erasure.holds import place_hold, release_hold
from erasure.models import DeletionRequest, LegalHold
from erasure.pacing import Pace
from erasure.purging import PurgeReport, purge_due
from organizations.models import Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.erasure.leaving import (
    DAY,
    MINUTE,
    NOW,
    SYSTEM,
    clinging,
    clock,
    due_organization,
    due_person,
    gone,
    make_due,
    person,
    request_of,
    sessions_of,
)
from tests.factories import ManagedUserFactory, MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement may take as long as a busy machine wants."""
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)


def purge(**options: Any) -> PurgeReport:
    return purge_due(actor=SYSTEM, clock=clock, **options)


def erased(**options: Any) -> list[UUID]:
    """Purge and return who was erased, in order."""
    found: list[UUID] = []
    purge(on_progress=lambda done, _: found.extend(it.subject.id for it in done), **options)
    return found


def test_rows_requests_receipts_and_events_agree() -> None:
    with charlie_untouched():
        people = [due_person(sessions=number) for number in range(4)]
        report = purge()
    assert (report.erased, report.failed, report.stopped) == (4, {}, "")
    assert report.rows == {
        "accounts.User": 4,
        "accounts.Session": 4 + 6,
        "apikeys.ApiKey": 4,
        "audit.EventDetail": 8,
    }
    assert report.total == 26
    for number, user in enumerate(people):
        request = request_of(user)
        assert gone(user)
        assert (request.state, request.finished_at, request.attempts) == ("completed", NOW, 1)
        assert request.counts["accounts.Session"] == 1 + number
        assert (request.before, request.cursor, len(request.signature or b"")) == ({}, {}, 64)
        event = AuditEvent.objects.get(subject_id=user.pk, action="user.erased")
        assert event.facts == {"deletion": str(request.pk), "removed": request.counts}
        assert (event.at, event.actor_kind, event.channel) == (NOW, "system", "test")


def test_the_longest_overdue_go_first() -> None:
    people = [due_person(overdue=days * DAY) for days in (1, 3, 2)]
    assert erased(limit=2) == [people[1].pk, people[2].pk]
    assert erased() == [people[0].pk]


def test_only_what_is_overdue_by_so_much_or_of_one_kind() -> None:
    old, young = due_person(overdue=9 * DAY), due_person()
    organization = due_organization()
    assert erased(before=NOW - 7 * DAY) == [old.pk]
    assert erased(only="organization") == [organization.pk]
    assert erased() == [young.pk]


def test_what_is_not_due_held_or_leased_is_left() -> None:
    due_person(overdue=-MINUTE)
    due_person(state="running", lease_until=NOW + MINUTE)
    due_person(state="failed", retry_at=NOW + MINUTE)
    before = read_rows()
    report = purge()
    assert (report.erased, report.failed, report.stopped) == (0, {}, "")
    assert read_rows() == before


def test_a_poisoned_one_is_named_and_the_others_finish() -> None:
    with charlie_untouched():
        people = [due_person() for _ in range(40)]
        poisoned = people[17]
        with clinging(poisoned.pk):
            report = purge()
            assert not gone(poisoned)
    assert report.erased == 39
    assert [gone(user) for user in people].count(False) == 1
    request = request_of(poisoned)
    assert report.failed == {request.pk: request.last_error}
    assert request.last_error.startswith("IntegrityError")
    assert (request.state, request.attempts, request.counts) == ("failed", 1, {})
    assert report.stopped == ""


def test_those_that_failed_before_come_last() -> None:
    failed = due_person(overdue=9 * DAY, state="failed", attempts=1, retry_at=NOW)
    fresh = due_person()
    assert erased() == [fresh.pk, failed.pk]


def test_a_first_set_that_mostly_fails_ends_the_run() -> None:
    people = [due_person(overdue=(60 - number) * MINUTE) for number in range(30)]
    with clinging(*(user.pk for user in people[: purging.CANARY])):
        report = purge()
    assert report.stopped == "too many failures"
    assert (report.erased, len(report.failed)) == (0, purging.CANARY)
    assert not any(map(gone, people))
    # They wait now, so the next run begins with others: no heap of failures stops it for ever.
    assert purge().erased == 20


def test_a_few_failures_end_nothing() -> None:
    people = [due_person() for _ in range(3)]
    with clinging(*(user.pk for user in people)):
        report = purge()
    assert (report.stopped, len(report.failed)) == ("", 3)


def test_a_pause_of_everything_stops_before_the_first_set() -> None:
    user = due_person()
    pause = place_pause(actor=SYSTEM, reason="a wrong query", now=NOW)
    before = read_rows()
    report = purge()
    assert (report.erased, report.stopped) == (0, "paused: a wrong query")
    del before["erasure.Statement"]
    after = read_rows()
    del after["erasure.Statement"]
    assert after == before
    release_pause(actor=SYSTEM, pause_id=pause, now=NOW)
    assert erased() == [user.pk]


def test_a_pause_stops_a_run_between_two_sets() -> None:
    for _ in range(purging.CANARY + 5):
        due_person()

    def brake(done: Sequence[Erasure], report: PurgeReport) -> None:
        if done:
            place_pause(actor=SYSTEM, reason="enough", now=NOW)

    report = purge(on_progress=brake)
    assert (report.erased, report.stopped) == (purging.CANARY, "paused: enough")


def test_a_pause_of_an_organization_holds_whom_it_manages_and_nobody_else() -> None:
    organization = due_organization(managed=1)
    managed = User.objects.get(managed_membership__organization=organization)
    User.objects.update(is_deleted=True)
    make_due(managed)
    noted = due_person(organization_id=organization.pk)
    other = due_person()
    pause = place_pause(actor=SYSTEM, reason="x", now=NOW, organization_id=organization.pk)
    report = purge()
    assert (report.erased, report.paused, report.stopped) == (1, 3, "")
    assert gone(other)
    release_pause(actor=SYSTEM, pause_id=pause, now=NOW)
    assert set(erased()) == {organization.pk, managed.pk, noted.pk}


def test_rows_are_never_more_than_allowed() -> None:
    for _ in range(6):
        due_person()
    report = purge(max_rows=12)
    assert (report.erased, report.total) == (2, 10)
    assert report.stopped == "no more rows may be removed in this run"
    assert purge(max_rows=100).erased == 4


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has more than twelve rows is large, and goes in pieces of four or so."""
    for module in (alone, sets):
        monkeypatch.setattr(module, "LARGE", 12)
    monkeypatch.setattr(alone, "PIECE", 0)
    monkeypatch.setattr(draining, "FIRST", 4)
    monkeypatch.setattr(draining, "MOST", 4)


@pytest.mark.usefixtures("_small")
def test_a_large_one_goes_in_pieces_and_is_counted_once() -> None:
    with charlie_untouched():
        large, small = due_person(sessions=30), due_person()
        report = purge()
    assert (report.erased, report.failed) == (2, {})
    assert gone(large)
    assert gone(small)
    request = request_of(large)
    assert request.counts == {
        "accounts.Session": 31,
        "accounts.User": 1,
        "apikeys.ApiKey": 1,
        "audit.EventDetail": 2,
    }
    assert (request.cursor, request.attempts, request.lease_token) == ({}, 1, None)
    assert AuditEvent.objects.get(action="user.erased", subject_id=large.pk).facts == {
        "deletion": str(request.pk),
        "removed": request.counts,
    }


@pytest.mark.usefixtures("_small")
def test_a_large_one_goes_on_where_a_limit_of_rows_ended_it() -> None:
    large = due_person(sessions=30)
    seen = []
    while not gone(large):
        seen.append(purge(max_rows=10).total)
        request = request_of(large)
        if not gone(large):
            assert request.state == "running"
            assert request.cursor["begun"]
    # The report counts what was finished; the request counts all of it, once.
    assert len(seen) == 4
    assert sum(request_of(large).counts.values()) == 35
    assert request_of(large).attempts == 4


@pytest.mark.usefixtures("_small")
def test_a_hold_that_comes_between_two_pieces_keeps_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large = due_person(sessions=30)
    pieces = 0
    real = Drain.work
    hold: list[UUID] = []

    def work(self: Drain, **options: Any) -> Any:
        nonlocal pieces
        pieces += 1
        if pieces == 3:
            held = LegalHold.objects.create(
                subject_kind="user", subject_id=large.pk, reason="x", placed_at=NOW
            )
            hold.append(held.pk)
        return real(self, **options)

    monkeypatch.setattr(Drain, "work", work)
    report = purge()
    assert (report.erased, report.held, report.failed) == (0, 1, {})
    left = sessions_of(large)
    assert 0 < left < 31
    assert request_of(large).state == "running"
    assert purge().erased == 0
    assert sessions_of(large) == left
    release_hold(actor=SYSTEM, hold_id=hold[0], now=NOW)
    assert purge().erased == 1
    assert sum(request_of(large).counts.values()) == 35


def test_an_organization_goes_after_its_companions_each_with_a_request() -> None:
    with charlie_untouched():
        organization = due_organization(managed=2)
        own = due_person(overdue=-5 * DAY)
        ManagedUserFactory(organization=organization, user=own)
        users = list(User.objects.filter(managed_membership__organization=organization))
        order = erased()
    assert order[-1] == organization.pk
    assert set(order) == {organization.pk, *(user.pk for user in users)}
    cause = request_of(organization)
    assert not Organization.objects.filter(pk=organization.pk).exists()
    for user in users:
        request = request_of(user)
        assert request.state == "completed"
        assert request.counts["accounts.User"] == 1
        if user != own:
            assert (request.cause_id, request.organization_id) == (cause.pk, organization.pk)
    # What went with them is on their receipts, not on that of the organization.
    assert set(cause.counts) == {
        "apikeys.ApiKey",
        "organizations.Membership",
        "organizations.Organization",
    }


def test_an_organization_waits_while_a_companion_is_held() -> None:
    organization = due_organization(managed=2)
    held = User.objects.filter(managed_membership__organization=organization).order_by("pk")[0]
    subject = Reference("user", held.pk)
    place_hold(actor=SYSTEM, subject=subject, reason="x", review_at=None, now=NOW)
    report = purge()
    assert (report.held, report.failed) == (2, {})
    assert not gone(held)
    assert Organization.objects.filter(pk=organization.pk).exists()
    assert request_of(organization).state == "scheduled"


def test_an_organization_fails_while_a_companion_fails() -> None:
    organization = due_organization(managed=2)
    stuck = User.objects.filter(managed_membership__organization=organization)[0]
    with clinging(stuck.pk):
        report = purge()
    assert set(report.failed) == {request_of(stuck).pk, request_of(organization).pk}
    assert request_of(organization).last_error.startswith("CompanionsLeft")
    DeletionRequest.objects.update(retry_at=NOW)
    assert purge().erased == 2


def test_who_is_in_use_is_left_alone_however_due_it_looks() -> None:
    """Somebody brought the account back by hand, past the restore that cancels the deletion."""
    user = due_person()
    User.objects.filter(pk=user.pk).update(is_deleted=False, is_active=True)
    report = purge()
    assert not gone(user)
    assert list(report.failed.values()) == ["StillAlive in forbid_alive"]


def test_a_sole_owner_who_is_in_use_is_told_apart() -> None:
    user = MembershipFactory(role="owner").user
    make_due(user)
    assert purge().erased == 0
    assert not gone(user)


def test_a_ledger_that_cannot_be_written_stops_the_run_and_nothing_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = due_person()

    class Broken:
        identity = ""

        def create(self) -> str:
            return ""

        def intend(self, entries: Any) -> None:
            raise LedgerUnavailable("no space")

    monkeypatch.setattr(closing, "open_ledger", Broken)
    report = purge()
    assert report.stopped == "the ledger cannot be written"
    assert (report.erased, report.failed) == (0, {})
    assert not gone(user)
    assert (request_of(user).state, request_of(user).attempts) == ("scheduled", 0)


def test_what_was_left_half_done_by_a_dead_worker_is_finished() -> None:
    user = due_person(
        state="running",
        attempts=1,
        lease_until=NOW - MINUTE,
        counts={"accounts.Session": 5},
        cursor={"begun": True},
    )
    assert erased() == [user.pk]
    assert request_of(user).counts["accounts.Session"] == 6
    assert request_of(user).attempts == 2


def test_a_subject_that_is_gone_already_leaves_no_loose_rows_behind() -> None:
    user = due_person()
    User.objects.filter(pk=user.pk).delete()
    assert erased() == [user.pk]
    assert not EventDetail.objects.filter(person_id=user.pk).exists()


def test_what_a_set_reads_is_read_under_the_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore between the look and the lock wins."""
    user = due_person()
    inside: Any = sets
    real = inside.lock_free

    def lock_free(*args: Any, **kwargs: Any) -> Any:
        DeletionRequest.objects.filter(subject_id=user.pk).update(state="cancelled")
        return real(*args, **kwargs)

    monkeypatch.setattr(sets, "lock_free", lock_free)
    assert erased() == []
    assert not gone(user)


def test_a_request_that_changed_under_a_set_undoes_the_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody forgot the subject's lock: the closing UPDATE sees it, and no row is gone."""
    user = due_person()
    inside: Any = sets
    real = inside.close_set

    def close_set(*args: Any, **kwargs: Any) -> Any:
        DeletionRequest.objects.filter(subject_id=user.pk).update(generation=7)
        return real(*args, **kwargs)

    monkeypatch.setattr(sets, "close_set", close_set)
    monkeypatch.setattr("erasure.working.claim_alone", lambda *args, **kwargs: None)
    report = purge()
    assert (report.erased, report.busy) == (0, 1)
    assert not gone(user)


def test_a_person_who_joins_no_set_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PAGE", 3)
    people = [due_person(due_at=NOW - DAY) for _ in range(10)]
    order = erased(canary=False)
    assert sorted(order) == sorted(user.pk for user in people)


def test_a_live_person_is_never_looked_at() -> None:
    user = person()
    assert erased() == []
    assert not gone(user)


def test_the_pace_grows_while_quick_and_shrinks_when_slow() -> None:
    pace = Pace(size=100)
    pace.observe(100, 0.01)
    assert pace.size == 161
    pace.observe(100, 0.01)
    assert pace.size == 161, "a set that a limit cut short says nothing"
    pace.observe(161, 0.09)
    assert pace.size == 161
    pace.observe(161, 700)
    assert pace.size == 40
    pace.shrink()
    assert pace.size == 20
    for _ in range(30):
        pace.observe(pace.size, 0.001)
    assert pace.size == pace.most
