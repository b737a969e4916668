"""Many requests at once against a running service of two worker processes."""

import multiprocessing
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import requests

from tests.live.servers import Live

PARALLEL = 100


def fire(call: Any) -> list[int]:
    """Send the same request from many clients at the same moment; return the statuses."""
    barrier = Barrier(PARALLEL)

    def one(_: int) -> int:
        with requests.Session() as session:
            barrier.wait()
            status: int = call(session).status_code
            return status

    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(one, range(PARALLEL)))


def test_of_a_hundred_erasures_of_one_account_one_succeeds(live: Live) -> None:
    key = live.world["users"]["dana"]["api_key"]

    def call(session: requests.Session) -> requests.Response:
        return session.delete(
            f"{live.base}/account", json={"confirm": True}, headers={"x-api-key": key}, timeout=60
        )

    statuses = Counter(fire(call))
    assert statuses[200] == 1, statuses
    assert set(statuses) <= {200, 401, 409}, statuses
    erased = "SELECT COUNT(*) FROM audit_auditevent WHERE action = 'user.erased'"
    assert live.rows(erased) == [(1,)]


def test_of_a_hundred_soft_deletes_of_one_account_one_succeeds(live: Live) -> None:
    user = live.world["users"]["bob"]

    def call(session: requests.Session) -> requests.Response:
        return session.delete(
            f"{live.base}/v1/user/{user['id']}", headers={"X-API-Key": user["api_key"]}, timeout=60
        )

    statuses = Counter(fire(call))
    assert statuses[200] == 1, statuses
    assert set(statuses) <= {200, 401, 409}, statuses
    deleted = "SELECT COUNT(*) FROM audit_auditevent WHERE action = 'user.deleted'"
    assert live.rows(deleted) == [(1,)]


@pytest.mark.parametrize("contract", ["organization", "user", "platform"])
def test_of_a_hundred_deletions_by_somebody_else_one_succeeds(live: Live, contract: str) -> None:
    world = live.world
    path, key = {
        "organization": (
            f"/organizations/{world['organizations']['acme']['id']}",
            world["users"]["alice"]["api_key"],
        ),
        "user": (f"/user/{world['managed_users']['frank']['id']}", world["keys"]["operator"]),
        "platform": ("/users/erin", world["keys"]["platform"]),
    }[contract]
    headers = {"Authorization": f"Bearer {key}", "x-api-version": "2025-09"}

    def call(session: requests.Session) -> requests.Response:
        return session.delete(f"{live.base}{path}", headers=headers, timeout=60)

    statuses = Counter(fire(call))
    assert statuses[200] + statuses[204] == 1, statuses
    assert set(statuses) <= {200, 204, 404, 409}, statuses


def keep_asking(address: str, key: str, stop_at: float, seen: Any) -> None:
    with requests.Session() as session:
        while time.monotonic() < stop_at:
            started = time.monotonic()
            status = session.get(address, headers={"X-API-Key": key}, timeout=10).status_code
            seen.append((started, status))


def test_no_request_that_starts_after_the_deletion_succeeds(live: Live) -> None:
    user = live.world["users"]["bob"]
    address = f"{live.base}/v1/user/{user['id']}"
    processes = multiprocessing.get_context("spawn")
    with processes.Manager() as manager:
        seen = manager.list()
        arguments = (address, user["api_key"], time.monotonic() + 8, seen)
        askers = [processes.Process(target=keep_asking, args=arguments) for _ in range(4)]
        for asker in askers:
            asker.start()
        while len(seen) < 40:
            time.sleep(0.05)
        # A second key, since the four have used up none of its requests.
        deleted = requests.delete(address, headers={"X-API-Key": user["api_key"]}, timeout=30)
        answered = time.monotonic()
        for asker in askers:
            asker.join()
        answers = list(seen)
    assert deleted.status_code in (200, 429)
    if deleted.status_code == 429:
        pytest.fail("the askers were throttled before the deletion")
    before = {status for started, status in answers if started < answered}
    after = Counter(status for started, status in answers if started >= answered)
    assert 200 in before
    assert sum(after.values()) > 20
    assert not after[200], after
