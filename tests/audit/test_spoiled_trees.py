"""Tiles and checkpoints that no service has written are named, and nobody who reads the tree breaks
off at them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit import notes, signers
from audit.forgetting import forget_events
from audit.models import Checkpoint, Tile
from audit.sealing import BrokenTree, seal
from audit.tiles import WIDTH, DamagedTree, key_of
from audit.verifying import Kept, verify
from tests.audit.logs import SIZE, at, events, make_people, newest, seal_all, verdict, write_log
from tests.commands.shell import run, run_json

pytestmark = pytest.mark.django_db

ABOVE = key_of(1, 0)
"""The one tile of level 1."""

NAMED = {0: ("tree", 0), 1: ("tree", WIDTH), ABOVE: ("tile", 0)}
"""How each tile of the log is named when its hashes cannot be used."""

NO_BYTES = ("'x'", "CAST(hashes AS TEXT)", "1000000000000", "5", "7.5", "CAST(X'ff' AS TEXT)")
NO_TEXT = ("CAST(note AS BLOB)", "X'ff'", "CAST(X'ff' AS TEXT)", "7")
NO_NUMBERS = ("'x'", "X'00'", "CAST(X'ff' AS TEXT)", "-1", "0.5", "300.5", "1e18", "9e999")


def write(sql: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


@contextmanager
def undone() -> Iterator[None]:
    """Take back what is done within."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def needs_columns_without_types() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")


