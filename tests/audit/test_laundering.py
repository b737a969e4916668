"""What the service itself removes, it removes by what is genuine alone: nobody has it sign for
what they have changed."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from django.db.models.functions import Cast
from django.utils import timezone

from audit import forgetting, leaves
from audit.evidence import FORGOTTEN
from audit.forgetting import forget_events, prune
from audit.models import Tile
from audit.verifying import Kept
from erasure import ended, outlived, receipts, retention, signing
from erasure.clocks import sweep
from erasure.models import DeletionRequest, Heartbeat, Statement
from erasure.outlived import KeyMissing
from tests.audit.logs import (
    at,
    events,
    make_people,
    seal_all,
    verdict,
    write_log,
)
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import DAY, finished

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(days=4000)
LATER = {"all": ["9999-01-01T00:00:00+00:00", str(UUID(int=7))]}
ENDLESS, LONG_KEPT = {"requested_at": "infinity"}, {"statement": "long kept"}


@pytest.mark.parametrize("position", [50, 260, 299])
def test_an_event_that_was_dated_back_is_not_pruned(kept: Kept, position: int) -> None:
    events().filter(sealed_seq=position).update(at=timezone.now() - LONG_AGO)
    assert forget_events([at(position).pk, at(7).pk], because="age") == 1
    assert events().filter(sealed_seq=position).exists()
    seal_all()
    assert verdict(kept) == ("changed", position)


def test_nor_is_one_whose_leaf_was_changed_with_it(kept: Kept) -> None:
    other = at(51)
    events().filter(sealed_seq=50).update(sealed_seq=None)
    events().filter(pk=other.pk).update(sealed_seq=50)
    tile = Tile.objects.get(pk=0)
    hashes = bytearray(tile.hashes)
    hashes[50 * 32 : 51 * 32] = hashes[51 * 32 : 52 * 32]
    Tile.objects.filter(pk=0).update(hashes=bytes(hashes))
    assert forget_events([other.pk, at(49).pk]) == 0, "nothing of this tile can be shown"
    assert forget_events([at(299).pk]) == 1


@pytest.mark.django_db(transaction=True)
def test_nor_is_one_that_is_changed_back_before_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is due and the look at what was sealed."""
    people = make_people(2)
    write_log(people, 10)
    kept = seal_all()
    victim, read = at(5), leaves.read_authentic

    def change_back(ids: Any) -> Any:
        found = list(ids)
        with triggers_off():
            events().filter(pk=victim.pk).update(at=victim.at, subject_id=victim.subject_id)
        return read(found)

    monkeypatch.setattr(forgetting, "read_authentic", change_back)
    with triggers_off():
        events().filter(pk=victim.pk).update(at=timezone.now() - LONG_AGO)
    assert prune(before=timezone.now() - DAY, execute=True) == 0
    gone = finished(ago=LONG_AGO)
    with triggers_off():
        events().filter(pk=victim.pk).update(subject_id=gone.subject_id)
    assert "audit.AuditEvent" not in retention.enforce(now=timezone.now(), execute=True)
    assert verdict(kept) is None


@pytest.mark.django_db(transaction=True)
def test_what_is_refused_holds_no_other_up() -> None:
    write_log(make_people(2), 30, start=timezone.now() - LONG_AGO)
    write_log(make_people(2), 10)
    seal_all()
    with triggers_off():
        events().filter(sealed_seq__in=[3, 4]).update(action="edited")
        events().filter(sealed_seq=33).update(at=timezone.now() - LONG_AGO)
    assert prune(before=timezone.now() - LONG_AGO / 2, execute=True, at_once=2) == 28
    left = events().exclude(action="audit.forgotten").values_list("sealed_seq", flat=True)
    assert sorted(left) == [3, 4, *range(30, 40)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("place", [3.5, "x"])
def test_a_position_that_is_none_keeps_no_other_from_being_pruned(place: Any) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a position is a whole number there")
    write_log(make_people(2), 8, start=timezone.now() - LONG_AGO)
    seal_all()
    field = models.FloatField() if place == 3.5 else models.TextField()
    with triggers_off():
        events().filter(sealed_seq=3).update(sealed_seq=models.Value(place, field))
    assert prune(before=timezone.now() - LONG_AGO / 2, execute=True, at_once=1) == 7
    assert events().exclude(action="audit.forgotten").count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_command_says_what_stays() -> None:
    write_log(make_people(2), 3, start=timezone.now() - LONG_AGO)
    seal_all()
    with triggers_off():
        events().filter(sealed_seq=1).update(action="other")
    code, said = run("prune_audit_log", "--older-than", "1095", "--execute")
    assert code == 0, said
    assert said.splitlines() == [
        "2 events removed.",
        "1 event left: not what was sealed. See verify_audit_log.",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"signature": None},
        {"signature": b"\x07" * 64},
        {"finished_at": timezone.now() - LONG_AGO},
        {"subject_id": UUID(int=7), "finished_at": timezone.now() - LONG_AGO},
    ],
    ids=lambda change: "-".join(change),
)
@pytest.mark.django_db(transaction=True)
def test_a_request_that_was_made_up_has_nothing_forgotten(change: dict[str, Any]) -> None:
    people = [*make_people(2), UUID(int=7)]
    write_log(people, 20)
    seal_all()
    ago = DAY if "finished_at" in change else LONG_AGO
    request = finished(ago=ago, subject_id=people[0])
    other = finished(ago=LONG_AGO, subject_id=people[1])
    theirs = events().filter(subject_id=people[1]).count()
    DeletionRequest.objects.filter(pk=request.pk).update(**change)
    with charlie_untouched():
        done = retention.enforce(now=timezone.now(), execute=True)
    assert done["audit.AuditEvent"] == theirs
    assert not DeletionRequest.objects.filter(pk=other.pk).exists()


