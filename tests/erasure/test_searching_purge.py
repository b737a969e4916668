"""The residual search of a purge: one pass for many, each receipt with its own part."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from audit.models import AuditEvent
from erasure import pacing, purging, signing, stopping, verifying
from erasure.models import DeletionRequest
from erasure.pacing import Pace
from erasure.purging import PurgeReport, purge_due
from erasure.receipts import receipt_of, verify
from erasure.residue import Findings
from erasure.tasks import purge as purge_task
from erasure.verifying import Residue
from tests.bystanders import charlie_untouched
from tests.erasure.leaving import (
    DAY,
    NOW,
    SYSTEM,
    clinging,
    clock,
    due_organization,
    due_person,
    gone,
    request_of,
    sessions_of,
)
from tests.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db


def purge(**options: Any) -> PurgeReport:
    return purge_due(actor=SYSTEM, clock=clock, searches=True, **options)


def residue_of(report: PurgeReport) -> Residue:
    assert report.residue is not None
    return report.residue


def claims_of(row: Any) -> dict[str, Any]:
    return verify(receipt_of(request_of(row)), signing.key_set()["keys"])


def searched(row: Any) -> Any:
    return claims_of(row)["residual_search"]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of identifiers of each search."""
    made: list[int] = []
    inside: Any = verifying
    real = inside.search

    def search(needles: Sequence[str], **options: Any) -> Findings:
        made.append(len(needles))
        found: Findings = real(needles, **options)
        return found

    monkeypatch.setattr(verifying, "search", search)
    return made


def test_one_pass_searches_for_all_and_each_receipt_states_its_own_part(passes: list[int]) -> None:
    with charlie_untouched():
        people = [due_person() for _ in range(3)]
        left = people[1]
        Group.objects.create(name=f"friends of {left.email}")
        report = purge()
    assert report.erased == 3
    assert len(passes) == 1
    residue = residue_of(report)
    assert (residue.subjects, residue.hits, residue.missed) == (3, 1, 0)
    assert residue.left == {request_of(left).pk: 1}
    [(deletion_id, hit)] = residue.listed
    assert (deletion_id, hit.where, hit.column) == (request_of(left).pk, "auth_group", "name")
    assert [searched(user)["hits"] for user in people] == [0, 1, 0]
    assert {searched(user)["at"] for user in people} == {NOW.isoformat()}
    told = AuditEvent.objects.filter(action="user.searched").order_by("id")
    assert sorted(event.outcome for event in told) == ["done", "done", "failed"]


def test_it_searches_for_name_and_address_as_they_were_before_the_row_went() -> None:
    ann = due_person()
    User.objects.filter(pk=ann.pk).update(username="ann.canary", email="ann@leftover.example")
    Group.objects.create(name="ANN.CANARY")
    Group.objects.create(name="ann%40leftover.example")
    assert residue_of(purge()).left == {request_of(ann).pk: 2}
    assert searched(ann)["identifiers"] == 3


def test_without_the_wish_nobody_searches(passes: list[int]) -> None:
    user = due_person()
    report = purge_due(actor=SYSTEM, clock=clock)
    assert (report.residue, passes) == (None, [])
    assert searched(user) is None


def test_the_setting_makes_every_purge_search(passes: list[int]) -> None:
    with override_settings(ERASURE_PURGE_SEARCH=True):
        user = due_person()
        assert residue_of(purge_due(actor=SYSTEM, clock=clock)).subjects == 1
        assert searched(user)["hits"] == 0
        other = due_person()
        assert purge_due(actor=SYSTEM, clock=clock, searches=False).residue is None
        assert searched(other) is None
    assert len(passes) == 1


def test_memory_holds_so_many_and_no_more(
    passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "BATCH", 4)
    monkeypatch.setattr(purging, "CANARY", 2)
    monkeypatch.setattr(pacing, "SLOW", 600)
    monkeypatch.setattr(Pace, "observe", lambda self, done, seconds: setattr(self, "size", 2))
    people = [due_person() for _ in range(10)]
    report = purge(jobs=1)
    assert (report.erased, residue_of(report).subjects) == (10, 10)
    assert len(passes) > 1
    assert all(searched(user)["hits"] == 0 for user in people)


