"""Statements composed once do what the ORM does."""

from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.db.models import Case, F, When
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import Session, User
from apikeys.models import ApiKey
from audit.models import AuditEvent, EventDetail
from audit.statements import delete, insert, select, update
from tests.bystanders import charlie_untouched
from tests.factories import SessionFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db


@select
def find(pk: UUID) -> Any:
    return User.objects.filter(pk=pk).order_by()


@select
def find_names(name: str) -> Any:
    return User.objects.filter(name=name).order_by("username").values_list("pk", "username")


@select
def lock(pk: UUID) -> Any:
    return User.objects.select_for_update().filter(pk=pk).order_by()


@update
def mark(user_id: UUID, used: UUID, now: datetime) -> Any:
    last_use = Case(When(pk=used, then=now), default=F("last_used_at"))
    return ApiKey.objects.filter(user_id=user_id), {"revoked_at": now, "last_used_at": last_use}


@delete
def end_sessions(user_id: UUID) -> Any:
    return Session.objects.filter(user_id=user_id)


def test_an_instance_is_what_the_orm_would_return() -> None:
    alice = UserFactory(name="Alice")
    found = find.first(pk=alice.pk)
    assert found == alice
    for field in User._meta.concrete_fields:
        theirs = getattr(User.objects.get(pk=alice.pk), field.attname)
        assert getattr(found, field.attname) == theirs
    assert find.first(pk=uuid7()) is None
    assert found
    found.name = "Al"
    found.save()
    assert User.objects.get(pk=alice.pk).name == "Al"


def test_tuples_come_in_the_querys_order_and_see_the_present() -> None:
    assert find_names.all(name="x") == []
    users = [UserFactory(name="x", username=name) for name in ("b", "a", "c")]
    expected = sorted((user.username, user.pk) for user in users)
    assert find_names.all(name="x") == [(pk, name) for name, pk in expected]
    User.objects.filter(username="a").delete()
    assert [name for _, name in find_names.all(name="x")] == ["b", "c"]


def test_the_sql_is_the_orms_own() -> None:
    alice = UserFactory()
    with CaptureQueriesContext(connection) as captured:
        find.first(pk=alice.pk)
        list(User.objects.filter(pk=alice.pk).order_by())
        end_sessions(user_id=alice.pk)
        Session.objects.filter(user_id=alice.pk).delete()
    ours, theirs, our_end, their_end = (query["sql"] for query in captured)
    assert ours == theirs
    assert our_end == their_end


def test_a_lock_needs_a_transaction() -> None:
    alice = UserFactory()
    with transaction.atomic():
        assert lock.first(pk=alice.pk) == alice


@pytest.mark.django_db(transaction=True)
def test_a_lock_outside_of_a_transaction_is_refused() -> None:
    with pytest.raises(TransactionManagementError):
        lock.first(pk=uuid7())


def test_an_update_changes_what_it_names_and_says_how_many() -> None:
    with charlie_untouched():
        alice = UserFactory()
        give_key(alice)
        give_key(alice)
        first, second = ApiKey.objects.filter(user=alice)
        now = timezone.now()
        assert mark(user_id=alice.pk, used=first.pk, now=now) == 2
        first.refresh_from_db()
        second.refresh_from_db()
        assert (first.last_used_at, second.last_used_at) == (now, None)
        assert first.revoked_at == second.revoked_at == now
        assert mark(user_id=uuid7(), used=None, now=now) == 0


def test_a_delete_takes_what_it_names_and_says_how_many() -> None:
    with charlie_untouched():
        alice = UserFactory()
        SessionFactory(user=alice)
        SessionFactory(user=alice)
        assert end_sessions(user_id=alice.pk) == 2
        assert end_sessions(user_id=alice.pk) == 0


def test_rows_are_inserted_with_one_statement() -> None:
    now = timezone.now()
    rows = [
        AuditEvent(at=now, action=f"test.{n}", actor_kind="system", channel="x", facts={"n": n})
        for n in range(3)
    ]
    with CaptureQueriesContext(connection) as captured:
        insert(*rows)
        insert()
    assert len(captured) == 1
    for row in rows:
        stored = AuditEvent.objects.get(pk=row.pk)
        for field in AuditEvent._meta.concrete_fields:
            assert getattr(stored, field.attname) == getattr(row, field.attname)
        assert not row._state.adding


def _spelled(field: Any, row: Any) -> Any:
    value = getattr(row, field.attname)
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.mark.parametrize("many", [1, 2])
def test_rows_of_two_models_go_together(vendor: str, many: int) -> None:
    now = timezone.now()
    event = AuditEvent(at=now, action="it", actor_kind="system", channel="x", facts={})
    details = [
        EventDetail(
            event_id=event.pk, person_id=uuid7(), field=f"f{n}", value=f"{n}%s", salt=b"\0s"
        )
        for n in range(many)
    ]
    with CaptureQueriesContext(connection) as captured:
        insert(event, *details)
    assert len(captured) == (1 if vendor == "postgresql" else 2)
    for row in (event, *details):
        stored = type(row)._default_manager.get(pk=row.pk)
        for field in row._meta.concrete_fields:
            assert _spelled(field, stored) == _spelled(field, row)
        assert not row._state.adding


@pytest.mark.django_db(transaction=True)
def test_a_new_connection_composes_anew() -> None:
    alice = UserFactory()
    assert find.first(pk=alice.pk) == alice
    connection.close()
    assert find.first(pk=alice.pk) == alice
