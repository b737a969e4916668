"""Never ownerless: of the seven ways to lose an owner each two at once, each with itself, too,
leave every organization with an owner whose account is active.

The races run on real connections behind a barrier. Nobody hears anything but a refusal of the
domain: no deadlock, no lost lock, nothing that would be a 500. The control takes the locks out, and
then at least half of the races orphan an organization.
"""

from collections import Counter
from contextlib import suppress
from functools import partial
from threading import Barrier, BrokenBarrierError
from types import NoneType
from typing import Any

import pytest
from django.db import models

from accounts import services as accounts
from erasure.exceptions import OwnersGone
from organizations import members, ownership
from organizations.exceptions import SoleOwner
from tests.bystanders import charlie_untouched
from tests.proofs.ownership import (
    PAIRS,
    REFUSALS,
    WAYS,
    Way,
    deactivate_by_staff,
    delete_user,
    find_ownerless,
    make_closed,
    make_pairs,
    reopen,
)
from tests.proofs.people import Ring
from tests.proofs.sizes import OWNERLESS, OWNERLESS_CONTROL, REOPENED

pytestmark = pytest.mark.django_db(transaction=True)

PLACES: list[Any] = [members, accounts]
"""Where owners go, each with the rule in hand."""

MOST = 1_000
"""Races at once, so that the long form's tables stay small."""


def race(one: Way, other: Way, size: int) -> tuple[int, list[BaseException]]:
    """Let both ways race for each of so many organizations; return how many are ownerless and what
    was raised. One way takes the first owner away, the other the second one."""
    orphans, raised = 0, []
    for begun in range(0, size, MOST):
        pairs = make_pairs(min(MOST, size - begun))
        rounds = [(partial(one, it), partial(other, it.turned())) for it in pairs]
        told = Ring(f"{one.__name__} {other.__name__} {begun}").clash(rounds)
        orphans += len(find_ownerless(pairs))
        raised += [it for both in told for it in both if isinstance(it, BaseException)]
    return orphans, raised


def test_there_are_28_pairs() -> None:
    assert len({frozenset(pair) for pair in PAIRS}) == 28


@pytest.mark.parametrize("one", WAYS, ids=lambda way: way.__name__)
@OWNERLESS
def test_no_two_ways_at_once_leave_an_organization_ownerless(one: Way, size: int) -> None:
    """With itself and with each of those that follow it in the list."""
    with charlie_untouched():
        for first, other in PAIRS:
            if first is one:
                orphans, raised = race(one, other, size)
                unknown = [repr(it) for it in raised if not isinstance(it, REFUSALS)]
                assert (other.__name__, orphans, unknown) == (other.__name__, 0, [])
                # Each race had a winner, who heard nothing.
                assert len(raised) <= size


@pytest.mark.parametrize("way", [delete_user, deactivate_by_staff], ids=lambda way: way.__name__)
@REOPENED
def test_no_organization_comes_back_to_an_owner_who_leaves(way: Way, size: int) -> None:
    """Its only owner may leave while it is closed, and it may come back while its owner stays."""
    with charlie_untouched():
        pairs = make_closed(size)
        rounds = [(partial(reopen, it), partial(way, it)) for it in pairs]
        told = Ring(f"reopen {way.__name__}").clash(rounds)
        assert find_ownerless(pairs, is_deleted=False) == []
        for back, gone in told:
            outcome = (type(back), type(gone))
            assert outcome in {(NoneType, SoleOwner), (OwnersGone, NoneType)}


@pytest.fixture
def lockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every row lock out, and let the two meet when each has counted the owners and before it
    writes: the moment at which a missing lock shows."""
    meeting = Barrier(2)

    def count_and_meet(*args: Any, **kwargs: Any) -> None:
        try:
            ownership.forbid_ownerless(*args, **kwargs)
        finally:
            # Nobody waits for a lock here, so both come, however late.
            with suppress(BrokenBarrierError):
                meeting.wait(10)

    monkeypatch.setattr(models.QuerySet, "select_for_update", lambda self, **_: self.all())
    for module in PLACES:
        monkeypatch.setattr(module, "forbid_ownerless", count_and_meet)


@OWNERLESS_CONTROL
def test_without_the_locks_at_least_half_of_the_races_orphan(
    size: int, vendor: str, lockless: None
) -> None:
    if vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time and no lock that could be taken out.")
    for one, other in PAIRS:
        orphans, raised = race(one, other, size)
        heard = Counter(type(it).__name__ for it in raised)
        assert orphans >= size / 2, (one.__name__, other.__name__, orphans, heard)
