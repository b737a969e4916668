"""A purge is killed, at every commit and at random instants, and another one goes on: what is left
is what an undisturbed run leaves, row for row, with the same counts, events and receipts. So is the
teardown of a large organization, from the owner's request to the worker's last commit.

Large subjects that go in pieces are among it, an organization with users that it manages, one whom
a hold keeps, one that is gone already, one that failed before, and one that the database refuses
to let go. After each death everybody whose row is gone stands in the ledger.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

import pytest

from tests.databases import VENDORS
from tests.live.servers import empty_database
from tests.proofs.images import Image, image_of
from tests.proofs.sizes import EVERY_COMMIT, INSTANTS
from tests.proofs.victim import Victim, a_victim

LATER = 6
"""Minutes after which the lease of a worker that died has lapsed."""

Look = dict[str, Any]


class Stage:
    """One database, the image that each run starts from, and what an undisturbed run leaves."""

    def __init__(self, vendor: str, url: str, victim: Victim, folder: Path, work: str) -> None:
        self.victim, self.work = victim, work
        self.ledger = folder / "ledger.jsonl"
        self.fates: dict[str, str] = victim.do({"purge": "build"}.get(work, "build_teardown"))
        self.image: Image = image_of(vendor, url, folder)
        self.image.settle()
        self.image.keep()
        self.living = self.image.living()
        self.header = self.ledger.read_bytes()
        victim.do("rehearse")
        self.start_anew()
        self.commits: int = victim.do(work)
        self.wanted: Look = victim.do("look")

    def start_anew(self) -> None:
        self.image.settle()
        self.image.restore()
        self.ledger.write_bytes(self.header)

    def check_ledger(self) -> None:
        """Fail unless everybody who is gone was written down before."""
        self.image.settle()
        lines = map(json.loads, self.ledger.read_text().splitlines())
        written = {line["subject"].replace("-", "") for line in lines if "subject" in line}
        due = {pk.replace("-", "") for pk, fate in self.fates.items() if fate == "completed"}
        gone = (due & self.living) - self.image.living()
        assert gone <= written

    def compare(self, where: str) -> None:
        found: Look = self.victim.do("look")
        wanted: Counter[str] = Counter(self.wanted["rows"])
        got: Counter[str] = Counter(found["rows"])
        lost, extra = wanted - got, got - wanted
        assert not lost, f"{where}\nlost: {_show(lost)}\nin their place: {_show(extra)}"
        assert not extra, f"{where}\nmore than there should be: {_show(extra)}"
        assert found["receipts"] == self.wanted["receipts"], where


def _show(rows: Counter[str]) -> str:
    return "\n".join(f"{number} times {text}" for text, number in rows.most_common(5))


@pytest.fixture(scope="module", params=product(VENDORS, ["purge", "tear_down"]), ids="-".join)
def stage(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Stage]:
    vendor, work = request.param
    folder = tmp_path_factory.mktemp("crashes")
    with empty_database(vendor, folder) as url, a_victim(url, folder) as victim:
        yield Stage(vendor, url, victim, folder, work)


def test_an_undisturbed_run_does_what_it_should(stage: Stage) -> None:
    states = stage.wanted["states"]
    assert {pk: states[pk] for pk in stage.fates} == stage.fates
    if stage.work == "purge":
        assert set(stage.fates.values()) == {"completed", "failed", "scheduled"}
    # Sets, halves of the one that the poison spoilt, and pieces of those that are large.
    assert stage.commits > 15


@pytest.mark.parametrize("side", ["before", "after"])
@EVERY_COMMIT
def test_death_at_any_commit_costs_nothing(stage: Stage, side: str, size: int) -> None:
    died = 0
    for number in count(1, size):
        stage.start_anew()
        if stage.victim.do(stage.work, boundary=number, side=side) is None:
            died += 1
            stage.check_ledger()
            assert stage.victim.do(stage.work, minutes=LATER)
        elif number > stage.commits:
            break
        stage.compare(f"killed {side} commit {number}")
    assert died >= stage.commits // size


@INSTANTS
def test_death_at_any_instant_costs_nothing(stage: Stage, size: int) -> None:
    """Each run dies once, some die again while they make up for it."""
    rng = random.Random(f"instants of {size}")
    stage.start_anew()
    longest = stage.victim.do(f"time_{stage.work}")
    for _ in range(size):
        stage.start_anew()
        instants = [rng.uniform(0, longest) for _ in range(rng.choice([1, 1, 1, 2]))]
        for number, instant in enumerate(instants):
            stage.victim.do(stage.work, minutes=LATER * number, after=instant)
            stage.check_ledger()
        assert stage.victim.do(stage.work, minutes=LATER * len(instants)) is not None
        stage.compare(f"killed after {instants} seconds")
