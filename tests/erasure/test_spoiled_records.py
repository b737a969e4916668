"""Records of our own that no service has written: they stop neither the sweep nor whoever asks what
is under way, and nothing is lost by them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit.evidence import FORGOTTEN
from audit.forgetting import forget_events, prune
from audit.gaps import prepare_under_way
from erasure import gate, receipts, retention
from erasure.clocks import claim_sweep, sweep
from erasure.ended import forget_ended
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest, Heartbeat, LedgerMark, LegalHold
from erasure.replay import replay
from erasure.settling import PATIENCE, settle_intents
from erasure.totals import SETTLED, read_totals, roll_up
from tests.audit.logs import erase_logs, events, make_people, seal_all, see
from tests.databases import triggers_off
from tests.erasure.clockwork import DAY, finished
from tests.factories import UserFactory
from tests.ledgers import a_ledger, entry

pytestmark = pytest.mark.django_db(transaction=True)

LONG_AGO = timedelta(days=4000)
HUGE = '{"begun": true, "intent": ' + "9" * 5_000 + "}"
NO_IDS = ["zz", "{0000000000000000000000000000000f}", "0000000000000000000000000000000F", b"\xff"]


def spoil(row: Any, **columns: Any) -> None:
    """Write into a row what its model would not."""
    table, key = row._meta.db_table, row._meta.pk
    pk = key.get_db_prep_value(row.pk, connection)
    cast = "::jsonb" if connection.vendor == "postgresql" else ""
    with triggers_off(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        for name, value in columns.items():
            of = cast if row._meta.get_field(name).get_internal_type() == "JSONField" else ""
            sql = f"UPDATE {table} SET {name} = %s{of} WHERE {key.column} = %s"
            cursor.execute(sql, [value, pk])
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA ignore_check_constraints = OFF")


def only_sqlite() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")


def never() -> str:
    """A time that Python cannot hold."""
    return "infinity" if connection.vendor == "postgresql" else "2001-13-01 00:00:00"


def begin(person: Any, intent: Any = None, **fields: Any) -> DeletionRequest:
    """Write the request of an erasure of which some pieces are done."""
    cursor = {"begun": True, "intent": str(intent.id) if intent else "x"}
    pk = {"id": intent.deletion_id} if intent else {}
    values = {"subject_id": person, "state": "failed", "finished_at": None, "cursor": cursor}
    return finished(ago=DAY, **{**values, **pk, **fields})


def leave_events(person: Any) -> None:
    see(person, now=timezone.now() - LONG_AGO)


def has_events(person: Any) -> bool:
    return bool(events().filter(subject_id=person).exists())


# --- what is under way --------------------------------------------------------------------------


def test_an_erasure_whose_cursor_cannot_be_read_accounts_for_nothing_and_hides_no_other() -> None:
    alice, bob = make_people(2)
    spoil(begin(alice), cursor=HUGE)
    begin(bob)
    assert set(prepare_under_way()()) == {str(bob)}


@pytest.mark.parametrize("column", ["id", "subject_id"])
@pytest.mark.parametrize("value", NO_IDS)
def test_nor_does_one_without_an_id(column: str, value: Any) -> None:
    only_sqlite()
    alice, bob = make_people(2)
    spoil(begin(alice), **{column: value})
    begin(bob)
    assert set(prepare_under_way()()) == {str(bob)}


@pytest.mark.parametrize("value", ["CAST(X'ff' AS TEXT)", "X'ff'", "7"])
def test_nor_does_one_of_which_nobody_can_tell_whom_it_is_about(value: str) -> None:
    only_sqlite()
    alice, bob = make_people(2)
    spoiled, _ = begin(alice), begin(bob)
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE erasure_deletionrequest SET subject_kind = {value} WHERE id = %s",
            [spoiled.pk.hex],
        )
    assert str(bob) in set(prepare_under_way()())


@pytest.mark.parametrize("cursor", [HUGE, "[1]", "7", "null"])
def test_an_intent_whose_deletion_cannot_be_read_is_not_called_void(
    tmp_path: Path, cursor: str
) -> None:
    alice, bob = UserFactory(), UserFactory()
    with a_ledger(tmp_path):
        assert gate.look() == ""
        intents = [
            entry(subject_id=person.pk, born=person.date_joined.isoformat())
            for person in (alice, bob)
        ]
        open_ledger().intend(intents)
        spoil(begin(alice.pk, intents[0]), cursor=cursor)
        begin(bob.pk, intents[1], cursor={"large": True})
        late = timezone.now() + PATIENCE * 2
        assert settle_intents(now=late) == {"done": 0, "void": 1}
        assert {it.id: it.state for _, it in open_ledger().read()}[intents[0].id] == "intent"


def test_a_mark_that_is_no_position_is_made_good_by_a_replay(tmp_path: Path) -> None:
    only_sqlite()
    with a_ledger(tmp_path):
        assert gate.look() == ""
        for position in ("x", 7.5, b"\xff"):
            spoil(LedgerMark.objects.get(), position=position)
            assert gate.look().endswith("Run manage.py replay_erasures --execute.")
            assert settle_intents(now=timezone.now()) == {"done": 0, "void": 0}
            replay(clock=timezone.now)
            assert gate.look() == ""


def test_the_time_of_a_mark_may_be_none(tmp_path: Path) -> None:
    with a_ledger(tmp_path):
        assert gate.look() == ""
        open_ledger().intend([entry()])
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE erasure_ledgermark SET at = %s", [never()])
            if connection.vendor == "postgresql":
                # Whoever can write the mark can seal it.
                cursor.execute("UPDATE erasure_ledgermark SET seal = xmin::text")
        late = timezone.now() + PATIENCE * 2
        assert settle_intents(now=late) == {"done": 1, "void": 0}
        mark = LedgerMark.objects.get()
        assert (mark.position, mark.at) == (open_ledger().end(), late)


# --- sums ---------------------------------------------------------------------------------------

TRUE_UNTIL = '"until": "2020-01-01T00:00:00+00:00"'


@pytest.mark.parametrize(
    "facts",
    [
        "7",
        "null",
        '["until"]',
        '{"until": 7}',
        '{"until": "x"}',
        '{"until": "2020-13-01T00:00:00+00:00"}',
        '{"until": "2020-01-01T00:00:00", "subjects": 5, "rows": 5}',
        '{"until": "9999-12-31T23:59:59-23:59", "subjects": 5, "rows": 5}',
        '{"until": "0001-01-01T00:00:00+23:59", "subjects": 5, "rows": 5}',
        "{" + TRUE_UNTIL + "}",
        "{" + TRUE_UNTIL + ', "subjects": "x", "rows": 5}',
        "{" + TRUE_UNTIL + ', "subjects": -1, "rows": 5}',
        "{" + TRUE_UNTIL + ', "subjects": true, "rows": 1.5}',
        "{" + TRUE_UNTIL + ', "subjects": 5, "rows": ' + "9" * 4_000 + "}",
        HUGE,
    ],
    ids=lambda text: text[:70],
)
def test_a_sum_that_no_sweep_has_written_is_begun_anew(facts: str) -> None:
    finished(ago=DAY)
    now = timezone.now()
    spoil(Heartbeat.objects.create(name="erased", at=now), facts=facts)
    assert read_totals(now) == (1, 3)
    assert "retention" in sweep(now=now, execute=True).done
    finished(ago=SETTLED * 2)
    assert roll_up(now + SETTLED) == 0, "the sum has come further"
    finished(ago=timedelta())
    assert roll_up(now + SETTLED * 2) == 1
    assert read_totals(now + SETTLED * 2) == (2, 6)


def test_nor_does_the_time_of_a_sum_stop_anything() -> None:
    finished(ago=DAY)
    row = Heartbeat.objects.create(name="erased", at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE erasure_heartbeat SET at = %s", [never()])
    assert (roll_up(timezone.now()), read_totals(timezone.now())) == (1, (1, 3))
    assert Heartbeat.objects.get(pk=row.pk).at < timezone.now()


@pytest.mark.parametrize(
    "counts",
    [
        '{"a": "x"}',
        '{"a": "NaN"}',
        '{"a": null, "b": true}',
        '{"a": -5}',
        '{"a": 1e100}',
        '{"a": [7], "b": {"c": 7}}',
        '{"a": ' + "9" * 5_000 + "}",
        "[1, 2]",
        "7",
        '"x"',
        "null",
    ],
    ids=lambda text: text[:20],
)
def test_counts_that_are_none_add_nothing(counts: str) -> None:
    spoil(finished(ago=DAY), counts=counts)
    finished(ago=DAY)
    now = timezone.now()
    assert read_totals(now) == (2, 3)
    assert (roll_up(now), read_totals(now)) == (2, (2, 3))


@pytest.mark.parametrize("counts", ["zz", "", b"\xff", "[" * 2_000])
def test_nor_do_those_that_are_no_document(counts: Any) -> None:
    only_sqlite()
    spoil(finished(ago=DAY), counts=counts)
    finished(ago=DAY)
    assert read_totals(timezone.now()) == (2, 3)


def test_the_largest_numbers_are_added_up_as_well() -> None:
    most = '{"a": 9007199254740992, "b": 9007199254740992}'
    for _ in range(3):
        spoil(finished(ago=DAY), counts=most)
    assert read_totals(timezone.now()) == (3, 6 << 53)


# --- retention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", NO_IDS)
def test_an_event_without_an_id_keeps_no_other(value: Any) -> None:
    only_sqlite()
    alice, bob = make_people(2)
    for person in (alice, bob):
        leave_events(person)
        finished(ago=LONG_AGO, subject_id=person)
    seal_all()
    spoil(events().filter(subject_id=alice).order_by("id")[1], id=value)
    assert retention.enforce(now=timezone.now(), execute=True)["audit.AuditEvent"] == 5
    assert (has_events(alice), has_events(bob)) == (True, False)


@pytest.mark.parametrize("value", NO_IDS)
def test_nor_does_it_keep_one_from_being_pruned(value: Any) -> None:
    only_sqlite()
    (alice,) = make_people(1)
    leave_events(alice)
    seal_all()
    spoil(events().order_by("sealed_seq")[0], id=value)
    before = timezone.now() - DAY
    assert prune(before=before, execute=True, at_once=1) == 2
    assert prune(before=before, execute=False) == 1, "whoever prunes hears that it stays"


def test_nor_does_it_keep_the_record_of_an_erasure() -> None:
    only_sqlite()
    (alice,) = make_people(1)
    leave_events(alice)
    erase_logs(alice)
    seal_all()
    spoil(events().order_by("sealed_seq")[0], id="zz")
    assert forget_events([events().get(action="user.logs_erased").pk]) == 1
    seal_all()
    assert events().get(action=FORGOTTEN).facts["bare"] == [[1, 2]]


@pytest.mark.parametrize("value", NO_IDS)
@pytest.mark.parametrize("execute", [True, False])
def test_a_request_without_an_id_is_passed_over(
    value: Any, execute: bool, caplog: pytest.LogCaptureFixture
) -> None:
    only_sqlite()
    alice, bob = make_people(2)
    for person in (alice, bob):
        leave_events(person)
    seal_all()
    spoil(finished(ago=LONG_AGO, subject_id=alice), id=value)
    # With one that cannot be read, each is read for itself.
    spoil(finished(ago=LONG_AGO), told=HUGE)
    finished(ago=LONG_AGO, subject_id=bob)
    assert retention.enforce(now=timezone.now(), execute=execute)["audit.AuditEvent"] == 3
    assert "requests without an id are passed over" in caplog.messages
    assert has_events(alice)


@pytest.mark.parametrize(
    "mark",
    [
        '["0001-01-01T00:00:00+23:59", "00000000-0000-0000-0000-000000000007"]',
        '["2020-01-01T00:00:00", "00000000-0000-0000-0000-000000000007"]',
        "1e400",
        "9" * 5_000,
    ],
    ids=lambda text: text[:30],
)
def test_a_mark_that_cannot_be_compared_or_written_is_none(mark: str) -> None:
    (alice,) = make_people(1)
    leave_events(alice)
    seal_all()
    finished(ago=LONG_AGO, subject_id=alice)
    if mark == "1e400" and connection.vendor == "sqlite":
        mark = "1e4000"
    names = [*(rule.name for rule in retention.find_rules()), "other"]
    row = Heartbeat.objects.create(name="retention", at=timezone.now())
    spoil(row, facts="{" + ", ".join(f'"{name}": {mark}' for name in names) + "}")
    assert retention.enforce(now=timezone.now(), execute=True)["audit.AuditEvent"] == 3
    row.refresh_from_db()
    assert set(row.facts) <= {rule.name for rule in retention.find_rules()}


def test_a_wording_whose_time_is_none_stops_no_retention() -> None:
    (alice,) = make_people(1)
    leave_events(alice)
    seal_all()
    finished(ago=LONG_AGO, subject_id=alice)
    receipts._stored_wording.cache_clear()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE erasure_statement SET first_used_at = %s", [never()])
    assert retention.enforce(now=timezone.now(), execute=True)["audit.AuditEvent"] == 3


# --- the sweep itself ---------------------------------------------------------------------------


def test_a_hold_without_an_id_keeps_no_other() -> None:
    only_sqlite()
    long_ago = timezone.now() - LONG_AGO
    values = {"subject_kind": "user", "placed_at": long_ago, "released_at": long_ago}
    holds = [LegalHold.objects.create(subject_id=person, **values) for person in make_people(2)]
    spoil(holds[0], id="zz")
    assert forget_ended(now=timezone.now(), execute=True) == {"erasure.LegalHold": 1}
    assert LegalHold.objects.count() == 1


@pytest.mark.parametrize("facts", [HUGE, "7"])
def test_the_last_sweep_that_cannot_be_read_does_not_keep_the_next_from_its_end(
    facts: str,
) -> None:
    spoil(Heartbeat.objects.create(name="sweep", at=timezone.now()), facts=facts)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE erasure_heartbeat SET at = %s", [never()])
    now = timezone.now()
    assert sweep(now=now, execute=True).failed == {}
    assert Heartbeat.objects.get(name="sweep").at == now


def test_a_turn_that_nobody_has_taken_keeps_nobody_from_sweeping() -> None:
    now = timezone.now()
    Heartbeat.objects.create(name="sweep.begun", at=now + LONG_AGO)
    assert [claim_sweep(now=now, every=DAY) for _ in range(2)] == [True, False]
