"""Whatever is done to the log, the first bad record is named; what is lawful passes."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, models
from django.test import override_settings
from django.utils import timezone

from audit import sealing, signers
from audit.actors import Actor
from audit.entries import hash_entry
from audit.events import Reference, record
from audit.evidence import FORGOTTEN
from audit.forgetting import forget_events, prune, redact_person
from audit.gaps import prepare_under_way
from audit.models import AuditEvent, Checkpoint, EventDetail, Tile, TreeHead
from audit.notes import Signer
from audit.rows import read_rows
from audit.tiles import extend
from audit.verifying import Kept, verify
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest
from erasure.signing import make_key, signing_key
from tests.audit.logs import (
    SIZE,
    at,
    events,
    make_people,
    newest,
    seal_all,
    verdict,
    vouch_for_waiting,
    write_log,
)
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import finished
from tests.ledgers import a_ledger, entry

pytestmark = pytest.mark.django_db


def test_a_log_as_it_was_sealed_is_good(kept: Kept) -> None:
    write_log(make_people(1), 3)
    report = verify([kept])
    assert report.fault is None
    assert (report.size, report.events, report.unsealed) == (SIZE, SIZE, 3)
    assert (report.checkpoints, report.values) == (6, 75 * 2 + 75)
    assert (report.forgotten, report.erased) == (0, 0)


def test_an_empty_log_is_good() -> None:
    assert verdict() is None


@pytest.mark.parametrize(
    "values",
    [
        {"action": "other"},
        {"actor_id": None},
        {"facts": {"n": 1}},
        {"commitments": {"address": "00"}},
        {"at": timezone.now()},
        {"outcome": "refused"},
        {"sealed_seq": None},
    ],
)
def test_an_event_that_was_edited_is_named(kept: Kept, values: dict[str, Any]) -> None:
    events().filter(sealed_seq=113).update(**values)
    code = "missing" if "sealed_seq" in values else "changed"
    assert verdict() == (code, 113)


def test_an_event_that_was_deleted_is_named(kept: Kept) -> None:
    events().filter(sealed_seq__in=[77, 250]).delete()
    assert verdict() == ("missing", 77)


def test_events_that_changed_places_are_named(kept: Kept) -> None:
    first, second = at(40), at(41)
    events().filter(pk=first.pk).update(sealed_seq=10**9)
    events().filter(pk=second.pk).update(sealed_seq=40)
    events().filter(pk=first.pk).update(sealed_seq=41)
    assert verdict() == ("changed", 40)


def test_an_event_that_was_put_in_is_named(kept: Kept) -> None:
    write_log(make_people(1), 1)
    events().filter(sealed_seq=None).update(sealed_seq=SIZE)
    assert verdict() == ("beyond", SIZE)


def rebuild(first: int) -> None:
    """Write leaves, positions and tiles anew from a position on, as somebody with the database's
    password can, and sign the checkpoints with a key of their own."""
    Tile.objects.all().delete()
    TreeHead.objects.all().delete()
    Checkpoint.objects.filter(size__gt=first).delete()
    rest = list(
        events().exclude(sealed_seq=None).order_by("sealed_seq").values_list("pk", flat=True)
    )
    events().update(sealed_seq=None)
    for seq, pk in enumerate(rest[:first]):
        events().filter(pk=pk).update(sealed_seq=seq)
    rows = list(read_rows("WHERE sealed_seq IS NOT NULL ORDER BY sealed_seq"))
    extend(0, [hash_entry(row.values) for row in rows])
    TreeHead.objects.create(size=first)
    vouch_for_waiting()


def test_a_tree_that_was_built_anew_is_found_by_its_signature(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    events().filter(sealed_seq=120).update(action="other")
    rebuild(100)
    forged = Signer("localhost/audit", signing_key(str(make_key()).replace("'", '"')).private)
    with monkeypatch.context() as patch:
        patch.setattr(signers, "_signer", [lambda: forged])
        sealing.seal(now=timezone.now())
    assert verdict() == ("signature", None)


def test_a_tree_that_was_built_anew_with_the_very_key_is_found_by_an_older_checkpoint(
    kept: Kept,
) -> None:
    events().filter(sealed_seq=120).update(action="other")
    rebuild(100)
    sealing.seal(now=timezone.now())
    assert verdict() is None
    assert verdict(kept) == ("root", 100)


def test_a_tail_that_was_cut_off_is_found_by_an_older_checkpoint(kept: Kept) -> None:
    newer = newest()
    rebuild(150)
    tail = list(events().filter(sealed_seq=None).values_list("pk", flat=True))
    EventDetail.objects.filter(event_id__in=tail).delete()
    events().filter(pk__in=tail).delete()
    assert verdict() is None
    assert verdict(kept) == ("truncated", 150)
    assert verdict(kept, newer) == ("truncated", 150)


def test_checkpoints_and_tiles_that_were_changed_are_found(kept: Kept) -> None:
    def changed(act: Callable[[], Any]) -> tuple[str, int | None] | None:
        rows: dict[Any, Any] = {it: list(it.objects.values()) for it in (Tile, Checkpoint)}
        act()
        found = verdict(kept)
        for model, old in rows.items():
            model.objects.all().delete()
            model.objects.bulk_create([model(**it) for it in old])
        return found

    tiles: Any = models.QuerySet(Tile)
    level_one = tiles.get(pk=1 << 48)
    leaves = bytes(tiles.get(pk=0).hashes)
    wrong = leaves[:320] + bytes(32) + leaves[352:]
    assert changed(lambda: tiles.filter(pk=0).update(hashes=wrong)) == ("tree", 10)
    wrong = leaves[:320] + leaves[:32] + leaves[352:]
    assert changed(lambda: tiles.filter(pk=0).update(hashes=wrong)) == ("changed", 10)
    assert changed(lambda: tiles.filter(pk=1).delete()) == ("tree", 256)
    flipped = bytes(32)
    assert changed(lambda: tiles.filter(pk=level_one.pk).update(hashes=flipped)) == ("tile", 0)
    assert changed(lambda: Checkpoint.objects.filter(size=SIZE).delete()) == ("beyond", 250)
    assert changed(lambda: Checkpoint.objects.all().delete()) == ("beyond", 0)
    note = Checkpoint.objects.get(size=100).note
    assert changed(lambda: Checkpoint.objects.filter(size=150).update(note=note)) == (
        "signature",
        None,
    )


def test_a_head_that_is_not_the_newest_checkpoints_is_named_after_all_else(kept: Kept) -> None:
    TreeHead.objects.update(size=7)
    write_log(make_people(1), 1)
    with pytest.raises(sealing.BrokenTree):
        sealing.seal(now=timezone.now())
    (fault,) = verify([kept], most=100).faults
    assert (fault.code, fault.position) == ("head", None)
    assert "The head says that 7 events are sealed, and the newest checkpoint 300" in fault.text
    code, out = run("verify_audit_log", "--no-kept", "--json")
    assert (code, '"code": "head"' in out) == (1, True)
    for size in (0, SIZE - 50, SIZE + 1, 10**12):
        TreeHead.objects.update(size=size)
        assert verdict(kept) == ("head", None)
    events().filter(sealed_seq=30).delete()
    assert [it.code for it in verify([kept], most=2).faults] == ["missing", "orphan"]
    assert verify([kept], most=100).faults[-1].code == "head"


def test_a_head_that_is_gone_is_named_and_set_right_as_the_manual_says(kept: Kept) -> None:
    TreeHead.objects.all().delete()
    assert verdict(kept) == ("head", None)
    manual = (settings.BASE_DIR / "docs/audit.md").read_text()
    repair = [it.strip() for it in manual.splitlines() if "audit_treehead " in it and ";" in it]
    with connection.cursor() as cursor:
        for statement in repair:
            cursor.execute(statement)
    assert verdict(kept) is None
    write_log(make_people(1), 1)
    assert sealing.seal(now=timezone.now()).size == SIZE + 1


def test_a_log_without_an_event_needs_no_head_and_none_that_claims_some() -> None:
    assert verdict() is None
    TreeHead.objects.create(size=1)
    assert verdict() == ("head", None)


@pytest.mark.django_db(transaction=True)
def test_the_head_and_the_newest_checkpoint_never_differ_while_a_sealer_works() -> None:
    is_done = threading.Event()
    found = set[bool]()

    def look() -> None:
        try:
            while not is_done.is_set():
                head, newest = sealing._read_sizes()
                found.add(head == newest)
        finally:
            connection.close()

    write_log(make_people(1), 60)
    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert sealing.seal(now=timezone.now(), batch=1).batches == 60
    finally:
        is_done.set()
        thread.join(60)
    assert found == {True}


def test_sizes_that_differ_are_read_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([(0, 3), (3, 3)])
    monkeypatch.setattr(sealing, "_read_sizes", lambda: next(answers))
    assert verdict() is None
    assert list(answers) == []


def test_a_checkpoint_of_another_log_is_refused(kept: Kept) -> None:
    assert verdict(Kept("a file", kept.note.replace("localhost", "elsewhere"))) == (
        "signature",
        None,
    )


def test_personal_values_that_were_changed_added_or_removed_are_named(kept: Kept) -> None:
    mine = EventDetail.objects.filter(event_id=at(61).pk, field="address")
    old = mine.get()
    mine.update(value="198.51.100.1")
    assert verdict() == ("value", 61)
    mine.update(value=old.value, salt=bytes(32))
    assert verdict() == ("value", 61)
    mine.delete()
    assert verdict() == ("erased", 61)
    old.save(force_insert=True)
    other = EventDetail.objects.create(event_id=at(60).pk, field="address", value="x", salt=b"")
    assert verdict() == ("value", 60)
    models.QuerySet(EventDetail).filter(pk=other.pk).update(event_id=other.pk)
    assert verdict() == ("orphan", None)


def test_a_lawful_erasure_passes_and_the_same_without_its_record_does_not() -> None:
    people = make_people(5)
    write_log(people, 100)
    kept = seal_all()
    alice, bob, *_ = people
    subject = Reference("user", alice)
    values = redact_person(alice)
    assert values > 0
    unrecorded = verdict(kept)
    assert unrecorded is not None
    assert unrecorded[0] == "erased"
    record("user.logs_erased", actor=Actor.system("test"), subject=subject, now=timezone.now())
    seal_all()
    report = verify([kept])
    assert report.fault is None
    assert report.erased == values
    with triggers_off():
        EventDetail.objects.filter(person_id=bob).delete()
    found = verify([kept]).fault
    assert found is not None
    assert found.code == "erased"
    assert "no erasure accounts for it" in found.text


@pytest.mark.parametrize("has_ledger", [True, False])
def test_an_erasure_that_is_under_way_accounts_for_what_is_gone_already(
    tmp_path: Path, has_ledger: bool
) -> None:
    people = make_people(2)
    write_log(people, 20)
    seal_all()
    redact_person(people[0])
    intent = entry(subject_id=people[0])
    cursor = {"begun": True, "intent": str(intent.id)}
    with a_ledger(tmp_path) if has_ledger else override_settings(ERASURE_LEDGER=""):
        assert verdict() is not None
        fields: dict[str, Any] = {"subject_id": people[0], "state": "failed", "finished_at": None}
        request = finished(ago=timedelta(), id=intent.deletion_id, cursor=cursor, **fields)
        # Without a ledger nobody else can say so.
        assert (verdict() is None) is not has_ledger
        open_ledger().intend([entry(subject_id=people[1]), entry(id=intent.id)])
        assert (verdict() is None) is not has_ledger
        open_ledger().intend([intent])
        assert verdict() is None
        keeps = {**cursor, "spare": ["audit.EventDetail"]}
        for other in ({"large": True}, keeps):
            DeletionRequest.objects.filter(pk=request.pk).update(cursor=other)
            assert verdict() is not None
        DeletionRequest.objects.filter(pk=request.pk).update(cursor=cursor)
        find = prepare_under_way()
        open_ledger().finish([intent], "done")
        assert set(find()) == {str(people[0])}, "the commit may have come after the snapshot began"
        assert (verdict() is None) is not has_ledger, "now it came before"
        open_ledger().finish([intent], "void")
        assert (verdict() is None) is not has_ledger


def test_events_that_were_forgotten_lawfully_leave_their_hash(kept: Kept) -> None:
    for position in (5, 6, 7, 250):
        forget_events([at(position).pk])
    assert verdict(kept) is None
    seal_all()
    report = verify([kept])
    assert (report.fault, report.forgotten) == (None, 4)
    assert [it.facts["positions"] for it in events().filter(action=FORGOTTEN).order_by("id")] == [
        [[it, it]] for it in (5, 6, 7, 250)
    ]
    events().filter(sealed_seq=8).delete()
    assert verdict(kept) == ("missing", 8)


def test_what_is_pruned_by_age_is_accounted_for_and_older_proofs_hold(kept: Kept) -> None:
    cut = at(120).at
    assert prune(before=cut, execute=False) == 120
    assert events().filter(sealed_seq__lt=120).count() == 120
    # In a transaction of the test, where a durable one cannot be.
    gone = events().filter(sealed_seq__lt=120).values_list("pk", flat=True)
    assert forget_events(list(gone), because="age") == 120
    seal_all()
    report = verify([kept])
    assert (report.fault, report.forgotten) == (None, 120)
    assert events().get(action=FORGOTTEN).facts == {
        "because": "age",
        "events": 120,
        "positions": [[0, 119]],
    }


def test_the_record_of_an_erasure_may_go_before_the_events_that_it_accounts_for() -> None:
    people = make_people(3)
    write_log(people, 40)
    seal_all()
    alice = people[0]
    redact_person(alice)
    told = record(
        "user.erased",
        actor=Actor.system("test"),
        subject=Reference("user", alice),
        now=timezone.now(),
    )
    kept = seal_all()
    assert verdict(kept) is None
    forget_events([told])
    seal_all()
    assert verify([kept]).fault is None
    bare = events().get(action=FORGOTTEN).facts["bare"]
    with triggers_off():
        events().filter(action=FORGOTTEN).delete()
    assert verdict() in {("missing", 40), ("erased", bare[0][0])}


def test_the_newest_event_may_be_as_old_as_it_likes() -> None:
    record("old", actor=Actor.system("x"), subject=None, now=timezone.now().replace(year=2020))
    seal_all()
    assert verdict() is None
    assert AuditEvent.objects.get().sealed_seq == 0


def test_as_many_bad_records_are_named_as_are_asked_for(kept: Kept) -> None:
    events().filter(sealed_seq=30).update(action="other")
    events().filter(sealed_seq=31).delete()
    events().filter(sealed_seq=270).update(facts={"n": -1})
    write_log(make_people(1), 1)
    events().filter(sealed_seq=None).update(sealed_seq=SIZE)
    found = [(it.code, it.position) for it in verify([kept], most=100).faults]
    changed = [("changed", 30), ("missing", 31), ("changed", 270), ("beyond", SIZE)]
    assert [it for it in found if it[0] != "orphan"] == changed
    assert [(it.code, it.position) for it in verify([kept], most=2).faults] == changed[:2]
    assert [(it.code, it.position) for it in verify([kept]).faults] == changed[:1]


def test_a_checkpoint_of_another_history_does_not_hide_what_follows(kept: Kept) -> None:
    events().filter(sealed_seq=120).update(action="other")
    rebuild(100)
    sealing.seal(now=timezone.now())
    events().filter(sealed_seq=250).update(action="other")
    assert [it.code for it in verify([kept], most=100).faults] == ["root", "changed"]
    assert [it.code for it in verify([kept]).faults] == ["root"]


def test_after_a_wrong_root_of_its_own_nothing_is_said_of_what_follows(kept: Kept) -> None:
    Checkpoint.objects.filter(size=200).update(note=Checkpoint.objects.get(size=150).note)
    events().filter(sealed_seq=250).update(action="other")
    assert [it.code for it in verify([kept], most=100).faults] == ["signature"]
