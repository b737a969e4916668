"""Exports that hold without the database, and fall when they are touched."""

import json
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from audit import exporting, offline
from audit.actors import Actor
from audit.events import Reference, record
from audit.exporting import export
from audit.forgetting import forget_events, redact_person
from audit.models import AuditEvent, EventDetail, Tile, TreeHead
from audit.querying import Wanted
from audit.sealing import Sealed
from tests.audit.files import check, erase_logs_of, key, lines_of, save, write_lines
from tests.audit.logs import at, elsewhere, make_people, seal_all, write_log
from tests.audit.test_vouching import forge
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import finished

pytestmark = pytest.mark.django_db


def test_a_whole_export_holds(file: Path) -> None:
    write_log(make_people(4), 30)
    old = seal_all(batch=13).note
    write_log(make_people(1), 7)
    seal_all()
    done = check(save(file, with_details=True), old)
    assert (done.events, done.values, done.erased) == (37, 16 + 7 + 4 + 2, 0)
    assert done.checkpoint.size == 37
    assert check(save(file), old).values == 0


def test_a_part_of_it_holds_and_shows_nothing_of_the_rest(file: Path) -> None:
    people = make_people(4)
    write_log(people, 600)
    seal_all()
    record(
        "alone",
        actor=Actor.system("test"),
        subject=Reference("user", people[0]),
        now=timezone.now(),
    )
    write_log(people, 50)
    seal_all()
    for wanted, events in ((Wanted(action="alone"), 1), (Wanted(actor_id=people[1]), 163)):
        done = check(save(file, wanted))
        assert (done.events, done.checkpoint.size) == (events, 651)
    save(file, Wanted(action="alone"))
    assert len(lines_of(file)) == 4
    assert "user.seen" not in file.read_text()
    assert check(save(file, Wanted(action="nothing"))).events == 0


def test_whatever_is_changed_in_an_export_is_found(file: Path) -> None:
    write_log(make_people(4), 40)
    seal_all()
    good = lines_of(save(file, with_details=True))

    def bad(change: Any) -> str:
        lines = json.loads(json.dumps(good))
        change(lines)
        with pytest.raises(offline.Bad) as found:
            check(write_lines(file, lines))
        return str(found.value)

    assert check(write_lines(file, good)).events == 40
    assert "was signed" in bad(lambda it: it[3]["event"].update(action="other"))
    assert "another address" in bad(lambda it: it[2]["details"]["address"].update(value="x"))
    assert "nothing says why" in bad(lambda it: it[2].pop("details"))
    assert "position 6 is missing" in bad(lambda it: it.pop(7))
    assert "ends after 39" in bad(lambda it: it.pop())
    assert "changed after it was signed" in bad(
        lambda it: it[0].update(checkpoint=it[0]["checkpoint"].replace("\n40\n", "\n39\n"))
    )
    assert "None of the keys" in bad(
        lambda it: it[0].update(checkpoint=it[0]["checkpoint"].replace("localhost", "other"))
    )
    assert "cannot be read" in bad(lambda it: it[4].pop("event"))
    assert "neither" in bad(lambda it: it[0].update(form="other"))


def test_what_was_erased_and_forgotten_lawfully_is_accounted_for(file: Path) -> None:
    people = make_people(3)
    write_log(people, 40)
    old = seal_all().note
    erased = redact_person(people[0])
    record(
        "user.erased",
        actor=Actor.system("test"),
        subject=Reference("user", people[0]),
        now=timezone.now(),
    )
    gone = AuditEvent.objects.filter(sealed_seq__in=[3, 4, 20]).values_list("pk", flat=True)
    forget_events(list(gone))
    seal_all()
    done = check(save(file, with_details=True), old)
    assert (done.events, done.checkpoint.size) == (39, 42)
    assert 0 < done.erased <= erased
    lines = lines_of(file)
    index = next(n for n, it in enumerate(lines) if "skip" in it)
    assert [it[:2] for it in lines[index]["skip"]] != [[0, 3], [2, 1]]
    told = next(it for it in lines if it.get("event", {}).get("action") == "audit.forgotten")
    assert told["event"]["facts"]["positions"] == [[3, 4], [20, 20]]


def test_what_was_forgotten_a_moment_ago_is_accounted_for(file: Path) -> None:
    write_log(make_people(3), 20, start=timezone.now() - timedelta(days=2000))
    seal_all()
    write_log(make_people(3), 10)
    run("prune_audit_log", "--older-than", "1095", "--execute")
    assert AuditEvent.objects.filter(sealed_seq=None).exists()
    done = check(save(file, with_details=True))
    assert (done.events, done.checkpoint.size, done.events_pending) == (11, 31, 0)
    assert "pending" not in lines_of(file)[0]