def lift_constraints(table: str, *columns: str) -> None:
    """Do without a table's key and NOT NULL, as whoever owns it can."""
    if connection.vendor == "postgresql":
        write(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
        for column in columns:
            write(f"ALTER TABLE {table} ALTER {column} DROP NOT NULL")
        return
    write(f"CREATE TABLE other AS SELECT {', '.join(columns)} FROM {table}")
    write(f"DROP TABLE {table}")
    write(f"ALTER TABLE other RENAME TO {table}")


def check_named(code: str, position: int | None = None) -> None:
    """Check that the damage is named, and that whoever goes by the tree does nothing."""
    event = at(5).pk
    assert verdict() == (code, position)
    assert forget_events([event]) == 0
    told, text = run("audit_proof", str(event))
    assert (told, "verify_audit_log" in text) == (1, True)


@pytest.mark.parametrize("value", NO_BYTES)
def test_hashes_that_are_no_bytes(kept: Kept, value: str) -> None:
    needs_columns_without_types()
    for key, named in NAMED.items():
        with undone():
            write(f"UPDATE audit_tile SET hashes = {value} WHERE id = %s", key)
            check_named(*named)


def test_hashes_that_are_null(kept: Kept) -> None:
    lift_constraints("audit_tile", "id", "hashes")
    for key, named in NAMED.items():
        with undone():
            write("UPDATE audit_tile SET hashes = NULL WHERE id = %s", key)
            check_named(*named)


@pytest.mark.parametrize("hashes", [b"", b"\0", bytes(33)])
def test_hashes_of_odd_length(kept: Kept, hashes: bytes) -> None:
    for key, named in NAMED.items():
        with undone():
            write("UPDATE audit_tile SET hashes = %s WHERE id = %s", hashes, key)
            check_named(*named)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_tiles_with_ids_that_are_none(kept: Kept, value: str) -> None:
    needs_columns_without_types()
    for key, named in NAMED.items():
        with undone():
            write(f"UPDATE audit_tile SET id = {value} WHERE id = %s", key)
            check_named(*named)


def test_tiles_that_hold_more_than_the_tree(kept: Kept) -> None:
    """Nothing can be appended to them."""
    places = {0: 0, 1: WIDTH, 2: 2 * WIDTH, 9: 9 * WIDTH, ABOVE: 0, ABOVE + 1: WIDTH**2}
    for key, position in places.items():
        for further in (b"\0", bytes(32)):
            with undone():
                tile = Tile.objects.filter(pk=key).first()
                old = bytes(tile.hashes) if tile else b""
                Tile.objects.update_or_create(pk=key, defaults={"hashes": old + further})
                assert verdict() == ("tile", position)


@pytest.mark.parametrize("hashes", [b"", bytes(32)])
@pytest.mark.parametrize("key", [2, 3])
def test_a_tile_in_the_place_of_one_to_come(kept: Kept, key: int, hashes: bytes) -> None:
    Tile.objects.create(pk=key, hashes=hashes)
    write_log(make_people(1), 3 * WIDTH)
    with pytest.raises(DamagedTree):
        seal(now=timezone.now())
    assert verdict() == ("tile", key * WIDTH)
    Tile.objects.filter(pk=key).delete()
    seal_all()
    assert verdict() is None


@pytest.mark.parametrize("value", NO_TEXT)
def test_notes_that_are_no_text(kept: Kept, value: str) -> None:
    needs_columns_without_types()
    write(f"UPDATE audit_checkpoint SET note = {value} WHERE size = 150")
    assert verdict() == ("signature", None)
    write(f"UPDATE audit_checkpoint SET note = {value} WHERE size = {SIZE}")
    check_named("signature")
    events().filter(sealed_seq__in=[20, 200]).update(action="other")
    assert [it.code for it in verify(most=9).faults] == ["changed", "signature"]


@pytest.mark.parametrize(
    "note", ["", "\n\n", "\n\n\n", "x\n\n— y z\n", "x\n\n— — —\n", "a\n" + "9" * 5_000 + "\nb\n\n"]
)
def test_notes_that_are_none(kept: Kept, note: str) -> None:
    assert verdict(Kept("elsewhere", note)) == ("signature", None)
    Checkpoint.objects.filter(size=SIZE).update(note=note)
    check_named("signature")


def test_a_note_that_is_null(kept: Kept) -> None:
    lift_constraints("audit_checkpoint", "size", "at", "note")
    write(f"UPDATE audit_checkpoint SET note = NULL WHERE size = {SIZE}")
    check_named("signature")


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_checkpoints_with_sizes_that_are_none(kept: Kept, value: str) -> None:
    """In the place of one, beside the others and alone."""
    needs_columns_without_types()
    for size, others in ((150, "true"), (SIZE, "true"), (SIZE, "false")):
        with undone():
            write(f"UPDATE audit_checkpoint SET size = {value} WHERE size = {size}")
            write(f"DELETE FROM audit_checkpoint WHERE size IS NOT {value} AND NOT {others}")
            events().filter(sealed_seq=200).update(action="other")
            found = verify([], most=9).faults
            assert [it.code for it in found][-1] == "signature"
            run("audit_proof", str(at(5).pk))
            forget_events([at(5).pk])


@pytest.mark.parametrize("size", [-(1 << 63), -1, 1 << 61, 1 << 62, (1 << 63) - 1])
def test_checkpoints_of_sizes_that_no_tree_has(kept: Kept, size: int) -> None:
    Checkpoint.objects.create(size=size, at=timezone.now(), note=newest().note)
    assert verdict() == ("signature", None)
    Checkpoint.objects.exclude(size=size).delete()
    assert verdict() == ("signature", None)
    assert verdict(kept) == ("signature", None)


def test_a_size_that_is_null(kept: Kept) -> None:
    lift_constraints("audit_checkpoint", "size", "at", "note")
    write(f"UPDATE audit_checkpoint SET size = NULL WHERE size = {SIZE}")
    assert verdict() == ("signature", None)
    write("DELETE FROM audit_checkpoint WHERE size IS NOT NULL")
    assert verdict() == ("signature", None)


def test_a_checkpoint_that_is_there_twice_hides_no_later_one(kept: Kept) -> None:
    lift_constraints("audit_checkpoint", "size", "at", "note")
    write("INSERT INTO audit_checkpoint SELECT * FROM audit_checkpoint WHERE size = 100")
    assert verify().checkpoints == 7


@pytest.mark.parametrize("key", [1, ABOVE])
def test_nothing_is_sealed_upon_a_tile_that_is_none(kept: Kept, key: int) -> None:
    needs_columns_without_types()
    write_log(make_people(1), 1)
    for value in NO_BYTES:
        with undone():
            write(f"UPDATE audit_tile SET hashes = {value} WHERE id = %s", key)
            with pytest.raises(DamagedTree):
                seal(now=timezone.now())


@pytest.mark.parametrize("value", ["'x'", "X'00'", "CAST(X'ff' AS TEXT)", "7.5"])
def test_a_head_that_is_no_number(kept: Kept, value: str) -> None:
    needs_columns_without_types()
    write(f"UPDATE audit_treehead SET size = {value}")
    assert verdict(kept) == ("head", None)


@pytest.mark.parametrize("value", ["''", "X''", "NULL"])
def test_no_sealer_waits_for_ever_for_a_head_that_is_empty(kept: Kept, value: str) -> None:
    write_log(make_people(1), 1)
    if value == "NULL":
        lift_constraints("audit_treehead", "id", "size")
    else:
        needs_columns_without_types()
    write(f"UPDATE audit_treehead SET size = {value}")
    with pytest.raises(BrokenTree):
        seal(now=timezone.now())
    assert verdict(kept) == ("head", None)


@pytest.mark.parametrize("value", ["'x'", "X'00'", "1e300"])
def test_a_position_that_is_no_number_can_be_told(kept: Kept, value: str) -> None:
    needs_columns_without_types()
    write(f"UPDATE audit_auditevent SET sealed_seq = {value} WHERE sealed_seq = 61")
    code, told = run_json("verify_audit_log", "--no-kept", "--most", "9")
    assert (code, [it["code"] for it in told["faults"]]) == (1, ["missing", "beyond"])


@pytest.mark.parametrize("value", ["'x'", "7.5", "1000000000", "-1", "CAST(X'ff' AS TEXT)"])
def test_an_event_at_no_position_is_not_proved(kept: Kept, value: str) -> None:
    event = at(61).pk
    if connection.vendor == "sqlite":
        write(f"UPDATE audit_auditevent SET sealed_seq = {value} WHERE sealed_seq = 61")
    elif value.lstrip("-").isdigit():
        events().filter(pk=event).update(sealed_seq=int(value))
    else:
        pytest.skip("columns have types there")
    code, text = run("audit_proof", str(event))
    assert (code, "verify_audit_log" in text) == (1, True)


def test_an_event_that_is_not_what_was_sealed_is_not_proved(kept: Kept) -> None:
    for change in ({"action": "other"}, {"facts": [1]}, {"sealed_seq": 10**6}):
        with undone():
            event = at(61).pk
            events().filter(pk=event).update(**change)
            code, text = run("audit_proof", str(event))
            assert (code, "verify_audit_log" in text) == (1, True)


@pytest.mark.parametrize("note", [None, 7, b"x", ["x"], {"x": "y"}])
def test_what_is_no_text_is_no_note(note: Any) -> None:
    with pytest.raises(notes.InvalidNote):
        notes.open_note(note, signers.verifiers())


def test_a_note_with_what_no_text_can_hold_is_not_the_one_that_was_signed(kept: Kept) -> None:
    with pytest.raises(notes.InvalidNote):
        notes.open_note(f"\ud800{kept.note}", signers.verifiers())


@pytest.mark.parametrize("size", ["9" * 20, "9" * 5_000, "\u0663", "01", "-1", "1.0", ""])
def test_a_size_that_is_too_long_or_no_number_is_none(size: str) -> None:
    with pytest.raises(notes.InvalidNote):
        notes.read_text(f"localhost/audit\n{size}\n{'A' * 43}=\n")
