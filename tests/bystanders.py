"""Charlie: everything that a stranger owns, and the proof that nobody touched it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.db import connection
from django.utils import timezone

from audit.models import AuditEvent, EventDetail
from erasure.models import DeletionRequest
from tests.factories import (
    ApplicationFactory,
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    SubscriptionFactory,
    UserFactory,
    give_key,
    give_token,
    give_webhook,
)

Rows = dict[str, set[tuple[Any, ...]]]


def create_charlie() -> None:
    """Give Charlie one of everything: an account, keys, a session, an organization with members,
    an invitation, a managed user, a subscription, a webhook with a delivery, a deletion request
    and events."""
    charlie = UserFactory(username="charlie", email="charlie@example.com")
    colleague = UserFactory(username="charlies-colleague")
    organization = OrganizationFactory(name="Charlie's", slug="charlies")
    MembershipFactory(user=charlie, organization=organization, role="owner")
    MembershipFactory(user=colleague, organization=organization)
    InvitationFactory(organization=organization, invited_by=charlie)
    managed = ManagedUserFactory(organization=organization)
    SubscriptionFactory(organization=organization)
    give_webhook(organization)
    SessionFactory(user=charlie)
    give_key(charlie)
    give_key(organization)
    give_token(charlie, application=ApplicationFactory(organization=organization))
    give_token(ApplicationFactory(machine=True, organization=organization))
    now = timezone.now()
    AuditEvent.objects.create(
        at=now,
        action="user.created",
        actor_kind="system",
        subject_kind="user",
        subject_id=charlie.pk,
        channel="test",
    )
    event = AuditEvent.objects.latest("at")
    EventDetail.objects.create(
        event_id=event.pk, person_id=charlie.pk, field="address", value="192.0.2.3"
    )
    DeletionRequest.objects.create(
        subject_kind="user",
        subject_id=managed.user_id,
        channel="test",
        requested_by_kind="system",
        requested_at=now,
        due_at=now + timedelta(days=900),
    )


SEALED = ("sealed_seq", "mac")
"""What the sealer changes of everybody's events: each gets a position for a code."""


def read_rows() -> Rows:
    """Return every row of every table of ours, as the database holds it."""
    rows: Rows = {}
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            if model._meta.proxy:
                continue
            names = [str(it.column) for it in model._meta.concrete_fields]
            columns = ", ".join(
                map(connection.ops.quote_name, (it for it in names if it not in SEALED))
            )
            table = connection.ops.quote_name(model._meta.db_table)
            cursor.execute(f"SELECT {columns} FROM {table}")
            rows[model._meta.label] = {tuple(map(_freeze, row)) for row in cursor.fetchall()}
    return rows


@contextmanager
def charlie_untouched() -> Iterator[None]:
    """Create Charlie, and fail unless each of his rows is afterwards as it was before."""
    before_charlie = read_rows()
    create_charlie()
    after_charlie = read_rows()
    his = {label: rows - before_charlie[label] for label, rows in after_charlie.items()}
    assert sum(map(len, his.values())) >= 12
    yield
    now = read_rows()
    for label, rows in his.items():
        assert rows <= now[label], f"Charlie lost or changed rows of {label}: {rows - now[label]}"


def _freeze(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview | bytearray) else repr(value)
