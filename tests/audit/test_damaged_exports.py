"""An export of a log that somebody has damaged comes to its end, and shows what is bad."""

from pathlib import Path

import pytest
from django.db import connection

from audit import exporting, offline, rows
from audit.exporting import export
from audit.models import Checkpoint, EventDetail, Tile
from audit.querying import Wanted
from audit.tiles import HASH, DamagedTree
from audit.verifying import Kept
from tests.audit.files import check, key, lines_of, save
from tests.audit.logs import SIZE, at, events
from tests.audit.spoiling import SPOILED, spoil, write
from tests.commands.shell import run
from tests.factories import OrganizationFactory, give_key
from tests.house.asking import ask

pytestmark = pytest.mark.django_db


def positions(path: Path) -> list[int]:
    return [it["position"] for it in lines_of(path) if "position" in it]


def without(*gone: int) -> list[int]:
    return [it for it in range(SIZE) if it not in gone]


def bad(path: Path) -> str:
    with pytest.raises(offline.Bad) as found:
        check(path)
    return str(found.value)


@pytest.mark.parametrize("name", SPOILED)
def test_an_event_that_cannot_be_read_is_left_out_and_missed(
    kept: Kept, file: Path, name: str
) -> None:
    spoil(name, 61)
    save(file, with_details=True)
    assert positions(file) == without(61)
    assert bad(file) == "The event at position 61 is missing."
    part = file.with_name("part")
    done = check(save(part, Wanted(action="user.seen")), kept.note)
    assert done.events == len(positions(part)) == 149


def test_the_rest_is_read_at_once_again(
    kept: Kept, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "MANY", 10)
    monkeypatch.setattr(rows, "MANY", 10)
    spoiled = (0, 61, 62, 70, 299)
    for position in spoiled:
        spoil("bytes as text", position)
    assert positions(save(file)) == without(*spoiled)


@pytest.mark.parametrize(
    ("column", "value", "lost"),
    [
        ("value", "X'ff'", 1),
        ("value", "CAST(X'ff' AS TEXT)", 2),
        ("salt", "'x'", 2),
        ("field", "X'ff'", 1),
    ],
)
def test_a_personal_value_that_cannot_be_read_is_left_out_and_missed(
    kept: Kept, file: Path, column: str, value: str, lost: int
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    values = EventDetail.objects.count()
    one = f"event_id = '{at(61).pk.hex}' AND field = 'address'"
    write(f"UPDATE audit_eventdetail SET {column} = {value} WHERE {one}")
    save(file, with_details=True)
    assert positions(file) == without()
    assert sum(len(it.get("details", ())) for it in lines_of(file)) == values - lost
    assert bad(file) == "The event at position 61 has lost a value, and nothing says why."


@pytest.mark.parametrize("position", ["-1", "7.5", "'x'", "X'ff'", "CAST(X'ff' AS TEXT)"])
def test_an_event_at_a_position_that_is_none_is_left_out(
    kept: Kept, file: Path, position: str
) -> None:
    if connection.vendor != "sqlite" and position != "-1":
        pytest.skip("columns have types there")
    write(f"UPDATE audit_auditevent SET sealed_seq = {position} WHERE sealed_seq = 61")
    assert positions(save(file, with_details=True)) == without(61)
    assert bad(file) == "The event at position 61 is missing."


@pytest.mark.parametrize("at_once", [1_000, 2])
def test_of_several_at_one_position_that_is_written_which_was_sealed_there(
    kept: Kept, file: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(exporting, "AT_ONCE", at_once)
    genuine = str(at(61).pk)
    write("DROP INDEX one_event_per_position")
    write("UPDATE audit_auditevent SET sealed_seq = 61 WHERE sealed_seq IN (60, 62)")
    save(file, with_details=True)
    assert positions(file) == without(60, 62)
    assert genuine in [it.get("event", {}).get("id") for it in lines_of(file)]
    assert bad(file) == "The event at position 60 is missing."
    assert check(save(file, Wanted(action="user.seen"))).events > 0


def test_where_the_tree_is_torn_the_file_says_so_and_so_does_whoever_writes_or_reads_it(
    kept: Kept, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events().filter(sealed_seq__in=[5, 280]).delete()
    Tile.objects.filter(pk=0).update(hashes=bytes(5 * HASH))
    code, text = run("audit_log", "--export", str(file))
    assert code == 1
    assert text.startswith("The export is broken, and no verifier accepts it: the tile 0 of level")
    assert positions(file) == without(5, 280)
    assert offline.main([str(file), "--key", key()]) == 1
    assert capsys.readouterr().err.startswith("BAD: Nothing stands for the event at position 5: ")
    with pytest.raises(DamagedTree):
        list(export())


def test_the_stream_of_the_api_says_it_too(kept: Kept, file: Path) -> None:
    api_key = give_key(OrganizationFactory())
    Tile.objects.filter(pk=0).update(hashes=bytes(5 * HASH))
    response = ask("GET", "/v1/audit-events/export", api_key)
    file.write_bytes(b"".join(response.streaming_content))
    assert response.status_code == 200
    assert bad(file).startswith("Nothing stands for the event at position 0: ")


@pytest.mark.parametrize("note", ["'garbage'", "X'ff'", "CAST(X'ff' AS TEXT)"])
def test_a_checkpoint_that_the_service_did_not_sign_is_passed_over(
    kept: Kept, file: Path, note: str
) -> None:
    if connection.vendor != "sqlite" and note != "'garbage'":
        pytest.skip("columns have types there")
    write(
        "INSERT INTO audit_checkpoint (size, at, note) "
        f"VALUES (1000000, '2026-11-27 00:00:00+00:00', {note})"
    )
    assert check(save(file, with_details=True), kept.note).events == SIZE
    Checkpoint.objects.filter(size__lte=SIZE).delete()
    assert run("audit_log", "--export", str(file.with_name("none")))[0] == 1


@pytest.mark.parametrize(
    "size", ["300.5", "1180591620717411303424", "'x'", "X'ff'", "CAST(X'ff' AS TEXT)"]
)
def test_so_is_a_checkpoint_whose_size_is_none(kept: Kept, file: Path, size: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    write(f"INSERT INTO audit_checkpoint (size, at, note) VALUES ({size}, '2026-11-27', 'x')")
    assert check(save(file, with_details=True), kept.note).events == SIZE


def test_an_event_that_no_verifier_can_read_is_named(kept: Kept, file: Path) -> None:
    cast = "::jsonb" if connection.vendor == "postgresql" else ""
    write(f"""UPDATE audit_auditevent SET commitments = '"x"'{cast} WHERE sealed_seq = 61""")
    assert positions(save(file)) == without()
    assert bad(file).startswith("The event at position 61 cannot be read: ")
