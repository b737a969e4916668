"""The role that docs/operations.md grants: it can do all that the service does, and no more."""

import re

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit.actors import Actor, Origin
from audit.events import Reference, record
from audit.forgetting import forget_events, redact_person
from audit.models import AuditEvent, Checkpoint, EventDetail
from audit.sealing import seal
from audit.verifying import verify
from erasure.closure import closure_of

pytestmark = pytest.mark.django_db

ROLE = "sexton_least"


def grants() -> list[str]:
    """Return the statements of the guide, with the name of a role of our own."""
    guide = (settings.BASE_DIR / "docs/operations.md").read_text()
    block = re.search(r"```sql\n(-- The audit log's tables.*?)```", guide, re.DOTALL)
    assert block, "docs/operations.md no longer gives the grants of the audit log"
    lines = re.sub(r"--.*", "", block[1]).replace("sexton_app", ROLE)
    return [it.strip() for it in lines.split(";") if it.strip()]


@pytest.fixture
def _as_role() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite knows no roles")
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {ROLE}")
        for statement in grants():
            cursor.execute(statement)
        cursor.execute(f"SET LOCAL ROLE {ROLE}")


def refused(statement: str) -> None:
    with (
        pytest.raises(DatabaseError, match=r"permission denied|must be owner|append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.usefixtures("_as_role")
def test_the_service_can_do_its_work_and_nothing_else() -> None:
    people = [uuid7(), uuid7()]
    for person in people:
        actor = Actor("user", person, "test", person_id=person, origin=Origin("192.0.2.1", "x"))
        for _ in range(2):
            subject, now = Reference("user", person), timezone.now()
            record("test", actor=actor, subject=subject, now=now, keep_details=True)
    seal(now=timezone.now())
    assert redact_person(people[0]) == 4
    told = Reference("user", people[0])
    record("user.logs_erased", actor=Actor.system("x"), subject=told, now=timezone.now())
    seal(now=timezone.now())
    assert forget_events([AuditEvent.objects.order_by("id")[1].pk]) == 1
    seal(now=timezone.now())
    assert Checkpoint.objects.count() == 3
    report = verify()
    assert (report.fault, report.forgotten, report.erased) == (None, 1, 2)
    for statement in (
        "UPDATE audit_auditevent SET action = 'x'",
        "UPDATE audit_auditevent SET sealed_seq = NULL",
        "DELETE FROM audit_auditevent",
        "TRUNCATE audit_auditevent",
        "UPDATE audit_eventdetail SET value = 'x'",
        "DELETE FROM audit_eventdetail",
        "TRUNCATE audit_eventdetail",
        "UPDATE audit_tile SET hashes = ''",
        "DELETE FROM audit_tile",
        "UPDATE audit_checkpoint SET note = ''",
        "DELETE FROM audit_checkpoint",
        "ALTER TABLE audit_auditevent DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
        "DROP FUNCTION audit_refuse() CASCADE",
    ):
        refused(statement)
    assert EventDetail.objects.count() == 4


@pytest.mark.usefixtures("_as_role")
def test_an_erasure_takes_the_values_of_its_subject_through_the_door() -> None:
    person = uuid7()
    actor = Actor("user", person, "test", person_id=person, origin=Origin("192.0.2.1", "x"))
    subject = Reference("user", person)
    record("test", actor=actor, subject=subject, now=timezone.now(), keep_details=True)
    closure = closure_of("user")
    (step,) = (it for it in closure.steps if it.label == "audit.EventDetail")
    assert closure.carry_out_steps([step], [person]).removed == {person: {"audit.EventDetail": 2}}
