"""What is kept of deliveries, what is tried when, and what becomes of endpoints that fail."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from audit.actors import Actor
from audit.events import Reference, record
from erasure import alone, executor, sets
from erasure.chores import all_chores
from erasure.clocks import sweep
from erasure.executor import erase_now
from erasure.purging import purge_due
from erasure.typeids import spell_id
from organizations.models import Organization
from organizations.services import delete_organization
from organizations.webhooks import delivering, tasks
from organizations.webhooks.events import ORGANIZATION_DELETED, USER_ERASED
from organizations.webhooks.models import Attempt, Delivery, Endpoint, Message
from organizations.webhooks.retrying import LONGEST, SCHEDULE, next_try, read_retry_after
from organizations.webhooks.sending import Answer
from organizations.webhooks.tasks import deliver
from tests.bystanders import charlie_untouched
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory
from tests.webhooks.endpoints import deliver_all, make_endpoint
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
DAY = timedelta(days=1)


def happen(user: Any = None, *, now: datetime | None = None) -> Delivery:
    """Have an event told; return its first delivery."""
    subject = Reference("user", (user or UserFactory()).pk)
    record("user.restored", actor=SYSTEM, subject=subject, now=now or timezone.now())
    found: Delivery = Delivery.objects.filter(subject_id=subject.id).earliest("created_at")
    return found


def test_old_history_goes_and_what_is_under_way_stays(receiver: Receiver) -> None:
    with charlie_untouched():
        make_endpoint(None, receiver.url)
        now = timezone.now()
        old, recent = happen(now=now - 31 * DAY), happen(now=now - 29 * DAY)
        deliver_all(now)
        waiting = happen(now=now - 31 * DAY)
        [chore] = [one for one in all_chores() if one.name == "webhook_history"]
        assert chore.count(now) == 1
        assert chore.remove(now) == 1
    left = Delivery.objects.filter(endpoint__organization=None)
    assert set(left.values_list("pk", flat=True)) == {recent.pk, waiting.pk}
    assert not Message.objects.filter(pk=old.message_id).exists()
    assert Attempt.objects.filter(delivery__in=left).count() == 1


def test_the_sweep_wakes_deliveries_that_are_due() -> None:
    make_endpoint(None)
    happen()
    DBTaskResult.objects.all().delete()
    now = timezone.now() + timedelta(seconds=1)
    assert sweep(now=now, execute=False).done["errands"]["webhooks"] == 1
    assert sweep(now=now, execute=True).done["errands"]["webhooks"] == 1
    paths = DBTaskResult.objects.values_list("task_path", flat=True)
    assert "organizations.webhooks.tasks.deliver" in paths


def test_the_task_asks_to_be_woken_for_the_next_try(receiver: Receiver) -> None:
    receiver.answer = lambda request: (500, {}, b"")
    make_endpoint(None, receiver.url)
    delivery = happen()
    DBTaskResult.objects.all().delete()
    assert deliver.call() == 1
    delivery.refresh_from_db()
    again = DBTaskResult.objects.get(task_path=tasks.deliver.module_path)
    assert again.run_after == delivery.next_try_at


def test_nothing_is_sent_from_a_backup_that_is_behind(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(None, receiver.url)
    happen()
    monkeypatch.setattr(tasks, "is_behind", lambda: True)
    assert deliver.call() == 0
    assert receiver.requests == []


def test_ten_tries_over_three_days() -> None:
    first = now = datetime(2026, 1, 1, tzinfo=UTC)
    tries = 1
    while at := next_try(tries, first=first, now=now):
        pause = SCHEDULE[tries - 1]
        assert 0.9 * pause <= at - now <= 1.1 * pause or at == first + LONGEST
        now, tries = at, tries + 1
    assert tries == 10
    assert now - first <= LONGEST
    assert sum(SCHEDULE, timedelta()) < LONGEST
    late = next_try(1, first=first, now=first, after=timedelta(hours=2))
    assert late == first + timedelta(hours=2)
    assert next_try(3, first=first, now=first + LONGEST) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("999999999", 86400),
        ("Thu, 01 Jan 2026 00:10:00 GMT", 600),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("", None),
        ("-5", None),
        ("soon", None),
    ],
)
def test_a_receiver_may_ask_for_more_time(text: str, seconds: int | None) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = read_retry_after(text, now=now)
    assert found == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_is_honoured(receiver: Receiver) -> None:
    receiver.answer = lambda request: (429, {"Retry-After": "3600"}, b"")
    make_endpoint(None, receiver.url)
    now = timezone.now()
    delivery = happen(now=now)
    deliver_all(now)
    delivery.refresh_from_db()
    assert delivery.next_try_at == now + timedelta(hours=1)


def test_one_that_says_it_is_gone_is_switched_off(receiver: Receiver) -> None:
    with charlie_untouched():
        receiver.answer = lambda request: (410, {}, b"")
        user = UserFactory()
        organization = MembershipFactory(user=user).organization
        endpoint, _ = make_endpoint(organization, receiver.url)
        other, _ = make_endpoint(organization, receiver.url)
        Endpoint.objects.filter(pk=other.pk).update(events=" member.removed ")
        happen(user)
        happen(user)
        deliver_all()
    endpoint.refresh_from_db()
    assert (endpoint.is_active, "410" in endpoint.disabled_reason) == (False, True)
    assert Endpoint.objects.get(pk=other.pk).is_active
    mine = Delivery.objects.filter(endpoint=endpoint)
    assert set(mine.values_list("state", flat=True)) == {"dead"}
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("works", [True, False])
def test_one_at_which_nothing_arrives_for_three_days_is_switched_off(
    works: bool, receiver: Receiver
) -> None:
    user = UserFactory()
    endpoint, _ = make_endpoint(MembershipFactory(user=user).organization, receiver.url)
    now = timezone.now()
    delivery = happen(user, now=now)
    shown = spell_id("msg", delivery.message_id)
    receiver.answer = lambda request: (200 if works and request.id != shown else 500, {}, b"")
    deliver_all(now)
    another = UserFactory()
    MembershipFactory(user=another, organization_id=endpoint.organization_id)
    happen(another, now=now)
    deliver_all(now)
    at = now
    for _ in range(40):
        if not (left := Delivery.objects.pending().order_by("next_try_at").first()):
            break
        at = max(at, left.next_try_at or at)
        deliver_all(at)
    endpoint.refresh_from_db()
    assert endpoint.is_active is works


def test_a_slow_receiver_keeps_no_other_waiting() -> None:
    slow, _ = make_endpoint(None, "https://slow.example.com")
    quick, _ = make_endpoint(OrganizationFactory(), "https://quick.example.com")
    now = timezone.now()
    for _ in range(20):
        happen(now=now)
    last = happen(now=now)
    Delivery.objects.filter(pk=last.pk).update(receiver_id=quick.pk, endpoint=quick)
    taken = delivering.claim(now=now, limit=delivering.AT_ONCE)
    receivers = [one.receiver_id for one in taken]
    assert receivers.count(slow.pk) == delivering.OF_ONE
    assert quick.pk in receivers


def test_an_answer_that_comes_after_the_lease_was_lost_changes_nothing() -> None:
    make_endpoint(None)
    now = timezone.now()
    delivery = happen(now=now)
    [claimed] = delivering.claim(now=now, limit=1)
    assert delivering.claim(now=now, limit=1) == []
    parcel = delivering._pack(claimed, now)
    later = now + delivering.LEASE
    [again] = delivering.claim(now=later, limit=1)
    assert again.pk == delivery.pk
    assert delivering.record_answer(parcel, {}, Answer(status=200), now=later) is None
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("pending", 2)
    assert not Attempt.objects.exists()


def test_a_secret_that_cannot_be_read_is_a_failed_try(receiver: Receiver, settings: Any) -> None:
    make_endpoint(None, receiver.url)
    delivery = happen()
    known = settings.SECRET_KEY
    settings.SECRET_KEY = "another-one-" * 5
    deliver_all()
    delivery.refresh_from_db()
    assert "SECRET_KEY" in delivery.last_error
    assert delivery.state == "pending"
    settings.SECRET_KEY_FALLBACKS = [known]
    deliver_all(timezone.now() + timedelta(minutes=1))
    assert len(receiver.requests) == 1


def test_an_erasure_in_pieces_tells_of_its_end_once_and_not_of_its_start(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (alone, executor, sets):
        if hasattr(module, "LARGE"):
            monkeypatch.setattr(module, "LARGE", 12)
    with charlie_untouched():
        user = UserFactory()
        for _ in range(20):
            organization = MembershipFactory(user=user).organization
        make_endpoint(None, receiver.url, USER_ERASED)
        make_endpoint(organization, receiver.url, USER_ERASED)
        erase_now(actor=SYSTEM, subject=Reference("user", user.pk), now=timezone.now())
        assert not Delivery.objects.filter(state="prepared").exists()
        deliver_all(timezone.now() + timedelta(minutes=1))
    assert receiver.types == [USER_ERASED, USER_ERASED]
    assert all(one.data["data"]["deletion_id"] for one in receiver.requests)


def test_an_organization_that_is_drained_in_pieces_still_has_its_last_word(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its endpoint goes in an early piece; that it is gone is told when the last one is."""
    for module in (alone, executor, sets):
        if hasattr(module, "LARGE"):
            monkeypatch.setattr(module, "LARGE", 12)
    with charlie_untouched():
        owner = UserFactory()
        organization = MembershipFactory(user=owner, role="owner").organization
        for _ in range(20):
            MembershipFactory(organization=organization)
        endpoint, secret = make_endpoint(organization, receiver.url, ORGANIZATION_DELETED)
        actor = Actor(kind="user", id=owner.pk, channel="test", person_id=owner.pk)
        delete_organization(actor=actor, organization_id=organization.pk, now=timezone.now())
        purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)
        assert not Organization.objects.filter(pk=organization.pk).exists()
        assert not Endpoint.objects.filter(pk=endpoint.pk).exists()
        deliver_all(timezone.now() + timedelta(minutes=1))
    [request] = receiver.requests
    assert request.verify(secret)["type"] == ORGANIZATION_DELETED
