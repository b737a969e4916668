"""A drain takes what a count by hand says, whatever its statements' sizes, whoever goes on with it,
and whether the database's cascades are counted or not used."""

import random
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import models
from django.db.models.query import QuerySet

from erasure import draining, stock
from erasure.branches import Branch, Keys, is_tree, walked_field
from erasure.closure import Closure
from erasure.draining import Drain, Moved
from erasure.tally import Tally
from tests.erasure.farms import (
    MODELS,
    POLICIES,
    Acre,
    Bed,
    Farm,
    FarmKind,
    Fence,
    Hand,
    Line,
    Notice,
    Plant,
    Visit,
)


def plant(dice: random.Random) -> list[UUID]:
    """Grow five farms, rows of all of them among each other; return their keys."""
    farms = [Farm.objects.create(id=key(dice), name=f"farm {n}") for n in range(5)]
    acres = [Acre.objects.create(id=key(dice), farm=dice.choice(farms)) for _ in range(20)]
    beds = [Bed.objects.create(id=f"bed {n:03}", acre=dice.choice(acres)) for n in range(60)]
    for number in range(200):
        farm = dice.choice([*farms, None, None, None])
        Plant.objects.create(bed=dice.choice(beds), farm=farm)
        Fence.objects.create(acre=dice.choice(acres))
        Hand.objects.create(farm=dice.choice(farms), person=number)
    for _ in range(30):
        notice = Notice.objects.create(about=f"farm {dice.randrange(6)}")
        for _ in range(dice.randrange(4)):
            Line.objects.create(notice=notice)
        Visit.objects.create(farm=dice.choice(farms))
    return [farm.pk for farm in farms]


def key(dice: random.Random) -> UUID:
    return UUID(int=dice.getrandbits(128))


def doomed(farm: UUID) -> dict[type[models.Model], QuerySet[Any]]:
    """Return by hand what goes with a farm."""
    name = Farm.objects.get(pk=farm).name
    mine = models.Q(bed__acre__farm=farm) | models.Q(farm=farm)
    return {
        Acre: Acre.objects.filter(farm=farm),
        Bed: Bed.objects.filter(acre__farm=farm),
        Plant: Plant.objects.filter(mine),
        Fence: Fence.objects.filter(acre__farm=farm),
        Hand: Hand.objects.filter(farm=farm),
        Notice: Notice.objects.filter(about=name),
        Line: Line.objects.filter(notice__about=name),
    }


def read_keys() -> dict[type[models.Model], set[Any]]:
    return {model: set(model._base_manager.values_list("pk", flat=True)) for model in MODELS}


def close(drain: Drain) -> Iterator[Tally]:
    """Carry a drain to its end, each statement in a transaction of its own, then the rest."""
    while not drain.is_done:
        yield drain.work(seconds=0)[0]
    yield Drain(drain.closure, drain.subject_id).finish()