def test_a_large_one_and_whoever_goes_along_are_searched_for_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from erasure import alone, sets

    for module in (alone, sets):
        monkeypatch.setattr(module, "LARGE", 6)
    with charlie_untouched():
        large = due_person(sessions=9)
        acme = due_organization(managed=2)
        report = purge()
    assert (report.erased, residue_of(report).subjects) == (4, 4)
    assert sessions_of(large) == 0
    for row in (large, acme):
        assert searched(row)["hits"] == 0
    assert DeletionRequest.objects.filter(searched={}, state="completed").count() == 0


def test_who_was_not_erased_is_not_searched_for() -> None:
    with charlie_untouched():
        people = [due_person() for _ in range(4)]
        with clinging(people[2].pk):
            report = purge()
    assert (report.erased, residue_of(report).subjects) == (3, 3)
    assert not gone(people[2])
    assert request_of(people[2]).searched == {}


def test_a_search_that_fails_undoes_no_erasure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("quotes ann@example.org")

    monkeypatch.setattr(verifying, "search", fail)
    user = due_person()
    report = purge()
    assert (report.erased, residue_of(report).missed, residue_of(report).subjects) == (1, 1, 0)
    assert searched(user) is None


def test_a_receipt_that_was_tampered_with_is_not_signed_anew() -> None:
    people = [due_person() for _ in range(2)]

    def tamper(done: Any, report: PurgeReport) -> None:
        DeletionRequest.objects.filter(subject_id=people[0].pk).update(counts={"accounts.User": 7})

    residue = residue_of(purge(on_progress=tamper))
    assert (residue.subjects, residue.missed) == (1, 1)
    assert request_of(people[0]).searched == {}
    assert searched(people[1])["hits"] == 0


def test_a_process_that_is_asked_to_end_does_not_begin_to_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "_asked", True)
    user = due_person()
    assert residue_of(purge()).missed == 1
    assert searched(user) is None


def test_the_workers_purge_says_how_many_it_searched_for() -> None:
    due_person(overdue=NOW - timezone.now() + DAY)
    people = [due_person(), due_person()]
    Group.objects.create(name=people[0].email)
    with override_settings(ERASURE_PURGE_SEARCH=True):
        told = purge_task.call()
    assert told == {"erased": 3, "failed": 0, "searched": 3, "left": 1}


def test_a_worker_that_drains_one_subject_searches_for_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from erasure import alone, sets
    from erasure.tasks import drain

    for module in (alone, sets):
        monkeypatch.setattr(module, "LARGE", 6)
    user = due_person(sessions=9, overdue=NOW - timezone.now() + DAY)
    with override_settings(ERASURE_PURGE_SEARCH=True):
        told = drain.call(str(request_of(user).pk))
    assert told == {"erased": 1, "failed": 0, "searched": 1, "left": 0}
    assert searched(user)["hits"] == 0


def test_many_are_identified_by_as_many_questions_as_one(
    django_assert_num_queries: Any,
) -> None:
    from erasure.subjects import get_kind

    users = [UserFactory(is_deleted=True, is_active=False) for _ in range(5)]
    with django_assert_num_queries(2):
        assert len(get_kind("user").identify(users)) == 5
    organizations = [OrganizationFactory(slug=f"acme-19{number}") for number in range(5)]
    with django_assert_num_queries(1):
        assert len(get_kind("organization").identify(organizations)) == 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("jobs", [1, 2])
def test_threads_and_processes_hand_over_what_identified_whom(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process reads the environment: it signs by the same key, and sends no mail either."""
    key = json.dumps(signing.make_key())
    monkeypatch.setenv("RECEIPT_SIGNING_KEY", key)
    monkeypatch.setenv("EMAIL_URL", "dummymail://")
    mailers = {"default": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
    with override_settings(RECEIPT_SIGNING_KEY=key, MAILERS=mailers), charlie_untouched():
        people = [due_person() for _ in range(12)]
        Group.objects.create(name=people[5].email)
        report = purge_due(actor=SYSTEM, clock=timezone.now, jobs=jobs, searches=True)
        residue = residue_of(report)
        assert (report.erased, residue.subjects, residue.hits) == (12, 12, 1)
        assert residue.left == {request_of(people[5]).pk: 1}
        assert all(searched(user) is not None for user in people)