def test_what_was_erased_a_moment_ago_is_accounted_for(file: Path) -> None:
    people = make_people(3)
    write_log(people, 20)
    seal_all()
    erased = erase_logs_of(people[0])
    done = check(save(file, with_details=True))
    assert (done.erased, done.values_pending) == (erased, 0)
    assert erased > 0


@pytest.mark.django_db(transaction=True)
def test_what_is_erased_while_the_export_is_read_is_in_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", 5)
    people = make_people(3)
    write_log(people, 40)
    seal_all()
    values = EventDetail.objects.count()
    lines = export(with_details=True)
    begun = [next(lines) for _ in range(8)]

    def erase() -> None:
        erase_logs_of(people[0])
        forget_events([at(position).pk for position in (3, 20, 30)])
        seal_all()

    elsewhere(erase)
    file.write_text("".join([*begun, *lines]))
    done = check(file)
    assert (done.events, done.values, done.erased) == (40, values, 0)
    later = check(save(file, with_details=True))
    assert (later.events, later.checkpoint.size) == (39, 42)
    assert later.values + later.erased < values


@pytest.mark.django_db(transaction=True)
def test_an_export_waits_for_a_sealer_that_is_at_work(file: Path) -> None:
    people = make_people(3)
    write_log(people, 8)
    seal_all()
    is_locked = threading.Event()

    def hold() -> None:
        try:
            with transaction.atomic():
                TreeHead.objects.select_for_update().get()
                is_locked.set()
                time.sleep(0.5)
        finally:
            connection.close()

    erase_logs_of(people[0])
    sealer = threading.Thread(target=hold)
    sealer.start()
    assert is_locked.wait(60)
    done = check(save(file, with_details=True))
    sealer.join(60)
    assert (done.checkpoint.size, done.values_pending) == (9, 0)


def test_without_a_seal_what_is_gone_is_told_to_be_under_way(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = make_people(3)
    write_log(people, 40)
    seal_all()
    erased = erase_logs_of(people[0])
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "PATIENCE", 0)
        patch.setattr(exporting, "seal", lambda **_: Sealed(is_busy=True))
        done = check(save(file, with_details=True))
        assert (done.checkpoint.size, done.values_pending) == (40, erased)
        told = AuditEvent.objects.get(action="user.logs_erased")
        forget_events([told.pk, at(4).pk, at(8).pk])
        done = check(save(file, with_details=True))
    assert (done.events_pending, done.values_pending, done.erased) == (3, erased, 0)
    assert offline.main([str(file), "--key", key()]) == offline.OPEN == 3
    out, err = capsys.readouterr()
    assert out.startswith("Good so far: 38 of 41 events")
    assert err.startswith(f"Under way: 3 events and {erased} personal values are gone")
    assert offline.main([str(save(file, with_details=True)), "--key", key()]) == 0


def test_an_erasure_that_goes_on_is_told_to_be_under_way(file: Path) -> None:
    alice, bob, charlie = make_people(3)
    write_log([alice, bob, charlie], 40)
    seal_all()
    erased = redact_person(alice)
    with pytest.raises(offline.Bad, match="nothing says why"):
        check(save(file, with_details=True))
    finished(
        ago=timedelta(),
        subject_id=alice,
        state="running",
        finished_at=None,
        cursor={"begun": True, "intent": "1"},
    )
    done = check(save(file, with_details=True))
    assert (done.values_pending, done.erased) == (erased, 0)
    assert lines_of(file)[0]["pending"] == {"people": [str(alice)], "positions": [], "bare": []}
    # It is nobody's business but theirs who see the whole log.
    assert "pending" not in lines_of(save(file, Wanted(actor_id=bob)))[0]
    assert check(save(file)).values_pending == 0
    with triggers_off():
        EventDetail.objects.filter(person_id=charlie).delete()
    with pytest.raises(offline.Bad, match="nothing says why"):
        check(save(file, with_details=True))


def test_what_cannot_be_sealed_does_not_keep_the_rest_from_being_exported(file: Path) -> None:
    write_log(make_people(2), 6)
    seal_all()
    forge("user.erased", make_people(1)[0])
    forge("audit.forgotten", positions=[[0, 3]])
    assert check(save(file)).events == 6
    # What nobody vouches for accounts for nothing.
    assert "pending" not in lines_of(file)[0]
    write_log(make_people(2), 2)
    tile = Tile.objects.get()
    with triggers_off():
        Tile.objects.update(hashes=bytes(32) + bytes(tile.hashes)[32:])
    assert check(save(file)).events == 6
    with override_settings(AUDIT_SIGNING_KEY="none"):
        assert len(list(export())) == 7


@pytest.mark.django_db(transaction=True)
def test_whoever_stops_reading_leaves_no_transaction_behind() -> None:
    write_log(make_people(2), 6)
    lines = export()
    assert [next(lines) for _ in range(3)]
    lines.close()
    assert not connection.in_atomic_block
    elsewhere(lambda: write_log(make_people(2), 2))
    assert seal_all().note
