"""Sixteen clients of mixed load against the real service, with a worker beside it: nothing fails,
nothing is locked out, and afterwards everything that was begun has come to its end."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.billing.fakestripe import KEY, serve_stripe
from tests.databases import VENDORS
from tests.live.mixed import DEEDS, MixedClient, Refused, Report
from tests.live.servers import MANAGE, PATIENCE, ROOT, UNTHROTTLED, Live, run_manage, serve
from tests.webhooks.receiver import listening

CLIENTS = 16
LOADS = pytest.mark.parametrize(
    ("seconds", "large"), [(30, 2), pytest.param(300, 24, marks=pytest.mark.long)]
)
"""How long, and how many large organizations are torn down meanwhile."""

OWNERLESS = (
    "SELECT o.slug FROM organizations_organization o WHERE NOT o.is_deleted AND NOT EXISTS"
    " (SELECT 1 FROM organizations_membership m JOIN accounts_user u ON u.id = m.user_id"
    " WHERE m.organization_id = o.id AND m.role = 'owner' AND u.is_active AND NOT u.is_deleted)"
)
UNFINISHED = (
    "SELECT subject_kind, state, last_error FROM erasure_deletionrequest"
    " WHERE state NOT IN ('completed', 'cancelled')"
)
WITHHELD = "SELECT id FROM webhooks_delivery WHERE state = 'prepared'"
"""Last events about what has gone by now."""

BAD_NEWS = ("database is locked", "deadlock", "Traceback", "CRITICAL", "could not serialize")


@pytest.mark.parametrize("vendor", VENDORS)
@LOADS
def test_mixed_load_breaks_nothing(vendor: str, seconds: int, large: int, tmp_path: Path) -> None:
    with serve_stripe() as stripe, listening() as receiver:
        paid = [stripe.add_subscription() for _ in range(large)]
        settings = {
            **UNTHROTTLED,
            "WEBHOOKS_ALLOW_LOOPBACK": "true",
            "STRIPE_API_BASE": stripe.url,
            "STRIPE_API_KEY": KEY,
            "EMAIL_URL": "memorymail://",
            "ERASURE_LEDGER": str(tmp_path / "ledger" / "erasures.jsonl"),
        }
        with serve(vendor, tmp_path, **settings) as live:
            world = populate(live, seconds, paid)
            with working(live, tmp_path):
                report = load(live, world, seconds, receiver.url)
            finish(live)
            assert not report.faults, (len(report.faults), report.faults[:10])
            assert live.rows(OWNERLESS) == []
            assert live.rows(UNFINISHED) == []
            assert live.rows(WITHHELD) == []
            assert_log_is_whole(live)
        for log in tmp_path.glob("*.log"):
            text = log.read_text()
            found = [line for line in text.splitlines() if any(it in line for it in BAD_NEWS)]
            assert not found, (log.name, len(found), found[:3])
        assert_all_kinds_came(report)
        assert {stripe.objects[one]["status"] for one in paid} == {"canceled"}
        assert "organization.deleted" in receiver.types


def test_where_a_transaction_takes_the_write_lock_late_the_load_breaks(tmp_path: Path) -> None:
    """The control: what the load is to find is found."""
    settings = {**UNTHROTTLED, "DJANGO_SETTINGS_MODULE": "tests.live.deferred"}
    with listening() as receiver, serve("sqlite", tmp_path, **settings) as live:
        world = populate(live, 5, [])
        # A client may not even settle in.
        with suppress(Refused):
            load(live, world, 5, receiver.url)
    assert "database is locked" in (tmp_path / "server.log").read_text()


def populate(live: Live, seconds: int, paid: list[str]) -> dict[str, Any]:
    world: dict[str, Any] = run(live, f"populate({CLIENTS}, {seconds}, {paid})")
    world["operator"] = live.world["keys"]["operator"]
    return world


def run(live: Live, call: str) -> Any:
    """Return what a function of the population returns, in the service's surroundings."""
    code = f"import json; from tests.live.population import *; print(json.dumps({call}))"
    return json.loads(run_manage(live.env, "shell", "--verbosity", "0", "--command", code))


@contextmanager
def working(live: Live, folder: Path) -> Iterator[None]:
    """Run a worker beside the service. It ends in order, and has swept at least once."""
    with (folder / "worker.log").open("w") as log:
        command = [*MANAGE, "worker", "--poll", "0.2", "--sweep-seconds", "5"]
        worker = subprocess.Popen(command, cwd=ROOT, env=live.env, stdout=log, stderr=log)
        try:
            yield
            assert worker.poll() is None, "the worker ended"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE) == 0
        finally:
            worker.kill()
            worker.wait()


def load(live: Live, world: dict[str, Any], seconds: int, hook: str) -> Report:
    report, start = Report(), threading.Barrier(CLIENTS)

    def go(who: dict[str, Any]) -> None:
        client = MixedClient(live.base, who, world, report, hook)
        start.wait(PATIENCE)
        client.run(seconds)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(go, who) for who in world["callers"]]:
            done.result()
    return report


def finish(live: Live) -> None:
    """Let workers do what is left, and then what has its grace period behind it."""
    log = Path(live.env["VAR_DIR"]) / "finishing.log"
    for _ in range(2):
        done = subprocess.run(
            [*MANAGE, "worker", "--once"],
            cwd=ROOT,
            env=live.env,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )
        with log.open("a") as file:
            file.write(done.stderr)
        assert done.returncode == 0, done.stderr[-3000:]
        run(live, "make_due()")


def assert_log_is_whole(live: Live) -> None:
    told = json.loads(run_manage(live.env, "verify_audit_log", "--json"))
    assert told["fault"] is None
    assert told["events"] > 0
    assert told["size"] > 0, "nothing was sealed"


def assert_all_kinds_came(report: Report) -> None:
    """Fail when the load was none: each thing was done at least once, and most succeeded."""
    left_out = {*DEEDS, "tear_down_large"} - {deed for deed, _ in report.answers}
    assert not left_out
    statuses = report.statuses()
    good = sum(times for status, times in statuses.items() if 200 <= status < 300)
    assert good > sum(statuses.values()) / 2, statuses
    assert max(statuses) < 500, statuses
