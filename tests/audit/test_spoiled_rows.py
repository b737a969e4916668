"""Rows that no service has written are named, and nobody who reads the log breaks off at them."""

from datetime import UTC, datetime

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference, record
from audit.evidence import FORGOTTEN
from audit.forgetting import forget_events
from audit.gaps import prepare_under_way, read_pending
from audit.verifying import Kept, verify
from tests.audit.logs import SIZE, at, erase_logs, events, make_people, seal_all, verdict
from tests.databases import triggers_off

pytestmark = pytest.mark.django_db


SPOILED = {
    "a number that is too long": (
        "facts",
        "'{\"n\": ' || substr('1', 1) || %s || '}'",
        "0" * 5_000,
    ),
    "a document that is too deep": ("facts", "%s", "[" * 5_000 + "]" * 5_000),
    "a document of another kind": ("facts", "%s", "[1, 2]"),
    "commitments of another kind": ("commitments", "%s", '"x"'),
}


@pytest.mark.parametrize("name", SPOILED)
def test_values_that_no_service_writes_are_named_and_break_nothing(kept: Kept, name: str) -> None:
    column, text, value = SPOILED[name]
    cast = "::jsonb" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(
            f"UPDATE audit_auditevent SET {column} = ({text}){cast} WHERE sealed_seq = 61", [value]
        )
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")
    assert verdict(kept) == ("changed", 61)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("audit_auditevent", "action", "X'ff'"),
        ("audit_auditevent", "action", "CAST(X'ff' AS TEXT)"),
        ("audit_auditevent", "at", "'never'"),
        ("audit_auditevent", "subject_id", "7"),
        ("audit_auditevent", "id", "'x'"),
        ("audit_eventdetail", "value", "X'ff'"),
        ("audit_eventdetail", "value", "CAST(X'ff' AS TEXT)"),
        ("audit_eventdetail", "salt", "1000000000000"),
        ("audit_eventdetail", "salt", "'x'"),
    ],
)
def test_bytes_that_are_no_text_and_times_that_are_none_are_named(
    kept: Kept, table: str, column: str, value: str
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    pk = str(at(61).pk.hex)
    mine = "id = %s" if table == "audit_auditevent" else "event_id = %s AND field = 'address'"
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {column} = {value} WHERE {mine}", [pk])
    found = verify([kept], most=100)
    assert [it.position for it in found.faults if it.code != "orphan"] == [61]
    assert found.events >= SIZE - 1


OTHER_TIMES = {
    "postgresql": ["(at::text || ' BC')::timestamptz"],
    "sqlite": [
        "replace(at, ' ', 'T')",
        "replace(replace(at, '-', ''), ' ', 'T')",
        "replace(at, '.', ',')",
        "at || '0'",
        "at || ' '",
        "CAST(at AS BLOB)",
    ],
}
"""A time that reads the same, and lies elsewhere for the database."""


def test_a_time_that_was_moved_by_its_spelling_is_named(kept: Kept) -> None:
    for moved in OTHER_TIMES[connection.vendor]:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_auditevent SET at = {moved} WHERE sealed_seq = 61")
            assert verdict(kept) == ("changed", 61)
            transaction.set_rollback(True)


def test_a_fraction_of_nought_is_spelled_in_one_way() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    record("seen", actor=Actor.system("test"), subject=None, now=datetime(2026, 1, 1, tzinfo=UTC))
    seal_all()
    assert verdict() is None
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET at = at || '.000000'")
    assert verdict() == ("changed", 0)


def test_a_record_of_an_erasure_that_was_spoiled_is_named(kept: Kept) -> None:
    forget_events([at(5).pk])
    seal_all()
    events().filter(action=FORGOTTEN).update(facts=[{"positions": 1}])
    assert verdict(kept) == ("missing", 5)
    events().filter(action=FORGOTTEN).update(facts={"positions": [[5, 5], [1], ["x", 2]]})
    assert verdict(kept) == ("changed", SIZE)


@pytest.mark.parametrize("year", [1, 9999])
def test_nor_does_one_at_the_end_of_the_calendar_end_the_verification(
    kept: Kept, year: int
) -> None:
    erase_logs(make_people(1)[0])
    kept = seal_all()
    edge = datetime(year, 1, 1, tzinfo=UTC) if year == 1 else datetime.max.replace(tzinfo=UTC)
    events().filter(sealed_seq=SIZE).update(at=edge)
    assert verdict(kept) == ("changed", SIZE)


@pytest.mark.parametrize("column", ["at", "facts", "subject_id", "id"])
def test_nor_does_one_that_cannot_be_read_end_the_verification(kept: Kept, column: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    erase_logs(make_people(1)[0])
    forget_events([at(5).pk])
    kept = seal_all()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(
            f"UPDATE audit_auditevent SET {column} = CAST(X'ff' AS TEXT) WHERE sealed_seq = %s",
            [SIZE],
        )
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    assert verdict(kept) == ("unreadable", SIZE)


def test_strays_with_ids_that_are_none_are_named(kept: Kept) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE audit_eventdetail SET event_id = 'zz' WHERE event_id = %s", [at(61).pk.hex]
        )
        cursor.execute(
            "UPDATE audit_auditevent SET id = 'yy', sealed_seq = 999 WHERE sealed_seq = 299"
        )
    codes = [it.code for it in verify([kept], most=100).faults]
    assert codes == ["erased", "missing", "beyond", "orphan"]


@pytest.mark.parametrize("column", ["at", "facts", "subject_id", "id", "mac", "request_id"])
def test_one_that_waits_and_cannot_be_read_hides_no_other_that_accounts_for_something(
    kept: Kept, column: str
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    about = Reference("user", make_people(1)[0])
    record("user.erased", actor=Actor.system("test"), subject=about, now=timezone.now())
    forget_events([at(5).pk])
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(
            f"UPDATE audit_auditevent SET {column} = CAST(X'ff' AS TEXT) "
            "WHERE action = 'user.erased' AND sealed_seq IS NULL"
        )
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    assert verdict(kept) == ("unreadable", None)
    assert read_pending(prepare_under_way()).positions == [[5, 5]]


@pytest.mark.parametrize("position", ["'x'", "7.5", "CAST(X'ff' AS TEXT)"])
def test_nor_does_one_end_the_verification_whose_position_cannot_be_read_either(
    kept: Kept, position: str
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    erase_logs(make_people(1)[0])
    forget_events([at(5).pk])
    kept = seal_all()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(
            f"UPDATE audit_auditevent SET facts = CAST(X'ff' AS TEXT), sealed_seq = {position} "
            "WHERE sealed_seq = %s",
            [SIZE],
        )
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    faults = verify([kept], most=9).faults
    assert ("missing", SIZE) in [(it.code, it.position) for it in faults]
    assert ("missing", 5) not in [(it.code, it.position) for it in faults]
