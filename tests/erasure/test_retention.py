"""Rows that are kept for a time go when it is over, and not a day before."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit import signers
from audit.models import AuditEvent, Checkpoint, EventDetail
from audit.sealing import seal
from audit.tiles import DamagedTree
from erasure import outlived, policies, retention
from erasure.clocks import sweep
from erasure.models import DeletionRequest, Heartbeat, LegalHold
from erasure.policies import DELETE, Keep, Loose, policy
from erasure.signing import UnknownKey
from tests.bystanders import charlie_untouched, read_rows
from tests.databases import triggers_off
from tests.erasure.clockwork import DAY, finished
from tests.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

YEAR = 365 * DAY


def keep(retained: timedelta | None) -> Keep:
    return Keep("The tests say so.", "Art. 5(2) GDPR", retained)


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own policies, in place of the house's."""
    monkeypatch.setattr(policies, "_policies", {})
    # What is made of the policies is kept as long as this number stays the same.
    monkeypatch.setattr(policies, "_version", policies.version())
    policy(
        "audit.AuditEvent",
        loose=[
            Loose("subject_id", "*", keep(YEAR), kind_field="subject_kind"),
            Loose("actor_id", "*", keep(YEAR), kind_field="actor_kind"),
            Loose("organization_id", "organization", keep(None)),
        ],
    )
    policy("audit.EventDetail", loose=[Loose("person_id", "user", DELETE)])
    policy(
        "erasure.DeletionRequest",
        loose=[
            Loose("subject_id", "*", keep(3 * YEAR), kind_field="subject_kind"),
            Loose("requested_by_id", "*", keep(3 * YEAR), kind_field="requested_by_kind"),
        ],
    )
    policy(
        "erasure.LegalHold",
        loose=[Loose("subject_id", "*", keep(2 * YEAR), kind_field="subject_kind")],
    )


@pytest.fixture
def _house(_declared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()


def enforce() -> dict[str, int]:
    return sweep(now=timezone.now(), execute=True).done["retention"]


def event(subject_id: Any = None, **fields: Any) -> AuditEvent:
    """Write an event about a user, by the system unless said otherwise."""
    values = {
        "at": timezone.now() - 9 * YEAR,
        "action": "test",
        "subject_kind": "user" if subject_id else "",
        "subject_id": subject_id,
        "actor_kind": "system",
        "channel": "test",
    }
    made: AuditEvent = AuditEvent.objects.create(**{**values, **fields})
    return made


def write_note(note: str) -> None:
    with triggers_off():
        Checkpoint.objects.update(note=note)


def exists(*rows: Any) -> list[bool]:
    return [type(row)._default_manager.filter(pk=row.pk).exists() for row in rows]


def test_what_is_kept_goes_when_its_time_after_the_erasure_is_over() -> None:
    with charlie_untouched():
        old, young = finished(ago=YEAR + DAY), finished(ago=YEAR - DAY)
        gone, stays = event(old.subject_id), event(young.subject_id)
        assert enforce() == {"audit.AuditEvent": 1}
    assert exists(gone, stays) == [False, True]
    # A request is kept for longer than the events that it dates.
    assert exists(old, young) == [True, True]


def test_events_that_the_service_did_not_write_stay_and_hold_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "ROWS", 2)
    old = finished(ago=YEAR + DAY)
    values = {"actor_kind": "system", "channel": "test", "subject_kind": "user", "mac": bytes(32)}
    forged = [
        AuditEvent(at=timezone.now(), action="x", subject_id=old.subject_id, **values)
        for _ in range(3)
    ]
    for one in forged:
        one.save(force_insert=True)
    gone = [event(old.subject_id) for _ in range(3)]
    with charlie_untouched():
        assert enforce() == {"audit.AuditEvent": 3}
    assert exists(*gone, *forged) == [False] * 3 + [True] * 3


def test_requests_and_holds_of_the_erased_go_in_the_end() -> None:
    with charlie_untouched():
        request = finished(ago=3 * YEAR + DAY)
        past = finished(ago=4 * YEAR, subject_id=request.subject_id, state="cancelled")
        released = LegalHold.objects.create(
            subject_kind="user",
            subject_id=request.subject_id,
            reason="A lawsuit.",
            placed_at=timezone.now() - 5 * YEAR,
            released_at=timezone.now() - 4 * YEAR,
        )
        happened = event(request.subject_id)
        assert enforce() == {
            "audit.AuditEvent": 1,
            "erasure.DeletionRequest": 2,
            "erasure.LegalHold": 1,
        }
    assert exists(request, past, released, happened) == [False] * 4


def test_the_living_lose_nothing_however_old_it_is() -> None:
    alice = UserFactory()
    cancelled = finished(ago=9 * YEAR, subject_id=alice.pk, state="cancelled")
    # Erased once, and here again: a restored backup, say.
    finished(ago=9 * YEAR, subject_id=alice.pk)
    happened = event(alice.pk)
    assert enforce() == {}
    assert exists(cancelled, happened) == [True, True]


