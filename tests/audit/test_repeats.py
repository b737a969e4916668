"""An event is sealed once, whoever puts a copy of it in again."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit import rows, sealing
from audit.forgetting import forget_events
from audit.models import AuditEvent, Tile
from audit.sealing import BrokenTree, Sealed, accept, seal
from audit.tiles import WIDTH
from audit.verifying import verify
from tests.audit.logs import events, make_people, see, verdict, write_log
from tests.databases import triggers_off

pytestmark = pytest.mark.django_db

LATER = timezone.now() + timedelta(hours=1)


def copy_of(event: AuditEvent) -> dict[str, Any]:
    """Return a row as it is, its code included."""
    row: dict[str, Any] = events().filter(pk=event.pk).values().get()
    return row


def put_in(row: dict[str, Any]) -> None:
    events().bulk_create([AuditEvent(**row)])


def test_what_was_forgotten_and_is_put_in_again_is_not_sealed_anew() -> None:
    alice, bob = make_people(2)
    see(alice)
    waiting = [copy_of(it) for it in events()]
    seal(now=LATER)
    assert forget_events([it["id"] for it in waiting]) == len(waiting)
    see(bob)
    size = seal(now=LATER).size
    for row in waiting:
        put_in(row)
    assert seal(now=LATER) == Sealed(size=size, refused=len(waiting))
    found = {(it.code, it.event) for it in verify(most=99).faults}
    assert found == {("repeated", str(it["id"])) for it in waiting}
    chosen = [it["id"] for it in waiting]
    assert accept(chosen, now=LATER).refused == len(waiting), "nobody vouches for a repeat"
    assert events().filter(sealed_seq=None).count() == len(waiting)


@pytest.mark.parametrize("size", [5, 300])
def test_nor_is_it_while_its_leaf_is_taken_out_of_the_tree(size: int) -> None:
    alice, bob = make_people(2)
    see(alice, times=1)
    row = copy_of(events().get())
    seal(now=LATER)
    assert forget_events([row["id"]]) == 1
    write_log([bob], size)
    seal(now=LATER)
    tile = Tile.objects.get(pk=0)
    whole = bytes(tile.hashes)
    with triggers_off():
        put_in(row)
        Tile.objects.filter(pk=0).update(hashes=bytes(32) + whole[32:])
        with suppress(BrokenTree):
            assert seal(now=LATER).refused == 1
        Tile.objects.filter(pk=0).update(hashes=whole)
    assert verdict() == ("repeated", None)
    assert seal(now=LATER).refused == 1


def test_only_what_was_sealed_since_it_was_made_is_gone_through() -> None:
    alice, bob = make_people(2)
    write_log([bob], WIDTH)
    seal(now=timezone.now() - timedelta(days=3))
    see(alice, times=1)
    row = copy_of(events().get(sealed_seq=None))
    see(bob, times=1)
    late = copy_of(events().filter(sealed_seq=None).latest("id"))
    with triggers_off():
        events().filter(pk=late["id"]).delete()
        seal(now=LATER)
        assert forget_events([row["id"]]) == 1
        write_log([bob], WIDTH)
        seal(now=LATER)
        put_in(late)
        put_in(row)
        Tile.objects.filter(pk=0).update(hashes=bytes(32 * WIDTH))
        done = seal(now=LATER)
    assert (done.events, done.refused) == (1, 1)
    assert not events().filter(pk=late["id"], sealed_seq=None).exists()


def test_what_another_sealer_took_in_between_is_no_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    (alice,) = make_people(1)
    see(alice)
    seal(now=LATER)
    see(alice)
    find = rows.read_next

    def be_late(*place: Any) -> Any:
        found = find(*place)
        monkeypatch.setattr(sealing, "read_next", find)
        assert seal(now=LATER).events == len(found)
        return found

    monkeypatch.setattr(sealing, "read_next", be_late)
    assert seal(now=LATER) == Sealed(size=events().count())


def test_what_is_older_than_the_newest_checkpoint_and_was_never_sealed_is() -> None:
    (alice,) = make_people(1)
    see(alice)
    seal(now=LATER)
    see(alice)
    late = seal(now=LATER)
    assert late.events > 0
    assert late.refused == 0


def test_what_somebody_has_spoiled_keeps_nothing_else_from_its_seal() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    (alice,) = make_people(1)
    for _ in range(4):
        see(alice)
    number = events().count()
    spoiled = ["id = 'zz'", "id = 7", "id = CAST(X'ff' AS TEXT)", "id = X'00'"]
    spoiled += ["channel = CAST(X'ff' AS TEXT)", "facts = X'ff'", "at = 'never'", "at = 7"]
    # Of which the driver can make no time.
    spoiled += ["at = X'ff'", "at = CAST(X'ff' AS TEXT)", "at = '2026-13-01 00:00:00'"]
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        chosen = events().values_list("pk", flat=True)[: len(spoiled)]
        for change, pk in zip(spoiled, chosen, strict=True):
            cursor.execute(f"UPDATE audit_auditevent SET {change} WHERE id = %s", [pk.hex])
        cursor.execute("PRAGMA ignore_check_constraints = OFF")
    done = seal(now=timezone.now(), batch=1)
    assert (done.events, done.refused) == (number - len(spoiled), len(spoiled))
    for table, column in (("treehead", "size"), ("checkpoint", "note")):
        see(alice)
        with triggers_off(), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE audit_{table} SET {column} = CAST(X'ff' AS TEXT)")
            with pytest.raises(BrokenTree, match="cannot be read"):
                seal(now=timezone.now())
            transaction.set_rollback(True)
    assert seal(now=timezone.now()).events == 6
