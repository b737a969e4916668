"""After a purge the mark stands behind what the purge itself has written, without reading it again,
and only if nothing else was written and nothing is open."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from erasure import alone, executor, gate, locking, pacing, purging, sets, signing
from erasure.executor import erase_now
from erasure.ledger import Entry, Ledger
from erasure.ledgerfile import FileLedger
from erasure.models import LedgerMark
from erasure.purging import purge_due
from erasure.receipts import receipt_of, verify
from tests.erasure.leaving import (
    NOW,
    SYSTEM,
    about,
    clinging,
    clock,
    due_person,
    gone,
    person,
    request_of,
)
from tests.ledgers import a_ledger

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)
    # Whatever moves the mark in these tests, it is not the one that reads.
    monkeypatch.setattr(purging, "FEW_TO_READ", -1)
    with a_ledger(tmp_path) as made:
        assert gate.look() == ""
        made.create()
        yield made


def purge() -> Any:
    return purge_due(actor=SYSTEM, clock=clock)


def states(ledger: Ledger) -> list[str]:
    return [entry.state for _, entry in ledger.read()]


def mark() -> int:
    return LedgerMark.objects.get().position


def test_the_mark_moves_past_what_the_purge_has_written(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        due_person()
    read: list[int] = []
    real = FileLedger.read

    def count(self: FileLedger, position: int = 0) -> Any:
        for it in real(self, position):
            read.append(1)
            yield it

    monkeypatch.setattr(FileLedger, "read", count)
    assert purge().erased == 3
    assert (mark(), read) == (ledger.end(), [])
    monkeypatch.undo()
    assert sorted(states(ledger)) == ["done"] * 3 + ["intent"] * 3
    assert gate.look(is_thorough=True) == ""


def test_not_when_somebody_else_has_written_meanwhile(ledger: Ledger) -> None:
    due_person()
    other = FileLedger(Path(str(ledger)))
    before = mark()

    def write(done: Any, report: Any) -> None:
        if done:
            entry = Entry(uuid7(), NOW, "user", uuid7(), "", uuid7(), 1)
            other.intend([entry])
            other.finish([entry], "void")

    purge_due(actor=SYSTEM, clock=clock, on_progress=write)
    assert mark() == before
    assert gate.advance(now=NOW)
    assert mark() == ledger.end()


def test_a_set_that_failed_is_taken_back_and_keeps_nothing_open(ledger: Ledger) -> None:
    people = [due_person() for _ in range(4)]
    with clinging(people[1].pk):
        assert purge().erased == 3
    assert not gone(people[1])
    told = states(ledger)
    assert told.count("intent") == told.count("done") + told.count("void")
    assert told.count("done") == 3
    assert mark() == ledger.end()


def test_not_past_an_intent_that_has_no_end(ledger: Ledger) -> None:
    due_person()
    ledger.intend([Entry(uuid7(), NOW, "user", uuid7(), "", uuid7(), 1)])
    before = mark()
    assert purge().erased == 1
    assert mark() == before


def test_where_nothing_was_written_it_stays(ledger: Ledger) -> None:
    before = mark()
    assert purge().erased == 0
    assert mark() == before


def test_a_receipt_names_the_entry_that_tells_of_its_erasure(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By set, alone in pieces, and by staff."""
    for module in (alone, sets, executor):
        monkeypatch.setattr(module, "LARGE", 6)
    people = [due_person(), due_person(), due_person(sessions=9)]
    assert purge().erased == 3
    user = person()
    erase_now(actor=SYSTEM, subject=about(user), now=NOW)
    told: dict[UUID, set[tuple[UUID, str]]] = defaultdict(set)
    for _, entry in ledger.read():
        told[entry.id].add((entry.deletion_id, entry.state))
    for row in (*people, user):
        request = request_of(row)
        claims = verify(receipt_of(request), signing.key_set()["keys"])
        assert told[UUID(claims["ledger_entry"])] == {(request.pk, "intent"), (request.pk, "done")}
        assert claims["started_at"] == claims["finished_at"] == NOW.isoformat()


def test_without_a_ledger_a_receipt_names_no_entry() -> None:
    user = due_person()
    assert purge().erased == 1
    assert request_of(user).ledger_entry is None