def test_the_record_of_what_went_never_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(make_people(2), 8)
    kept = seal_all()
    forget_events([at(4).pk])
    seal_all()
    told, read = events().get(action=FORGOTTEN), leaves.read_authentic

    def change_back(ids: Any) -> Any:
        found = list(ids)
        events().filter(pk=told.pk).update(action=FORGOTTEN)
        return read(found)

    monkeypatch.setattr(forgetting, "read_authentic", change_back)
    with triggers_off():
        events().filter(pk=told.pk).update(action="x")
        assert forget_events([told.pk]) == 0
    assert verdict(kept) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("facts", [None, 7, ["x"], {"all": "x"}, {"all": ["x", "y"]}, LATER])
def test_a_mark_that_no_sweep_has_set_is_none(facts: Any) -> None:
    write_log(make_people(2), 8)
    seal_all()
    person = at(1).subject_id
    finished(ago=LONG_AGO, subject_id=person)
    if isinstance(facts, dict):
        facts = {rule.name: facts["all"] for rule in retention.find_rules()}
    if facts is not None:
        Heartbeat.objects.create(name="retention", at=timezone.now(), facts=facts)
    theirs = events().filter(subject_id=person).count()
    done = retention.enforce(now=timezone.now(), execute=True)
    assert (done["audit.AuditEvent"], done["erasure.DeletionRequest"]) == (theirs, 1)
    assert "audit.AuditEvent" not in retention.enforce(now=timezone.now(), execute=True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change", [{"statement": "x"}, {"counts": {"a": "b"}}, {"counts": [1]}, {"told": 7}]
)
def test_a_spoiled_request_stops_retention_for_nobody_else(change: dict[str, Any]) -> None:
    people = make_people(2)
    write_log(people, 20)
    seal_all()
    spoiled = finished(ago=LONG_AGO, subject_id=people[0])
    finished(ago=LONG_AGO + DAY, subject_id=people[1])
    theirs = events().filter(subject_id=people[1]).count()
    if change is ENDLESS:
        never: Any = models.Value("infinity", models.TextField())
        if connection.vendor == "postgresql":
            never = Cast(never, models.DateTimeField())
        change = {"requested_at": never}
    if change is LONG_KEPT:
        statement = Statement.objects.get(pk=spoiled.statement)
        claims = {**statement.content["claims"], "backup_retention_days": 10**12}
        content = {**statement.content, "claims": claims}
        Statement.objects.create(
            digest=change["statement"], content=content, first_used_at=timezone.now()
        )
    DeletionRequest.objects.filter(pk=spoiled.pk).update(**change)
    done = retention.enforce(now=timezone.now(), execute=True)
    assert done["audit.AuditEvent"] == theirs
    assert events().filter(subject_id=people[0]).exists()


@pytest.mark.django_db(transaction=True)
def test_retention_waits_for_the_key_of_a_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(3)
    write_log(people, 30)
    seal_all()
    one, two, three = (
        finished(ago=LONG_AGO - n * DAY, subject_id=person) for n, person in enumerate(people)
    )
    real = receipts.forbid_changed

    def forbid(request: DeletionRequest) -> None:
        if request.pk == two.pk:
            raise signing.UnknownKey("not at hand")
        real(request)

    monkeypatch.setattr(outlived, "forbid_changed", forbid)
    for execute in (False, True):
        with pytest.raises(KeyMissing, match=str(two.pk)):
            retention.enforce(now=timezone.now(), execute=execute)
    left = DeletionRequest.objects.filter(pk__in=[one.pk, two.pk, three.pk])
    assert set(left.values_list("pk", flat=True)) == {two.pk, three.pk}
    assert not events().filter(subject_id=people[0]).exists()
    theirs = events().filter(subject_id__in=people[1:]).count()
    monkeypatch.undo()
    done = retention.enforce(now=timezone.now(), execute=True)
    assert (done["audit.AuditEvent"], done["erasure.DeletionRequest"]) == (theirs, 2)


def test_a_missing_key_keeps_no_other_step_of_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise KeyMissing

    asked = list[bool]()

    def forget_ended(*, now: datetime, execute: bool) -> dict[str, int]:
        asked.append(execute)
        return {}

    monkeypatch.setattr(retention, "enforce", fail)
    monkeypatch.setattr(ended, "forget_ended", forget_ended)
    assert sweep(now=timezone.now(), execute=True).failed["retention"] == "KeyMissing"
    assert asked == [True]
