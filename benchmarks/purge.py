"""Users per second of a purge, ours beside raw SQL and a loop, in one run.

    uv run benchmarks/purge.py [--users 1000 10000 100000] [--only PEER…] [--report FILE]

Each peer works on a copy of the same world, where every user has about twenty rows and all are due.
``amid-raw`` and ``amid`` are raw SQL and ours on a world with ten times as many bystanders. What
counts is the ratio within one run; the machine does other things meanwhile.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# This file's folder holds a module that bears the name of a library.
sys.path[0] = str(ROOT)

import psycopg  # noqa: E402

from benchmarks import crowd, postgres  # noqa: E402

TITLES = {
    "raw": "raw SQL, sets of 500, cascade in the database",
    "loop": "a loop over user.delete(), a minute of it",
    "bare": "ours without receipts, ledger and audit",
    "ours": "ours",
    "ours-2": "ours, two processes",
    "amid-raw": "raw SQL amid ten times as many bystanders",
    "amid": "ours amid ten times as many bystanders",
}
AMID = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--rounds", type=int, default=1, help="of each peer; the median counts")
    parser.add_argument("--report", type=Path, help="written after each peer, as JSON")
    chosen = parser.parse_args()
    server = postgres.start()
    report: dict[str, Any] = {"machine": describe_machine(), "worlds": {}}
    with postgres.databases(server) as databases:
        report["postgresql"] = databases.settings()
        for users in chosen.users:
            measure(databases, users, chosen, report)


def measure(
    databases: postgres.Databases, users: int, chosen: argparse.Namespace, report: dict[str, Any]
) -> None:
    """Measure all peers on a world of one size, round after round."""
    results: dict[str, Any] = report["worlds"].setdefault(str(users), {})
    for is_amid in (False, True):
        peers = [name for name in chosen.only if name.startswith("amid") == is_amid]
        if not peers:
            continue
        world = f"world_{users}{'_amid' if is_amid else ''}"
        bystanders = users * AMID if is_amid else 0
        print(f"\nA world of {users:,} users who leave and {bystanders:,} who stay")
        crowd.build(databases.create(world), users=users, bystanders=bystanders)
        for number in range(chosen.rounds):
            for name in peers:
                url = databases.create(f"{name}_{users}_{number}".replace("-", "_"), like=world)
                found = run_peer(url, name.removeprefix("amid-").replace("amid", "ours"))
                results.setdefault(name, []).append(found)
                show(name, found, results)
                databases.drop_one(url)
                if chosen.report:
                    chosen.report.write_text(json.dumps(report, indent=2) + "\n")
        databases.drop_one(postgres.url_of(databases.server, databases.full(world)))


def run_peer(url: str, peer: str) -> dict[str, Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
        # Each begins with clean pages, so that none pays for what another has written.
        connection.execute("CHECKPOINT")
    with tempfile.TemporaryDirectory(prefix="sexton-purge-", dir=ROOT / "var") as folder:
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "SECRET_KEY": "only-for-benchmarks-" * 3,
            "VAR_DIR": folder,
            "ERASURE_LEDGER": f"{folder}/ledger.jsonl",
            "EMAIL_URL": "dummymail://",
            "LOG_LEVEL": "WARNING",
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.purgers", peer],
            env=environment,
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        )
    result: dict[str, Any] = json.loads(done.stdout)
    result["rate"] = result["erased"] / result["seconds"]
    return result


def show(name: str, found: dict[str, Any], results: dict[str, Any]) -> None:
    base = results.get("amid-raw" if name.startswith("amid") else "raw")
    ratio = f"{found['rate'] / base[-1]['rate']:5.2f} of raw" if base else ""
    print(
        f"  {TITLES[name]:<46} {found['rate']:>8,.0f} users/s {ratio:<12} longest transaction "
        f"{found['longest'] * 1000:>5.0f} ms  peak memory {found['memory']:>4.0f} MiB",
        flush=True,
    )


def describe_machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "django": version("django"),
        "psycopg": version("psycopg"),
    }


if __name__ == "__main__":
    main()
