"""What is ordered when: in the transaction of the deletion, on every path, once."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from audit.models import AuditEvent
from erasure import alone, executor, locking, pacing, sets
from erasure.deleting import restore, schedule_deletion
from erasure.executor import erase_now
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from erasure.purging import purge_due
from organizations.billing.models import BillingOrder, Subscription
from organizations.billing.orders import order_cancel
from organizations.billing.tasks import settle_orders
from organizations.models import Organization
from organizations.services import delete_organization, teardown_organization
from tests.billing.subscribers import (
    SYSTEM,
    about,
    acting,
    name_of,
    order_of,
    orders_of,
    owner_of,
    subscribed,
)
from tests.bystanders import charlie_untouched
from tests.erasure.leaving import make_due
from tests.factories import InvitationFactory, OrganizationFactory

pytestmark = pytest.mark.django_db


def gone(organization: Organization) -> bool:
    return not Organization.objects.filter(pk=organization.pk).exists()


def wake_ups() -> int:
    return DBTaskResult.objects.filter(task_path=settle_orders.module_path).count()


def schedule(organization: Organization) -> DeletionRequest:
    return schedule_deletion(actor=SYSTEM, subject=about(organization), now=timezone.now())


def purge(organization: Organization) -> None:
    organization.is_deleted, organization.is_active = True, False
    organization.save()
    make_due(organization)
    purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)


def by_owner(organization: Organization) -> None:
    owner = acting(owner_of(organization))
    delete_organization(actor=owner, organization_id=organization.pk, now=timezone.now())


def by_staff(organization: Organization) -> None:
    erase_now(actor=SYSTEM, subject=about(organization), now=timezone.now())


def by_teardown(organization: Organization) -> None:
    teardown_organization(
        actor=SYSTEM, organization_id=organization.pk, reference="CASE-1", now=timezone.now()
    )


WAYS = [by_owner, by_staff, by_teardown, purge]


@pytest.mark.parametrize("tear_down", WAYS)
def test_whoever_tears_it_down_orders_its_subscription_to_be_cancelled(tear_down: Any) -> None:
    with charlie_untouched():
        organization = subscribed()
        name = name_of(organization)
        tear_down(organization)
    assert gone(organization)
    assert not Subscription.objects.filter(organization_id=organization.pk).exists()
    order = order_of(organization)
    assert (order.kind, order.state, order.subscription) == ("cancel", "open", name)
    assert order.idempotency_key == f"sexton-{order.pk}"
    assert wake_ups() == 1


@pytest.mark.parametrize("tear_down", WAYS)
def test_so_it_does_when_it_is_large_and_goes_in_pieces(
    tear_down: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 5)
    monkeypatch.setattr(alone, "PIECE", 3)
    with charlie_untouched():
        organization = subscribed()
        InvitationFactory.create_batch(12, organization=organization)
        tear_down(organization)
        # Nobody is billed while a worker is still at it.
        assert orders_of(organization)[-1] == ("cancel", "open")
        purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)
    assert gone(organization)
    assert orders_of(organization)[-1] == ("cancel", "open")
    assert {state for _, state in orders_of(organization)[:-1]} <= {"superseded"}


def test_one_without_a_subscription_orders_nothing() -> None:
    with charlie_untouched():
        organization = OrganizationFactory()
        by_staff(organization)
    assert not BillingOrder.objects.exists()
    assert not wake_ups()


def test_an_erasure_that_comes_to_nothing_orders_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    organization = subscribed()

    def fail(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("erasure.finishing.close_one", fail)
    with charlie_untouched(), pytest.raises(ZeroDivisionError):
        by_staff(organization)
    assert not gone(organization)
    assert not BillingOrder.objects.exists()
    assert not AuditEvent.objects.filter(action__startswith="subscription.").exists()


def test_ordered_twice_it_is_ordered_once() -> None:
    organization = subscribed()
    now = timezone.now()
    assert order_cancel([organization.pk], actor=SYSTEM, now=now) == 1
    assert order_cancel([organization.pk], actor=SYSTEM, now=now) == 0
    assert orders_of(organization) == [("cancel", "open")]


def test_many_are_ordered_at_once() -> None:
    with charlie_untouched():
        some = [subscribed() for _ in range(3)]
        ids = [one.pk for one in some]
        assert order_cancel(ids, actor=SYSTEM, now=timezone.now()) == 3
    assert [orders_of(one) for one in some] == [[("cancel", "open")]] * 3
    assert wake_ups() == 1


def test_in_its_grace_nothing_is_collected_and_a_restore_resumes() -> None:
    with charlie_untouched():
        organization = subscribed()
        schedule(organization)
        assert orders_of(organization) == [("pause", "open")]
        restore(actor=SYSTEM, subject=about(organization), now=timezone.now())
    assert orders_of(organization) == [("pause", "superseded"), ("resume", "open")]


def test_an_order_to_cancel_replaces_what_is_open_and_is_the_last() -> None:
    organization = subscribed()
    schedule(organization)
    with charlie_untouched():
        by_staff(organization)
    assert orders_of(organization) == [("pause", "superseded"), ("cancel", "open")]


def test_whoever_was_never_paused_is_not_resumed() -> None:
    organization = subscribed(is_deleted=True, is_active=False)
    make_due(organization, due_at=timezone.now() + timedelta(days=1))
    restore(actor=SYSTEM, subject=about(organization), now=timezone.now())
    assert not orders_of(organization)


def test_the_log_tells_what_was_ordered_without_a_name() -> None:
    organization = subscribed(name="Northwind Traders")
    name = name_of(organization)
    by_staff(organization)
    event = AuditEvent.objects.get(action="subscription.cancel_ordered")
    assert event.subject_id == event.organization_id == organization.pk
    assert event.facts == {"order": str(order_of(organization).pk), "subscription": name}


def test_the_preview_says_what_becomes_of_the_subscription() -> None:
    organization = subscribed()
    name = name_of(organization)
    [effect] = make_plan(about(organization)).effects
    assert effect.system == "Stripe"
    assert effect.text == (
        f"subscription {name} is cancelled; the customer and the invoices stay there, kept by the "
        "controller under tax law"
    )
    Subscription.objects.filter(organization_id=organization.pk).delete()
    assert make_plan(about(organization)).effects == ()


def test_the_database_itself_refuses_a_second_open_order() -> None:
    organization = subscribed()
    by_staff(organization)
    order = order_of(organization)
    order.pk, order.idempotency_key, order.number, order.kind = None, "other", 9, "pause"
    with pytest.raises(IntegrityError), transaction.atomic():
        order.save(force_insert=True)
