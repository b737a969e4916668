"""Committed events get their position, their leaf and a signed checkpoint."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError, connection, transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit import merkle, notes, rows, sealing, signers, tiles
from audit.actors import Actor, Origin
from audit.entries import FIELDS, canonical, hash_entry, spell_document
from audit.events import Happening, Reference, record, record_many
from audit.models import AuditEvent, Checkpoint, Tile, TreeHead
from audit.rows import read_rows, read_sealed
from audit.sealing import seal
from audit.verifying import verify
from tests.databases import triggers_off

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


def write(count: int = 1, **values: Any) -> list[UUID]:
    now = timezone.now()
    return [
        record("test", actor=SYSTEM, subject=Reference("user", uuid7()), now=now, **values)
        for _ in range(count)
    ]


def positions() -> dict[UUID, int | None]:
    return dict(AuditEvent.objects.values_list("id", "sealed_seq"))


def leaves() -> list[bytes]:
    return [hash_entry(row.values) for row in read_sealed(0, 10**9)]


def leaves_of_tiles() -> list[bytes]:
    hashes = b"".join(bytes(it) for it in Tile.objects.values_list("hashes", flat=True))
    return [hashes[at : at + 32] for at in range(0, len(hashes), 32)]


def test_what_is_committed_gets_a_position_and_a_signed_checkpoint() -> None:
    ids = write(3)
    now = timezone.now()
    assert seal(now=now) == sealing.Sealed(events=3, batches=1, size=3)
    assert positions() == dict(zip(ids, range(3), strict=True))
    last = Checkpoint.objects.get()
    signed = notes.open_note(last.note, signers.verifiers())
    assert (signed.size, signed.root) == (3, merkle.root_of(leaves()))
    assert signed.at == last.at == now.replace(microsecond=0)
    assert seal(now=now) == sealing.Sealed(size=3)
    assert Checkpoint.objects.count() == 1


def test_a_note_is_spelled_as_the_specification_says() -> None:
    write()
    seal(now=datetime(2026, 11, 27, 9, 30, 1, 5, tzinfo=UTC))
    origin, size, _root, time, empty, signature, end = Checkpoint.objects.get().note.split("\n")
    assert (origin, size, time, empty, end) == (
        "localhost/audit",
        "1",
        "time 2026-11-27T09:30:01Z",
        "",
        "",
    )
    assert signature.startswith("— localhost/audit ")
    key = signers.verifiers()[0]
    assert notes.read_verifiers(str(key), "x") == [key]


def test_many_are_sealed_batch_by_batch_and_tiles_hold_every_node() -> None:
    write(600)
    assert seal(now=timezone.now(), batch=150) == sealing.Sealed(events=600, batches=4, size=600)
    found = leaves()
    tree = tiles.Tiles()
    assert b"".join(tree.tile(0, it) for it in range(3)) == b"".join(found)
    assert tree.tile(1, 0) == merkle.root_of(found[:256]) + merkle.root_of(found[256:512])
    for size in (1, 255, 256, 257, 300, 599, 600):
        assert tree.range(size).root() == merkle.root_of(found[:size])
    for known in Checkpoint.objects.all():
        assert notes.open_note(known.note, signers.verifiers()).root == merkle.root_of(
            found[: known.size]
        )


def test_a_limit_ends_it_and_the_rest_is_for_the_next() -> None:
    write(10)
    assert seal(now=timezone.now(), limit=7, batch=5).events == 7
    assert sealing.count_unsealed() == 3
    assert seal(now=timezone.now()) == sealing.Sealed(events=3, batches=1, size=10)


def test_events_of_every_form_have_the_leaf_that_the_database_gives_back() -> None:
    person = uuid7()
    actor = Actor(
        kind="organization",
        id=uuid7(),
        channel='tést \\ "quoted"',
        request_id="req_1",
        person_id=person,
        credential_id=uuid7(),
        origin=Origin("192.0.2.1", "agent"),
    )
    facts = {"z": 1, "a": [1.5, None, True, "ü\n\u2028"], "n": {"b": 10**30, "a": -0.25}}
    whole = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    subject = Reference("user", uuid7())
    record("a", actor=actor, subject=subject, now=whole, facts=facts, keep_details=True)
    broken = whole + timedelta(microseconds=7)
    record("b", actor=actor, subject=None, now=broken, organization_id=uuid7(), outcome="refused")
    many = [Happening(uuid7(), None, '{"b": 2, "a": 1}'), Happening(uuid7(), uuid7(), "{}")]
    record_many("c", actor=SYSTEM, kind="user", now=whole, happenings=many)
    rows = list(read_rows("ORDER BY id"))
    assert len(rows) == 4
    for row, event in zip(rows, AuditEvent.objects.order_by("id"), strict=True):
        assert row.values[3] == f"{event.at:%Y-%m-%dT%H:%M:%S.%f}Z"
        for name, text in zip(FIELDS, row.values, strict=True):
            if name.endswith("_id") and name != "request_id":
                assert text == (str(value) if (value := getattr(event, name)) else None)
    seal(now=whole)
    assert leaves() == [hash_entry(row.values) for row in rows]


def test_a_document_has_one_spelling() -> None:
    for document in (
        {},
        {"b": "ü\n", "a": 1, "é": True, "d": None, "c": 0.1, "n": {"y": [1, "x"], "x": {}}},
        [{"b": 1, "a": 2}],
        "text",
        -7,
    ):
        expected = json.dumps(document, sort_keys=True, separators=(",", ":"))
        assert spell_document(document) == expected
        assert canonical(json.dumps(document, indent=1)) == expected
        assert canonical(json.dumps(document, ensure_ascii=False)) == expected
    for text in ("", " {}", '{"a":1} ', "{}{}", "\ufeff{}", '{"a":1', "NaN"):
        with pytest.raises(ValueError, match=r"."):
            canonical(text)
    with pytest.raises(TypeError):
        spell_document({1: "a"})


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_commits_late_goes_into_the_next_seal() -> None:
    """Its ids are earlier than ids that are sealed already: whoever pages by id loses them."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer, so none commits after a later one")
    written, may_commit = threading.Event(), threading.Event()
    late: list[UUID] = []

    def commit_late() -> None:
        try:
            with transaction.atomic():
                late.extend(write(2))
                written.set()
                assert may_commit.wait(60)
        finally:
            connection.close()

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert written.wait(60)
    early = write(3)
    seal(now=timezone.now())
    assert positions() == dict(zip(early, (0, 1, 2), strict=True))
    may_commit.set()
    thread.join(60)
    assert max(late) < min(early)
    seal(now=timezone.now())
    assert positions() == dict(zip([*early, *late], range(5), strict=True))


