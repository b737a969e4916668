"""Many requests at once against a running service of two worker processes."""

import multiprocessing
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import requests

from tests.databases import VENDORS
from tests.live.servers import PATIENCE, UNTHROTTLED, Live, serve

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
            f"{live.base}/account",
            json={"confirm": True},
            headers={"x-api-key": key},
            timeout=PATIENCE,
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
            f"{live.base}/v1/user/{user['id']}",
            headers={"X-API-Key": user["api_key"]},
            timeout=PATIENCE,
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
        return session.delete(f"{live.base}{path}", headers=headers, timeout=PATIENCE)

    statuses = Counter(fire(call))
    assert statuses[200] + statuses[204] == 1, statuses
    assert set(statuses) <= {200, 204, 404, 409}, statuses


def keep_asking(address: str, key: str, enough: Any, seen: Any) -> None:
    """Ask with a key until told that it is enough; note when each request began and its status."""
    with requests.Session() as session:
        while not enough.is_set():
            started = time.monotonic()
            answer = session.get(address, headers={"X-API-Key": key}, timeout=PATIENCE)
            seen.append((started, answer.status_code))


@pytest.mark.parametrize("vendor", VENDORS)
def test_no_request_that_starts_after_the_deletion_succeeds(vendor: str, tmp_path: Path) -> None:
    with serve(vendor, tmp_path, **UNTHROTTLED) as live:
        deleted, answered, answers = delete_amid_requests(live, live.world["users"]["bob"])
    assert deleted == 200
    before = {status for started, status in answers if started < answered}
    after = Counter(status for started, status in answers if started >= answered)
    assert 200 in before
    assert set(after) == {401}, after


def delete_amid_requests(live: Live, user: Any) -> tuple[int, float, list[tuple[float, int]]]:
    """Delete an account while four processes ask with its key, and let them ask on for a while.

    Return the status of the deletion, when it was answered, and what the four were answered.
    """
    address = f"{live.base}/v1/user/{user['id']}"
    processes = multiprocessing.get_context("spawn")
    with processes.Manager() as manager:
        seen, enough = manager.list(), manager.Event()
        arguments = (address, user["api_key"], enough, seen)
        askers = [processes.Process(target=keep_asking, args=arguments) for _ in range(4)]
        for asker in askers:
            asker.start()
        try:
            wait_for_more(seen, 40, askers)
            headers = {"X-API-Key": user["api_key"]}
            deleted = requests.delete(address, headers=headers, timeout=PATIENCE)
            answered = time.monotonic()
            # The first few may have been under way when the answer came.
            wait_for_more(seen, 40, askers)
        finally:
            enough.set()
            for asker in askers:
                asker.join()
        return deleted.status_code, answered, list(seen)


def wait_for_more(seen: Any, count: int, askers: Any) -> None:
    """Return when the askers have been answered so many times more."""
    wanted, deadline = len(seen) + count, time.monotonic() + PATIENCE
    while len(seen) < wanted:
        assert all(asker.is_alive() for asker in askers), "an asker failed"
        assert time.monotonic() < deadline, "the askers are stuck"
        time.sleep(0.05)