def total(tallies: list[Tally]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for tally in tallies:
        for removed in tally.removed.values():
            for label, rows in removed.items():
                counts[label] = counts.get(label, 0) + rows
    return counts


def test_the_models_of_this_file_are_a_tree() -> None:
    assert is_tree(build().graph)
    assert walked_field(Plant, Plant._meta.get_field("bed")).name == "id"
    assert walked_field(Hand, Hand._meta.get_field("farm")).name == "person"


def build() -> Closure:
    return Closure(FarmKind(), POLICIES)


@pytest.fixture(params=["cascades", "no cascades", "wide"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the database's cascades take the leaves."""
    if request.param == "no cascades":
        monkeypatch.setattr(stock, "is_counted", lambda closure: False)
    if request.param == "wide":
        monkeypatch.setattr(Drain, "_cascades", lambda self, branch: False)
    return str(request.param)


@pytest.mark.usefixtures("farms", "way")
@pytest.mark.parametrize("size", [1, 3, 500])
def test_a_drain_takes_what_a_count_by_hand_says(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "FIRST", size)
    monkeypatch.setattr(draining, "MOST", size)
    farm, *_ = plant(random.Random(size))
    wanted = {model: set(rows.values_list("pk", flat=True)) for model, rows in doomed(farm).items()}
    wanted[Farm] = {farm}
    before = read_keys()
    done = total(list(close(Drain(build(), farm))))
    assert done == {model._meta.label: len(keys) for model, keys in wanted.items() if keys}
    after = read_keys()
    assert after == {model: keys - wanted.get(model, set()) for model, keys in before.items()}
    assert not Visit.objects.filter(farm=farm).exists()


@pytest.mark.usefixtures("farms", "way")
def test_whoever_goes_on_needs_no_more_than_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "FIRST", 3)
    monkeypatch.setattr(draining, "MOST", 3)
    farm, *_ = plant(random.Random("again"))
    wanted = sum(rows.count() for rows in doomed(farm).values()) + 1
    tallies: list[Tally] = []
    cursor: dict[str, Any] = {"at": "nowhere"}
    while cursor:
        tally, cursor = Drain(build(), farm, cursor=cursor).work(seconds=0)
        tallies.append(tally)
    tallies.append(Drain(build(), farm).finish())
    assert sum(total(tallies).values()) == wanted


@pytest.mark.usefixtures("farms", "way")
def test_what_is_added_meanwhile_goes_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "FIRST", 2)
    monkeypatch.setattr(draining, "MOST", 2)
    farm, *_ = plant(random.Random("more"))
    drain = Drain(build(), farm)
    wanted = sum(rows.count() for rows in doomed(farm).values()) + 1
    tallies, added, number = [], 0, 0
    while not drain.is_done:
        tallies.append(drain.work(seconds=0)[0])
        number += 1
        bed = Bed.objects.filter(acre__farm=farm).order_by("?").first()
        if bed is not None and number % 2:
            Plant.objects.create(bed=bed)
            Fence.objects.create(acre=bed.acre)
            added += 2
    tallies.append(Drain(build(), farm).finish())
    assert added > 3
    assert sum(total(tallies).values()) == wanted + added


@pytest.mark.usefixtures("farms")
def test_rows_that_pass_to_somebody_else_meanwhile_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "FIRST", 2)
    monkeypatch.setattr(draining, "MOST", 2)
    farm, other, *_ = plant(random.Random("moved"))
    acres = list(Acre.objects.filter(farm=farm).order_by("pk"))
    drain = Drain(build(), farm)
    while not drain._held:
        drain.work(seconds=0)
    held = drain._held[0]
    assert held.branch.step.model is Acre
    moved = acres[0]
    Acre.objects.filter(pk=moved.pk).update(farm=other)
    with pytest.raises(Moved):
        drain.work(seconds=0)
    assert drain.lose({}) is True
    list(close(drain))
    assert Acre.objects.filter(pk=moved.pk).exists()
    assert not Acre.objects.filter(farm=farm).exists()


@pytest.mark.usefixtures("farms")
def test_what_is_too_slow_is_made_smaller_then_taken_apart_then_given_time() -> None:
    farm, *_ = plant(random.Random("slow"))
    drain = Drain(build(), farm)
    branch = next(one for name, one in drain.stretches.parts() if "Acre" in name)
    bed = next(one for one in branch.branches if one.step.model is Bed)  # type: ignore[union-attr]
    drain._at_work = draining._Work(bed, 40)
    assert drain.lose({}, was_cancelled=True)
    assert drain._stride(bed).size == 10
    assert bed not in drain.wide
    drain._at_work = draining._Work(bed, 1)
    assert drain.lose({}, was_cancelled=True)
    assert bed in drain.wide
    allowed = drain.allowed
    drain._at_work = draining._Work(bed, 1)
    assert drain.lose({}, was_cancelled=True)
    assert drain.allowed == 2 * allowed


@pytest.mark.usefixtures("farms")
def test_looking_among_too_many_parents_takes_fewer_of_them_and_no_fewer_rows() -> None:
    farm, *_ = plant(random.Random("crowd"))
    drain = Drain(build(), farm)
    acre = next(one for name, one in drain.stretches.parts() if "Acre" in name)
    assert isinstance(acre, Branch)
    assert drain._stride(acre).size == 1
    bed = next(one for one in acre.branches if one.step.model is Bed)
    drain._stride(bed).size = 40
    eight = draining._Batch(acre, Keys("", 8), drain.stretches.root)
    allowed = drain.allowed
    drain._at_work = draining._Work(bed, 40, is_finding=True, among=eight)
    assert drain.lose({}, was_cancelled=True)
    assert (drain._stride(acre).size, drain._stride(bed).size, drain.allowed) == (2, 40, allowed)
    # Of one parent the database sorts as much for one row as for many: it is given time.
    drain._at_work = draining._Work(bed, 40, is_finding=True)
    assert drain.lose({}, was_cancelled=True)
    assert (drain._stride(bed).size, drain.allowed) == (40, 2 * allowed)
    assert bed not in drain.wide


def test_a_slow_search_does_not_make_the_steps_small() -> None:
    stride = draining._Stride(100.0)
    stride.observe(100, 0.04, 0.012, finding=0.05)
    assert stride.size > 100
    stride.observe(100, 0.04, 0.012)
    assert stride.size < 100