def test_a_later_deletion_of_the_same_subject_dates_its_rows() -> None:
    first = finished(ago=9 * YEAR)
    finished(ago=DAY, subject_id=first.subject_id)
    happened = event(first.subject_id)
    assert enforce() == {}
    assert exists(happened) == [True]


def test_a_row_belongs_to_the_first_subject_that_it_names() -> None:
    alice, erased, lately = UserFactory(), finished(ago=2 * YEAR), finished(ago=DAY)
    by = {"actor_kind": "user", "actor_id": erased.subject_id}
    about_alice = event(alice.pk, **by)
    about_lately = event(lately.subject_id, **by)
    about_nothing = event(None, **by)
    assert enforce() == {"audit.AuditEvent": 1}
    assert exists(about_alice, about_lately, about_nothing) == [True, True, False]


def test_a_link_whose_retention_is_none_holds_nothing_back() -> None:
    erased = finished(ago=2 * YEAR)
    organization = OrganizationFactory()
    gone = event(erased.subject_id, organization_id=organization.pk)
    assert enforce() == {"audit.AuditEvent": 1}
    assert exists(gone, organization) == [False, True]


def test_the_same_id_of_another_kind_is_somebody_else() -> None:
    erased = finished("organization", ago=2 * YEAR)
    stays = event(erased.subject_id)
    assert enforce() == {}
    assert exists(stays) == [True]


def test_what_is_personal_about_an_event_goes_with_it() -> None:
    alice, erased = UserFactory(), finished(ago=2 * YEAR)
    gone, stays = event(erased.subject_id), event(alice.pk)
    for happened in (gone, stays):
        EventDetail.objects.create(
            event_id=happened.pk, person_id=alice.pk, field="address", value="192.0.2.1"
        )
    enforce()
    assert EventDetail.objects.get().event_id == stays.pk


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    for _ in range(3):
        event(finished(ago=2 * YEAR).subject_id)
    before = read_rows()
    now = timezone.now()
    assert sweep(now=now, execute=False).done["retention"] == {"audit.AuditEvent": 3}
    assert read_rows() == before
    assert enforce() == {"audit.AuditEvent": 3}


def test_many_go_in_small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlived, "SUBJECTS", 2)
    monkeypatch.setattr(retention, "ROWS", 3)
    with charlie_untouched():
        at = timezone.now() - 2 * YEAR
        for _ in range(5):
            # As a purge of many writes them: one time for all.
            erased = finished(ago=2 * YEAR, finished_at=at)
            for _ in range(4):
                event(erased.subject_id)
        assert enforce() == {"audit.AuditEvent": 20}


def test_what_was_looked_through_is_not_looked_through_again() -> None:
    for _ in range(3):
        event(finished(ago=2 * YEAR).subject_id)
    enforce()
    late = event(finished(ago=2 * YEAR + DAY).subject_id)
    assert enforce() == {}
    assert exists(late) == [True]
    # A mark is only that: without it everything is gone through again.
    Heartbeat.objects.filter(name="retention").delete()
    assert enforce() == {"audit.AuditEvent": 1}


def test_a_crash_before_the_mark_is_made_good_by_the_next_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [event(finished(ago=2 * YEAR).subject_id) for _ in range(2)]

    def crash(*args: Any) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(retention, "set_mark", crash)
        assert sweep(now=timezone.now(), execute=True).failed == {"retention": "OSError"}
    assert enforce() == {}
    assert exists(*rows) == [False, False]


def test_an_erasure_is_in_the_total_before_its_request_goes() -> None:
    policy(
        "erasure.DeletionRequest",
        loose=[Loose("subject_id", "*", keep(timedelta()), kind_field="subject_kind")],
    )
    finished(ago=timedelta(minutes=1))
    assert enforce() == {}
    assert DeletionRequest.objects.count() == 1


def test_what_only_the_living_subject_could_find_is_named() -> None:
    policy("audit.EventDetail", loose=[Loose("value", "user", keep(YEAR), to="email")])
    assert [(it.id, it.msg) for it in retention.check_retention()] == [
        ("erasure.E091", "The retention of audit.EventDetail.value cannot be enforced.")
    ]
    assert enforce() == {}


def test_what_outlives_the_request_that_dates_it_is_named() -> None:
    assert retention.check_retention() == []
    policy("audit.EventDetail", loose=[Loose("person_id", "user", keep(4 * YEAR))])
    (refused,) = retention.check_retention()
    assert refused.id == "erasure.E092"
    assert refused.msg.startswith("audit.EventDetail.person_id:user is kept for longer than")


