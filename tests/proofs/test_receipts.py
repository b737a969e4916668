"""Every receipt of a purge agrees with a count that knows nothing of policies and plans: the rows
that are gone from the database and lead to that person, by value."""

import json
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Any

import jwt
import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from audit.models import AuditEvent, EventDetail
from erasure import gate, signing
from erasure.models import DeletionRequest
from erasure.receipts import receipt_of, verify
from erasure.signing import InvalidReceipt
from tests.bystanders import Rows, charlie_untouched, read_rows
from tests.factories import (
    InvitationFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)
from tests.ledgers import a_ledger
from tests.proofs.sizes import RECEIPTS

pytestmark = pytest.mark.django_db(transaction=True)

OURS = {"erasure.DeletionRequest", "erasure.LedgerMark", "erasure.Statement", "audit.AuditEvent"}


def make_person(number: int, organizations: list[Any]) -> Any:
    """Give a person something of each kind, more or less of it by their number."""
    now = timezone.now()
    person = UserFactory(
        username=f"gone{number}", email=f"Gone{number}@example.com", is_active=False
    )
    type(person).objects.filter(pk=person.pk).update(is_deleted=True, deleted_at=now)
    for _ in range(number % 4):
        SessionFactory(user=person)
    for _ in range(number % 3):
        give_key(person)
    for organization in organizations[: number % 5]:
        MembershipFactory(user=person, organization=organization)
    if number % 2:
        InvitationFactory(organization=organizations[0], email=f"gone{number}@example.com")
    event = AuditEvent.objects.create(
        at=now,
        action="user.created",
        actor_kind="system",
        subject_kind="user",
        subject_id=person.pk,
        channel="test",
    )
    for field in range(number % 3):
        EventDetail.objects.create(
            event_id=event.pk, person_id=person.pk, field=f"field{field}", value="192.0.2.7"
        )
    DeletionRequest.objects.create(
        subject_kind="user",
        subject_id=person.pk,
        state="scheduled",
        channel="test",
        requested_by_kind="user",
        requested_at=now,
        due_at=now,
    )
    return person


def gone_rows(before: Rows, after: Rows) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the rows whose key is no longer there, each with its model."""
    gone = []
    for label, rows in before.items():
        if label in OURS:
            continue
        place = place_of_key(label)
        left = {row[place] for row in after[label]}
        gone += [(label, row) for row in rows if row[place] not in left]
    return gone


def place_of_key(label: str) -> int:
    """Return which column of a table is its key, as the database describes it."""
    table = apps.get_model(label)._meta.db_table
    with connection.cursor() as cursor:
        names = [it.name for it in connection.introspection.get_table_description(cursor, table)]
        key = connection.introspection.get_primary_key_column(cursor, table)
    return names.index(key)


def count_by_person(gone: list[tuple[str, tuple[Any, ...]]], people: list[Any]) -> dict[Any, Any]:
    """Attribute each row that is gone to the person whose key or address it holds."""
    owners: dict[str, Any] = {}
    for person in people:
        key = person.pk if connection.features.has_native_uuid_field else person.pk.hex
        owners[repr(key)] = owners[repr(person.email).lower()] = person.pk
    counts: dict[Any, Any] = {person.pk: Counter() for person in people}
    for label, row in gone:
        [owner] = {
            owners[value]
            for cell in row
            for value in (cell, cell.lower() if isinstance(cell, str) else cell)
            if value in owners
        }
        counts[owner][label] += 1
    return counts


@RECEIPTS
def test_every_receipt_agrees_with_an_independent_count(size: int, tmp_path: Path) -> None:
    organizations = [OrganizationFactory() for _ in range(4)]
    for organization in organizations:
        MembershipFactory(organization=organization, role="owner")
    with a_ledger(tmp_path), charlie_untouched():
        gate.look()
        people = [make_person(number, organizations) for number in range(size)]
        before = read_rows()
        call_command("purge_accounts", execute=True, stdout=StringIO())
        counts = count_by_person(gone_rows(before, read_rows()), people)
        keys = signing.key_set()["keys"]
        other = jwt.PyJWK(keys[0]).key
        for person in people:
            request = DeletionRequest.objects.get(subject_id=person.pk)
            token = receipt_of(request)
            claims = verify(token, keys)
            assert claims["removed"] == dict(counts[person.pk])
            assert claims["rows"] == sum(counts[person.pk].values())
            assert jwt.decode(token, other, algorithms=["EdDSA"]) == claims
            assert person.username not in json.dumps(claims)
            assert person.email.lower() not in json.dumps(claims).lower()
            place = (7919 * (claims["rows"] + 1)) % len(token)
            changed = "A" if token[place] != "A" else "B"
            with pytest.raises(InvalidReceipt):
                verify(token[:place] + changed + token[place + 1 :], keys)
