"""A deletion request's life: claims, leases with their fence, retries, what is kept of errors."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from erasure import requests
from erasure.alone import Budget, erase_claimed
from erasure.exceptions import Blocked, DeletionInProgress
from erasure.models import DeletionRequest, LegalHold
from erasure.requests import LEASE, RETRY_AFTER, RETRY_AT_MOST, LeaseLost
from erasure.subjects import Blocker
from tests.erasure.leaving import DAY, MINUTE, NOW, SYSTEM, about, due_person, person, request_of
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def fail_once(request: DeletionRequest, error: Exception | None = None) -> DeletionRequest:
    requests.fail(request, error or RuntimeError("alice@example.com"), now=NOW)
    return DeletionRequest.objects.get(pk=request.pk)


def test_a_second_deletion_of_a_subject_waits_for_the_end_of_the_first() -> None:
    user = due_person()
    with pytest.raises(DeletionInProgress):
        requests.schedule(actor=SYSTEM, subject=about(user), due_at=NOW, now=NOW, before={})


def test_each_deletion_of_a_subject_counts_one_generation_more() -> None:
    user = UserFactory()
    for generation in (1, 2, 3):
        made = requests.schedule(
            actor=SYSTEM, subject=about(user), due_at=NOW + DAY, now=NOW, before={}
        )
        assert made.generation == generation
        requests.cancel(subject=about(user), now=NOW)


def test_a_request_keeps_what_it_was_asked_for_with() -> None:
    user, cause = UserFactory(), uuid4()
    made = requests.schedule(
        actor=SYSTEM,
        subject=about(user),
        due_at=NOW + DAY,
        now=NOW,
        before={"is_active": True},
        cause_id=cause,
        planned={"removed": {"accounts.User": 1}},
        plan_id="plan_1",
        reference="CASE-1",
    )
    kept = DeletionRequest.objects.get(pk=made.pk)
    assert (kept.cause_id, kept.plan_id, kept.reference) == (cause, "plan_1", "CASE-1")
    assert (kept.planned, kept.before) == ({"removed": {"accounts.User": 1}}, {"is_active": True})


def test_a_claim_is_for_what_is_due_and_for_one_worker() -> None:
    due, early = due_person(), due_person(overdue=-DAY)
    assert requests.claim(request_of(early).pk, now=NOW) is None
    claimed = requests.claim(request_of(due).pk, now=NOW)
    assert claimed
    assert (claimed.state, claimed.attempts, claimed.lease_until) == ("running", 1, NOW + LEASE)
    assert requests.claim(request_of(due).pk, now=NOW) is None


def test_what_is_held_is_not_claimed() -> None:
    user = due_person()
    LegalHold.objects.create(subject_kind="user", subject_id=user.pk, reason="x", placed_at=NOW)
    assert requests.claim(request_of(user).pk, now=NOW) is None


def test_a_worker_whose_lease_was_taken_over_commits_nothing_more() -> None:
    """The fence: a worker that slept past its lease meets its successor's token."""
    pk = request_of(due_person()).pk
    sleeper = requests.claim(pk, now=NOW)
    successor = requests.claim(pk, now=NOW + LEASE)
    assert sleeper
    assert successor
    with transaction.atomic():
        with pytest.raises(LeaseLost):
            requests.lock_claimed(sleeper)
        assert requests.lock_claimed(successor).attempts == 2
    requests.fail(sleeper, RuntimeError(), now=NOW)
    requests.release(sleeper)
    assert DeletionRequest.objects.get(pk=pk).lease_token == successor.lease_token


def test_progress_is_written_down_and_keeps_the_lease() -> None:
    claimed = requests.claim(request_of(due_person()).pk, now=NOW)
    assert claimed
    with transaction.atomic():
        mine = requests.lock_claimed(claimed)
        mine.counts, mine.cursor = {"accounts.Session": 3}, {"at": "here"}
        requests.advance(mine, now=NOW + 2 * MINUTE)
    kept = DeletionRequest.objects.get(pk=claimed.pk)
    assert (kept.counts, kept.cursor) == ({"accounts.Session": 3}, {"at": "here"})
    assert kept.lease_until == NOW + 2 * MINUTE + LEASE


def test_a_claim_that_came_to_nothing_is_given_back() -> None:
    claimed = requests.claim(request_of(due_person()).pk, now=NOW)
    assert claimed
    requests.release(claimed)
    assert DeletionRequest.objects.get(pk=claimed.pk).state == "scheduled"
    assert requests.claim(claimed.pk, now=NOW)


def test_one_that_was_begun_stays_running_so_that_nobody_restores_a_half() -> None:
    claimed = requests.claim(request_of(due_person()).pk, now=NOW)
    assert claimed
    claimed.cursor = {"begun": True}
    claimed.save()
    requests.release(claimed)
    kept = DeletionRequest.objects.get(pk=claimed.pk)
    assert (kept.state, kept.lease_token) == ("running", None)
    assert requests.claim(claimed.pk, now=NOW)


def test_each_further_try_waits_twice_as_long_and_a_day_at_most() -> None:
    user = due_person()
    waits = []
    for _ in range(9):
        DeletionRequest.objects.update(retry_at=None)
        claimed = requests.claim(request_of(user).pk, now=NOW)
        assert claimed
        waits.append((fail_once(claimed).retry_at or NOW) - NOW)
    assert waits[:3] == [RETRY_AFTER, 2 * RETRY_AFTER, 4 * RETRY_AFTER]
    assert waits[-1] == RETRY_AT_MOST == timedelta(days=1)