@pytest.mark.django_db(transaction=True)
def test_of_two_sealers_one_works() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite lets the second one wait")
    write(3)
    found: list[sealing.Sealed] = []

    def second() -> None:
        try:
            found.append(seal(now=timezone.now()))
        finally:
            connection.close()

    TreeHead.objects.create()
    with transaction.atomic():
        TreeHead.objects.select_for_update().get()
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(60)
    assert [it.is_busy for it in found] == [True]
    assert seal(now=timezone.now()).events == 3


def seal_at_once(monkeypatch: pytest.MonkeyPatch) -> list[sealing.Sealed | None]:
    """Let two sealers find the same events before either begins to write, and return what they
    did, None for an error."""
    find, meeting, mine = rows.read_next, threading.Barrier(2), threading.local()

    def meet(*args: Any) -> Any:
        found = find(*args)
        if not hasattr(mine, "has_met"):
            mine.has_met = True
            meeting.wait(60)
        return found

    done: list[sealing.Sealed | None] = []

    def work() -> None:
        try:
            done.append(seal(now=timezone.now()))
        except DatabaseError:
            done.append(None)
        finally:
            connection.close()

    monkeypatch.setattr(sealing, "read_next", meet)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 2
    return done


@pytest.mark.django_db(transaction=True)
def test_two_sealers_at_once_seal_each_event_once(monkeypatch: pytest.MonkeyPatch) -> None:
    TreeHead.objects.create()
    write(300)
    done = seal_at_once(monkeypatch)
    assert sorted(it.events for it in done if it) == [0, 300]
    assert sorted(positions().values(), key=str) == sorted(range(300), key=str)
    assert verify().fault is None


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_two_sealers_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the database itself refuses the one that comes second."""
    TreeHead.objects.create()
    write(300)
    monkeypatch.setattr(sealing, "_lock", TreeHead)
    assert None in seal_at_once(monkeypatch)


def test_what_another_sealer_took_in_between_is_not_sealed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events are found before the lock is taken."""
    write(3)
    lock = sealing._lock

    def be_late() -> TreeHead | None:
        monkeypatch.setattr(sealing, "_lock", lock)
        assert seal(now=timezone.now()).size == 3
        write(2)
        return lock()

    monkeypatch.setattr(sealing, "_lock", be_late)
    assert seal(now=timezone.now()) == sealing.Sealed(events=2, batches=1, size=5)
    assert sorted(positions().values(), key=str) == [0, 1, 2, 3, 4]
    assert leaves_of_tiles() == leaves()


def test_what_fails_in_the_middle_leaves_the_log_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    write(2)
    seal(now=timezone.now())
    write(2)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint.objects, "create", fail)
        with pytest.raises(OSError, match=r"^$"):
            seal(now=timezone.now())
    assert (TreeHead.objects.get().size, sealing.count_unsealed()) == (2, 2)
    assert len(Tile.objects.get().hashes) == 64
    assert seal(now=timezone.now()).size == 4


def test_nothing_is_sealed_on_top_of_a_tree_that_somebody_has_changed() -> None:
    write(5)
    seal(now=timezone.now())
    write(1)
    tile = Tile.objects.get()
    with triggers_off():
        Tile.objects.update(hashes=bytes(32) + bytes(tile.hashes)[32:])
    with pytest.raises(sealing.BrokenTree, match="another tree"):
        seal(now=timezone.now())
    with triggers_off():
        Tile.objects.update(hashes=tile.hashes)
        note = Checkpoint.objects.get().note
        Checkpoint.objects.update(note=note.replace("time 2", "time 1"))
    with pytest.raises(sealing.BrokenTree, match="after it was signed"):
        seal(now=timezone.now())
    with triggers_off():
        Checkpoint.objects.all().delete()
    with pytest.raises(sealing.BrokenTree, match="5 events are sealed"):
        seal(now=timezone.now())
    assert sealing.count_unsealed() == 1