def test_a_row_that_hangs_on_somebody_living_stays() -> None:
    policy(
        "erasure.LegalHold",
        loose=[
            Loose("subject_id", "*", keep(YEAR), kind_field="subject_kind"),
            Loose("placed_by_id", "user", DELETE),
        ],
    )
    erased = finished(ago=2 * YEAR)
    held = {"subject_kind": "user", "subject_id": erased.subject_id, "reason": "x"}
    theirs = LegalHold.objects.create(**held, placed_at=erased.due_at, placed_by_id=uuid7())
    nobodys = LegalHold.objects.create(**held, placed_at=erased.due_at)
    assert enforce() == {"erasure.LegalHold": 1}
    assert exists(theirs, nobodys) == [True, False]


def test_a_backlog_is_worked_off_over_several_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlived, "SUBJECTS", 1)
    monkeypatch.setattr(retention, "BUDGET", -1.0)
    for _ in range(3):
        event(finished(ago=2 * YEAR).subject_id)
    assert [enforce() for _ in range(4)] == [{"audit.AuditEvent": 1}] * 3 + [{}]


def test_a_missing_key_is_told_when_the_time_is_over_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: DeletionRequest) -> None:
        raise UnknownKey("not at hand")

    event(finished(ago=2 * YEAR).subject_id)
    monkeypatch.setattr(outlived, "forbid_changed", fail)
    monkeypatch.setattr(retention, "BUDGET", -1.0)
    with pytest.raises(outlived.KeyMissing):
        retention.enforce(now=timezone.now(), execute=True)


@pytest.mark.parametrize("spelling", ["T00:00:00", " 00:00:00.000", " 00:00:00.1234567"])
def test_a_time_that_is_spelled_otherwise_is_gone_through_once(spelling: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("times have one spelling there")
    old, older = finished(ago=9 * YEAR), finished(ago=9 * YEAR)
    events = [event(old.subject_id), event(older.subject_id)]
    text = models.Value(f"2016-09-01{spelling}", models.TextField())
    DeletionRequest.objects.filter(pk=older.pk).update(finished_at=text)
    for execute in (False, True):
        retention.enforce(now=timezone.now(), execute=execute)
    assert exists(*events) == [False, True], "its receipt is not genuine any more"


@pytest.mark.parametrize("is_signed", [True, False])
@pytest.mark.parametrize("waits", [True, False])
def test_while_the_log_forgets_nothing_what_it_goes_by_stays_and_the_rest_goes(
    monkeypatch: pytest.MonkeyPatch, is_signed: bool, waits: bool
) -> None:
    with charlie_untouched():
        old = finished(ago=3 * YEAR + DAY)
        sealed = event(old.subject_id)
        seal(now=timezone.now())
        happened = [sealed, event(old.subject_id)] if waits else [sealed]
        ended = {"subject_kind": "user", "subject_id": old.subject_id, "reason": "x"}
        hold = LegalHold.objects.create(**ended, placed_at=old.due_at)
        note = Checkpoint.objects.get().note
        with monkeypatch.context() as broken:
            if is_signed:
                write_note("x")
            else:
                broken.setattr(signers, "_signer", [])
                broken.setattr(signers, "_verifiers", [])
            kind = ImproperlyConfigured if waits and not is_signed else DamagedTree
            for _ in range(2):
                with pytest.raises(kind):
                    retention.enforce(now=timezone.now(), execute=True)
            assert exists(old, hold, *happened) == [True, False, *(True for _ in happened)]
            failed = sweep(now=timezone.now(), execute=True).failed["retention"]
            assert failed in ("BrokenTree", "DamagedTree", "ImproperlyConfigured")
        write_note(note)
        enforce()
    assert exists(old, *happened) == [False, *(False for _ in happened)]


def test_a_rule_that_fails_keeps_none_but_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    old, clear = finished(ago=3 * YEAR + DAY), retention._clear
    happened = event(old.subject_id)

    def fail(rule: retention.Rule, *args: Any, **options: Any) -> int:
        if rule.model is LegalHold:
            raise OSError
        return clear(rule, *args, **options)

    with monkeypatch.context() as broken:
        broken.setattr(retention, "_clear", fail)
        assert sweep(now=timezone.now(), execute=True).failed == {"retention": "OSError"}
    assert exists(old, happened) == [True, False]
    assert enforce() == {"erasure.DeletionRequest": 1}


@pytest.mark.usefixtures("_house")
def test_the_houses_own_records_go_after_three_years() -> None:
    with charlie_untouched():
        old, young = finished(ago=3 * YEAR + DAY), finished(ago=3 * YEAR - DAY)
        events = [event(old.subject_id), event(young.subject_id)]
        assert enforce() == {"audit.AuditEvent": 1, "erasure.DeletionRequest": 1}
    assert exists(old, young, *events) == [False, True, False, True]
