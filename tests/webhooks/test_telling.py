"""Each event reaches those who chose it, once in effect, signed, in order, naming nobody."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.services import soft_delete_own_account
from apikeys.models import ApiKey
from apikeys.services import revoke_any_key
from audit.actors import Actor
from audit.events import Reference, record
from erasure.deleting import restore, schedule_deletion
from erasure.executor import erase_now
from erasure.models import DeletionRequest
from erasure.purging import purge_due
from erasure.typeids import spell_id
from organizations.services import delete_organization
from organizations.webhooks.delivering import deliver_due
from organizations.webhooks.events import (
    API_KEY_REVOKED,
    MEMBER_REMOVED,
    ORGANIZATION_DELETED,
    USER_ERASED,
)
from organizations.webhooks.models import Delivery, Endpoint, Message
from tests.bystanders import charlie_untouched
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)
from tests.webhooks.endpoints import deliver_all, make_endpoint
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


def about(row: Any, kind: str = "user") -> Reference:
    return Reference(kind, row.pk)


def test_a_members_deletion_is_told_from_start_to_end(receiver: Receiver) -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice-3141", email="alice@example.org")
        organization = MembershipFactory(user=alice).organization
        _, secret = make_endpoint(organization, receiver.url)
        now = timezone.now()
        actor = Actor(kind="user", id=alice.pk, channel="test", person_id=alice.pk)
        soft_delete_own_account(actor=actor, user_id=alice.pk, now=now)
        restore(actor=SYSTEM, subject=about(alice), now=now)
        schedule_deletion(actor=SYSTEM, subject=about(alice), now=now)
        erase_now(actor=SYSTEM, subject=about(alice), now=now)
        deliver_all()
    assert receiver.types == [
        "user.deletion_scheduled",
        "user.restored",
        "user.deletion_scheduled",
        "user.erased",
    ]
    places = []
    for request in receiver.requests:
        body = request.verify(secret)
        assert body["data"]["subject"] == {"kind": "user", "id": spell_id("usr", alice.pk)}
        assert body["data"]["deletion_id"].startswith("del_")
        assert request.id.startswith("msg_")
        assert b"alice-3141" not in request.body
        assert b"example.org" not in request.body
        places.append(body["data"]["sequence"])
    assert places == sorted(set(places))
    assert len({request.id for request in receiver.requests}) == 4
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}


def test_a_purge_of_many_is_told_with_one_statement_for_the_messages(
    receiver: Receiver, django_assert_max_num_queries: Any
) -> None:
    with charlie_untouched():
        users = [UserFactory() for _ in range(5)]
        organization = OrganizationFactory()
        for user in users:
            MembershipFactory(user=user, organization=organization)
        make_endpoint(organization, receiver.url, USER_ERASED)
        make_endpoint(None, receiver.url, USER_ERASED, name="Mailing list")
        past = timezone.now() - timedelta(days=20)
        for user in users:
            schedule_deletion(actor=SYSTEM, subject=about(user), now=past)
        purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)
        assert Message.objects.filter(type=USER_ERASED).count() == 5
        assert Delivery.objects.pending().count() == 10
        deliver_all()
    told = [one.data["data"]["subject"]["id"] for one in receiver.requests]
    assert sorted(told) == sorted(2 * [spell_id("usr", user.pk) for user in users])


def test_nobody_is_told_of_what_nobody_chose(receiver: Receiver) -> None:
    alice, stranger = UserFactory(), UserFactory()
    make_endpoint(MembershipFactory(user=alice).organization, receiver.url, MEMBER_REMOVED)
    make_endpoint(OrganizationFactory(), receiver.url)
    off, _ = make_endpoint(MembershipFactory(user=alice).organization, receiver.url)
    Endpoint.objects.filter(pk=off.pk).update(is_active=False)
    for user in (alice, stranger):
        erase_now(actor=SYSTEM, subject=about(user), now=timezone.now())
    assert not Message.objects.exists()


def test_the_last_event_of_an_organization_outlives_it(receiver: Receiver) -> None:
    with charlie_untouched():
        owner = UserFactory()
        organization = OrganizationFactory(name="Northwind-4711", slug="northwind-4711")
        MembershipFactory(user=owner, organization=organization, role="owner")
        managed = ManagedUserFactory(organization=organization)
        endpoint, secret = make_endpoint(organization, receiver.url)
        actor = Actor(kind="user", id=owner.pk, channel="test", person_id=owner.pk)
        delete_organization(actor=actor, organization_id=organization.pk, now=timezone.now())
        assert not Endpoint.objects.filter(pk=endpoint.pk).exists()
        [left] = Delivery.objects.filter(receiver_id=endpoint.pk)
        assert left.farewell
        assert receiver.url not in left.farewell
        deliver_all()
    assert receiver.types == ["organization.deleted"]
    body = receiver.requests[0].verify(secret)
    assert body["data"]["organization_id"] == str(organization.pk)
    left.refresh_from_db()
    assert (left.state, left.farewell) == ("delivered", "")
    assert managed.user_id


def test_an_address_that_outlives_its_organization_is_gone_after_three_days(
    receiver: Receiver,
) -> None:
    receiver.answer = lambda request: (500, {}, b"")
    owner = UserFactory()
    organization = MembershipFactory(user=owner, role="owner").organization
    make_endpoint(organization, receiver.url, ORGANIZATION_DELETED)
    actor = Actor(kind="user", id=owner.pk, channel="test", person_id=owner.pk)
    start = timezone.now()
    delete_organization(actor=actor, organization_id=organization.pk, now=start)
    at, tries = start, 0
    while left := Delivery.objects.pending().first():
        assert left.farewell
        at = max(at, left.next_try_at or at)
        tries += deliver_all(at)
    left = Delivery.objects.get()
    assert (left.state, left.farewell, tries) == ("dead", "", 10)
    assert timedelta(hours=60) < at - start <= timedelta(days=3)


def test_an_instance_wide_recipient_is_told_of_everybody(receiver: Receiver) -> None:
    alice, organization = UserFactory(), OrganizationFactory()
    make_endpoint(None, receiver.url, name="Mailing list")
    erase_now(actor=SYSTEM, subject=about(alice), now=timezone.now())
    erase_now(actor=SYSTEM, subject=about(organization, "organization"), now=timezone.now())
    deliver_all()
    assert sorted(receiver.types) == [ORGANIZATION_DELETED, USER_ERASED]


def test_revoked_keys_and_removed_members_are_told(receiver: Receiver) -> None:
    organization = OrganizationFactory()
    member, managed = UserFactory(), ManagedUserFactory(organization=organization).user
    MembershipFactory(user=member, organization=organization)
    make_endpoint(organization, receiver.url)
    keys = []
    for owner in (organization, managed, member):
        give_key(owner)
        key = ApiKey.objects.latest("created_at")
        revoke_any_key(actor=SYSTEM, key_id=key.pk, now=timezone.now())
        keys.append(key)
    record(
        MEMBER_REMOVED,
        actor=SYSTEM,
        subject=about(organization, "organization"),
        now=timezone.now(),
        facts={"member": str(member.pk)},
    )
    deliver_all()
    told = {one.data["data"].get("api_key_id") for one in receiver.requests}
    # A member's own key is no affair of the organization's.
    assert told == {None, *(spell_id("key", key.pk) for key in keys[:2])}
    assert sorted(receiver.types) == [API_KEY_REVOKED, API_KEY_REVOKED, MEMBER_REMOVED]
    [removed] = [one for one in receiver.requests if one.data["type"] == MEMBER_REMOVED]
    assert removed.data["data"]["user_id"] == spell_id("usr", member.pk)


def test_a_later_event_waits_for_an_earlier_one_of_the_same_subject(receiver: Receiver) -> None:
    alice, bob = UserFactory(), UserFactory()
    make_endpoint(None, receiver.url)
    now = timezone.now()
    receiver.answer = lambda request: (503, {}, b"")
    schedule_deletion(actor=SYSTEM, subject=about(alice), now=now)
    deliver_all(now)
    restore(actor=SYSTEM, subject=about(alice), now=now)
    erase_now(actor=SYSTEM, subject=about(bob), now=now)
    receiver.answer = lambda request: (200, {}, b"")
    assert deliver_all(now) == 1, "Bob's, and not Alice's later one"
    assert deliver_all(now + timedelta(seconds=10)) == 2
    mine = [one for one in receiver.requests if spell_id("usr", alice.pk) in one.body.decode()]
    assert [one.data["type"] for one in mine] == [
        "user.deletion_scheduled",
        "user.deletion_scheduled",
        "user.restored",
    ]
    assert mine[0].id == mine[1].id
    assert mine[0].body == mine[1].body


def test_a_dead_one_blocks_nothing(receiver: Receiver) -> None:
    alice = UserFactory()
    make_endpoint(None, receiver.url)
    now = timezone.now()
    schedule_deletion(actor=SYSTEM, subject=about(alice), now=now)
    restore(actor=SYSTEM, subject=about(alice), now=now)
    Delivery.objects.filter(message__type="user.deletion_scheduled").update(state="dead")
    deliver_all(now)
    assert receiver.types == ["user.restored"]


def test_what_is_undone_is_not_told() -> None:
    alice = UserFactory()
    make_endpoint(None)
    with transaction.atomic():
        record("user.restored", actor=SYSTEM, subject=about(alice), now=timezone.now())
        assert Message.objects.exists()
        transaction.set_rollback(True)
    assert not Message.objects.exists()


def test_nobody_who_listens_costs_one_small_query(django_assert_num_queries: Any) -> None:
    alice = UserFactory()
    make_endpoint(None, "https://hooks.example.com", MEMBER_REMOVED)
    with django_assert_num_queries(2):
        record("user.restored", actor=SYSTEM, subject=about(alice), now=timezone.now())
    with django_assert_num_queries(1):
        record("user.created", actor=SYSTEM, subject=about(alice), now=timezone.now())


def test_an_erasure_that_somebody_waits_for_names_its_deletion(receiver: Receiver) -> None:
    alice = UserFactory()
    make_endpoint(None, receiver.url, USER_ERASED)
    erase_now(actor=SYSTEM, subject=about(alice), now=timezone.now())
    deliver_due(clock=timezone.now)
    [request] = receiver.requests
    deletion = DeletionRequest.objects.get(subject_id=alice.pk)
    assert request.data["data"]["deletion_id"] == spell_id("del", deletion.pk)
