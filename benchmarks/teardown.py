"""Tearing down organizations of a thousand to a million rows, ours beside what others do.

    uv run benchmarks/teardown.py [--rows 1000 … 1000000] [--others 2000000] [--only PEER…]
        [--report FILE]

Each peer works on a copy of the same database, where the organization's rows lie among two million
rows of others. Meanwhile a neighbour sends small requests about an organization that stays. What
counts are ratios within one run; the machine does other things meanwhile. A peer that is not done
after a minute is cut off.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# This file's folder holds a module that bears the name of a library.
sys.path[0] = str(ROOT)

import psycopg  # noqa: E402

from benchmarks import postgres  # noqa: E402
from benchmarks.estate import world  # noqa: E402
from benchmarks.purge import describe_machine  # noqa: E402

TITLES = {
    "raw": "one raw DELETE, cascade in the database",
    "collector": "Django's collector",
    "receiver": "Django's collector, one signal receiver",
    "lists": "lists of 100 ids",
    "safedelete": "django-safedelete",
    "ours": "ours",
}
PATIENCE = 60.0
QUIET = 8.0
"""Seconds in which the neighbour is measured alone."""

ENOUGH = 100
"""Requests of the neighbour from which on a share of them is told."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--others", type=int, default=world.OTHERS)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--rounds", type=int, default=1, help="of each peer")
    parser.add_argument("--report", type=Path, help="written after each peer, as JSON")
    chosen = parser.parse_args()
    server = postgres.start()
    report: dict[str, Any] = {"machine": describe_machine(), "worlds": {}}
    with postgres.databases(server) as databases:
        report["postgresql"] = databases.settings()
        for rows in chosen.rows:
            measure(databases, rows, chosen, report)


def measure(
    databases: postgres.Databases, rows: int, chosen: argparse.Namespace, report: dict[str, Any]
) -> None:
    """Measure all peers on a world of one size."""
    name = f"world_{rows}"
    print(f"\nAn organization of {rows:,} rows amid {chosen.others:,} of others", flush=True)
    world.build(databases.create(name), rows=rows, others=chosen.others)
    results: dict[str, Any] = report["worlds"].setdefault(str(rows), {})
    for number in range(chosen.rounds):
        for peer in chosen.only:
            url = databases.create(f"{peer}_{rows}_{number}", like=name)
            found = run_peer(url, peer)
            results.setdefault(peer, []).append(found)
            show(peer, found, results)
            databases.drop_one(url)
            if chosen.report:
                chosen.report.write_text(json.dumps(report, indent=2) + "\n")
    databases.drop_one(postgres.url_of(databases.server, databases.full(name)))


def run_peer(url: str, peer: str) -> dict[str, Any]:
    """Run one peer beside a neighbour; return what it took and how the neighbour fared."""
    with psycopg.connect(url, autocommit=True) as connection:
        # Each begins with clean pages, so that none pays for what another has written.
        connection.execute("CHECKPOINT")
    with tempfile.TemporaryDirectory(prefix="sexton-teardown-", dir=make_var()) as folder:
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "benchmarks.estate.settings",
            "ESTATE_PEER": peer,
            "SECRET_KEY": "only-for-benchmarks-" * 3,
            "VAR_DIR": folder,
            "ERASURE_LEDGER": f"{folder}/ledger.jsonl",
            "EMAIL_URL": "dummymail://",
            "LOG_LEVEL": "WARNING",
        }
        neighbour = start("benchmarks.neighbour", [], environment)
        runner = start("benchmarks.teardowners", [peer], environment)
        time.sleep(QUIET)
        begun = time.time()
        found = finish(runner, begun)
        ended = time.time()
        assert neighbour.stdin
        neighbour.stdin.close()
        assert neighbour.stdout
        told = [line.split() for line in neighbour.stdout.read().splitlines()]
        neighbour.wait()
        neighbour.stdout.close()
    if not found:
        found = {"cut": ended - begun, "left": count_left(url)}
    # The first requests warm the caches.
    idle = [float(took) for at, took in told if begun - QUIET + 2 < float(at) < begun]
    busy = [
        float(took)
        for at, took in told
        if begun <= float(at) + float(took) and float(at) - float(took) <= ended
    ]
    return {**found, "idle": percentile(idle), "meanwhile": percentile(busy), "asked": len(busy)}


def start(module: str, arguments: list[str], environment: dict[str, str]) -> Any:
    """Start a module and wait until it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        raise SystemExit(f"{module} did not start")
    return process


def finish(runner: Any, begun: float) -> dict[str, Any]:
    """Let a peer go and return what it says; nothing when its minute is over."""
    try:
        said, _ = runner.communicate("go\n", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        runner.kill()
        runner.communicate()
        return {}
    if runner.returncode:
        raise SystemExit(f"a peer failed with {runner.returncode}")
    found: dict[str, Any] = json.loads(said)
    return found


def count_left(url: str) -> int:
    """Return how many rows of the organization a peer that was cut off has left."""
    with psycopg.connect(url, autocommit=True) as connection:
        # Its last statement may still run.
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        found = connection.execute(
            "SELECT sum(n) FROM (SELECT count(*) AS n FROM estate_comment WHERE deleted IS NULL "
            "AND id::text LIKE %(mine)s UNION ALL SELECT count(*) FROM estate_attempt "
            "WHERE deleted IS NULL AND id::text LIKE %(mine)s) AS leaves",
            {"mine": "%-7001-%"},
        ).fetchone()
    return int(found[0]) if found else 0  # type: ignore[index]


def percentile(seconds: list[float]) -> float | None:
    return quantiles(seconds, n=100)[98] if len(seconds) >= ENOUGH else None


def show(peer: str, found: dict[str, Any], results: dict[str, Any]) -> None:
    title = f"  {TITLES[peer]:<42}"
    if "cut" in found:
        print(f"{title} cut off after {found['cut']:.0f} s, {found['left']:,} leaves left", end=" ")
    else:
        base = results["raw"][-1]["seconds"] if "raw" in results else None
        ratio = f"{found['seconds'] / base:6.2f} of raw" if base else ""
        print(
            f"{title} {found['seconds']:>7.2f} s {ratio:<13} longest transaction "
            f"{found['longest'] * 1000:>6.0f} ms{tell_parts(found['parts'])}  "
            f"memory +{found['memory']:>5.1f} MiB",
            end=" ",
        )
    if found["idle"] and found["meanwhile"]:
        times = found["meanwhile"] / found["idle"]
        print(
            f" neighbour's p99 {found['meanwhile'] * 1000:>6.1f} ms, idle "
            f"{found['idle'] * 1000:.1f} ms: {times:.1f} times",
            end=" ",
        )
    if "answered" in found:
        print(f" answered after {found['answered'] * 1000:.0f} ms", end="")
    print(flush=True)


def tell_parts(parts: dict[str, float]) -> str:
    if len(parts) < 2:
        return ""
    return f" ({', '.join(f'{part} {took * 1000:.0f}' for part, took in parts.items())})"


def make_var() -> Path:
    folder = ROOT / "var"
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