def test_of_an_error_its_type_and_place_are_kept_and_no_word_of_it() -> None:
    claimed = requests.claim(request_of(due_person()).pk, now=NOW)
    assert claimed
    try:
        raise IntegrityError("alice@example.com is still referenced")
    except IntegrityError as error:
        told = requests.fail(claimed, error, now=NOW)
    kept = DeletionRequest.objects.get(pk=claimed.pk)
    assert told == kept.last_error
    assert told.startswith("IntegrityError in test_of_an_error")
    assert "alice" not in told


def test_what_blocks_is_told_by_its_code() -> None:
    claimed = requests.claim(request_of(due_person()).pk, now=NOW)
    assert claimed
    blocked = Blocked("user", claimed.subject_id, [Blocker("sole_owner", "of Alice's firm")])
    assert fail_once(claimed, blocked).last_error == "Blocked: sole_owner"


def test_a_failed_one_is_due_again_when_its_wait_is_over() -> None:
    claimed = requests.claim(request_of(due_person()).pk, now=NOW)
    assert claimed
    fail_once(claimed)
    assert requests.claim(claimed.pk, now=NOW) is None
    assert requests.claim(claimed.pk, now=NOW + RETRY_AFTER)


def test_requeued_it_waits_no_longer() -> None:
    user = due_person()
    claimed = requests.claim(request_of(user).pk, now=NOW)
    assert claimed
    fail_once(claimed)
    found = requests.requeue(about(user), now=NOW)
    assert found
    assert found.pk == claimed.pk
    assert requests.claim(claimed.pk, now=NOW)
    assert requests.requeue(about(user), now=NOW) is None
    assert requests.requeue(about(UserFactory()), now=NOW) is None


def test_the_due_come_in_order_and_by_the_place_after_which_to_go_on() -> None:
    people = [due_person(overdue=days * DAY) for days in (3, 2, 2, 1)]
    due = list(DeletionRequest.objects.due(NOW))
    assert [it.due_at for it in due] == sorted(it.due_at for it in due)
    rest = DeletionRequest.objects.due(NOW).after(due[1].due_at, due[1].pk)
    assert list(rest) == due[2:]
    assert {it.subject_id for it in due} == {user.pk for user in people}


def test_the_due_are_found_in_their_order_and_never_sorted() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a planner that takes the table for empty asks no index there")
    plan = DeletionRequest.objects.due(NOW).after(NOW - DAY, uuid4())[:10].explain()
    assert "USING INDEX deletion_open_by_due" in plan
    assert "TEMP B-TREE" not in plan


def test_a_status_link_finds_its_deletion_and_ends_the_one_before_it() -> None:
    request = request_of(due_person())
    first, second = (requests.new_status_link(request) for _ in range(2))
    assert first != second
    found = requests.find_by_status(second)
    assert found
    assert found.pk == request.pk
    assert requests.find_by_status(first) is None
    assert requests.find_by_status("") is None
    assert second not in str(DeletionRequest.objects.values().get())


def test_an_erasure_at_once_carries_on_what_was_scheduled() -> None:
    user = due_person(overdue=-DAY)
    with transaction.atomic():
        begun = requests.begin(actor=SYSTEM, subject=about(user), now=NOW)
        assert begun.pk == request_of(user).pk
        requests.take(begun, now=NOW)
    kept = request_of(user)
    # Due at once, so that another worker goes on with it should this one die.
    assert (kept.state, kept.due_at) == ("running", NOW)
    with transaction.atomic(), pytest.raises(DeletionInProgress):
        requests.begin(actor=SYSTEM, subject=about(user), now=NOW)
    with transaction.atomic():
        assert requests.begin(actor=SYSTEM, subject=about(person()), now=NOW).generation == 1


def test_it_begins_when_it_is_claimed_and_ends_later() -> None:
    user = due_person()
    claimed = requests.claim(request_of(user).pk, now=NOW)
    assert claimed
    assert claimed.started_at == NOW
    done = erase_claimed(claimed, actor=SYSTEM, clock=lambda: NOW + MINUTE, budget=Budget())
    finished = DeletionRequest.objects.get(pk=done.request_id)
    assert (finished.started_at, finished.finished_at) == (NOW, NOW + MINUTE)


def test_what_a_dead_worker_began_began_then() -> None:
    pk = request_of(due_person()).pk
    assert requests.claim(pk, now=NOW)
    taken = requests.claim(pk, now=NOW + LEASE)
    assert taken
    assert taken.started_at == NOW


def test_an_attempt_that_removed_nothing_has_begun_nothing() -> None:
    failed, held = due_person(), due_person()
    for user, end in ((failed, fail_once), (held, requests.release)):
        claimed = requests.claim(request_of(user).pk, now=NOW)
        assert claimed
        end(claimed)
        assert request_of(user).started_at is None
    later = NOW + RETRY_AFTER
    again = requests.claim(request_of(failed).pk, now=later)
    assert again
    assert again.started_at == later


def test_an_attempt_that_removed_something_keeps_its_beginning() -> None:
    user = due_person()
    claimed = requests.claim(request_of(user).pk, now=NOW)
    assert claimed
    claimed.cursor = {"begun": True}
    claimed.save(update_fields=["cursor"])
    assert fail_once(claimed).started_at == NOW
