"""Killed at any commit between the request, its order and Stripe's answer: the organization goes,
and its subscription is cancelled, once in effect."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from tests.billing.fakestripe import KEY, FakeStripe, serve_stripe
from tests.databases import VENDORS
from tests.live.servers import empty_database
from tests.proofs.sizes import EVERY_COMMIT
from tests.proofs.victim import Victim, a_victim

LATER = 6
"""Minutes after which the lease of a worker that died has lapsed."""

Stage = tuple[FakeStripe, Victim]


@pytest.fixture(scope="module", params=VENDORS)
def stage(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("billing")
    with pytest.MonkeyPatch.context() as patch, serve_stripe() as stripe:
        patch.setenv("STRIPE_API_BASE", stripe.url)
        patch.setenv("STRIPE_API_KEY", KEY)
        with (
            empty_database(request.param, folder) as url,
            a_victim(url, folder, "tests.billing.scene") as victim,
        ):
            yield stripe, victim


@pytest.mark.parametrize("side", ["before", "after"])
@EVERY_COMMIT
def test_death_at_any_commit_leaves_nobody_billed(stage: Stage, side: str, size: int) -> None:
    stripe, victim = stage
    died = 0
    for boundary in count(1, size):
        customer = stripe.add_customer()
        name = stripe.add_subscription(customer)
        neighbour = stripe.add_subscription()
        number = len(stripe.objects)
        pk = victim.do("build", customer=customer, subscription=name, number=number)
        passed = victim.do("run", organization=pk, boundary=boundary, side=side)
        died += passed is None
        victim.do("run", organization=pk, minutes=LATER)
        where = f"killed {side} commit {boundary}"
        found = victim.do("look", organization=pk)
        assert found == {"is_there": False, "orders": [["cancel", "confirmed"]]}, where
        assert stripe.objects[name]["status"] == "canceled", where
        assert stripe.cancels[name] == 1, where
        assert stripe.objects[neighbour]["status"] == "active", where
        if passed is not None:
            break
    # The request, the claim and the confirmation at least.
    assert died * size >= 3
