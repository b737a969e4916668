"""Users and organizations whose deletion is due, for the tests of the engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db import connection

from accounts.models import Session, User
from audit.actors import Actor
from audit.events import Reference
from audit.models import EventDetail
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SYSTEM = Actor.system("test")


def clock() -> datetime:
    return NOW


def person(**fields: Any) -> User:
    """Create a live user with a key, a session and two personal values in the log: 5 rows."""
    user: User = UserFactory(**fields)
    give_key(user)
    SessionFactory(user=user)
    event = uuid4()
    EventDetail.objects.bulk_create(
        EventDetail(event_id=event, person_id=user.pk, field=field, value="192.0.2.1")
        for field in ("address", "user_agent")
    )
    return user


def gone(user: User) -> bool:
    return not User.objects.filter(pk=user.pk).exists()


def due_person(*, sessions: int = 0, overdue: timedelta = DAY, **fields: Any) -> User:
    """Create a soft deleted user whose deletion is due, with more sessions if need be."""
    user = person()
    for _ in range(sessions):
        SessionFactory(user=user)
    User.objects.filter(pk=user.pk).update(is_deleted=True, is_active=False)
    make_due(user, overdue=overdue, **fields)
    return user


def make_due(
    row: User | Organization, *, overdue: timedelta = DAY, **fields: Any
) -> DeletionRequest:
    return DeletionRequest.objects.create(
        subject_kind="user" if isinstance(row, User) else "organization",
        subject_id=row.pk,
        channel="test",
        requested_by_kind="user",
        requested_at=NOW - 15 * DAY,
        **{"due_at": NOW - overdue, **fields},
    )


def due_organization(*, managed: int = 0, **fields: Any) -> Organization:
    """Create a soft deleted organization whose deletion is due, and live users that it manages."""
    organization: Organization = OrganizationFactory(is_deleted=True, is_active=False)
    MembershipFactory(organization=organization, role="owner")
    give_key(organization)
    for _ in range(managed):
        ManagedUserFactory(organization=organization, user=person())
    make_due(organization, **fields)
    return organization


def request_of(row: Any) -> DeletionRequest:
    found: DeletionRequest = DeletionRequest.objects.filter(subject_id=row.pk).latest("generation")
    return found


def about(row: User | Organization) -> Reference:
    return Reference("user" if isinstance(row, User) else "organization", row.pk)


def sessions_of(user: User) -> int:
    return Session.objects.filter(user_id=user.pk).count()


@contextmanager
def clinging(*ids: UUID) -> Iterator[None]:
    """Let a table that no model knows of hold on to some users, so that the database refuses to
    remove their rows."""
    kind = "uuid" if connection.vendor == "postgresql" else "char(32)"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE clinging (held {kind} REFERENCES accounts_user (id))")
        for one in ids:
            cursor.execute("INSERT INTO clinging VALUES (%s)", [one.hex])
        try:
            yield
        finally:
            cursor.execute("DROP TABLE clinging")
