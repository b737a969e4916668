"""Events per second of eight writers, side by side: no log, a plain one, a chain, and ours.

    uv run benchmarks/audit.py [--seconds 8] [--rounds 3] [--events 10000 1000000] [--report FILE]

Each writer is a process that changes a row of its own and writes an event about it, in one
transaction; every second event keeps an address and a user agent. ``ours`` has the sealer running
beside it. Afterwards logs of several sizes are built, sealed and verified, and people erased.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# This file's folder holds a module that bears the name of a library.
sys.path[0] = str(ROOT)

from benchmarks import postgres  # noqa: E402
from benchmarks.purge import describe_machine  # noqa: E402

WRITERS = 8
SEAL_EVERY = 1.0
PEOPLE = 200
MEMORY = "1GB"
"""Both logs lie in it: that reading from a disk takes longer is no matter of how a log is made."""
TITLES = {
    "none": "no audit: the change alone",
    "plain": "plain insert: an event that proves nothing",
    "chain": "hash chain under one lock",
    "ours": "ours, with the sealer running",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--events", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--report", type=Path, help="written at the end, as JSON")
    chosen = parser.parse_args()
    server = postgres.start(MEMORY)
    report: dict[str, Any] = {"machine": describe_machine(), "writers": {}, "logs": {}}
    with postgres.databases(server) as databases:
        report["postgresql"] = databases.settings()
        call(databases.create("world"), "migrate", is_command=True)
        for number in range(chosen.rounds):
            # Every round begins with another peer.
            turn = number % max(1, len(chosen.only))
            for peer in [*chosen.only[turn:], *chosen.only[:turn]]:
                found = run_writers(databases, peer, number, chosen.seconds)
                report["writers"].setdefault(peer, []).append(found)
        show_writers(report["writers"])
        urls = {it: databases.create(f"log_{it}", like="world") for it in chosen.events}
        for events, url in urls.items():
            report["logs"][events] = call(url, "grow", str(events))
            show_log(events, report["logs"][events])
        report["erasing"] = erase_by_turns(urls)
        show_erasing(report["erasing"])
    if chosen.report:
        chosen.report.write_text(json.dumps(report, indent=2) + "\n")


def run_writers(
    databases: postgres.Databases, peer: str, number: int, seconds: float
) -> dict[str, Any]:
    url = databases.create(f"{peer}_{number}", like="world")
    call(url, "prepare", peer)
    writers = [start(url, "write", peer, str(it), str(seconds)) for it in range(WRITERS)]
    sealer = start(url, "seal", str(SEAL_EVERY)) if peer == "ours" else None
    for one in (*writers, sealer):
        if one is not None:
            assert one.stdout.readline() == b"ready\n"
    for one in writers:
        one.stdin.write(b"go\n")
        one.stdin.flush()
    done = [finish(it) for it in writers]
    found: dict[str, Any] = {"sealer": finish(sealer) if sealer else None}
    took = sorted(one for it in done for one in it["took"])
    found["rate"] = sum(it["events"] for it in done) / seconds
    found["p50"], found["p99"] = (took[int(len(took) * it)] * 1000 for it in (0.5, 0.99))
    databases.drop_one(url)
    print(f"  {peer:<6} {found['rate']:>7,.0f} events/s  p99 {found['p99']:.1f} ms", flush=True)
    return found


def show_writers(results: dict[str, Any]) -> None:
    print(f"\n{WRITERS} writers, median of the rounds")
    middle = {
        peer: {key: statistics.median(it[key] for it in rounds) for key in ("rate", "p50", "p99")}
        for peer, rounds in results.items()
    }
    for peer, found in middle.items():
        ratio = ""
        if "plain" in results:
            pairs = zip(results[peer], results["plain"], strict=True)
            ratio = f"{statistics.median(a['rate'] / b['rate'] for a, b in pairs):5.2f} of plain"
        print(
            f"  {TITLES[peer]:<44} {found['rate']:>7,.0f} events/s {ratio:<15} "
            f"p50 {found['p50']:>5.1f} ms  p99 {found['p99']:>6.1f} ms"
        )
    for it in results.get("ours", ()):
        sealer = it["sealer"]
        print(
            f"  the sealer took {sealer['cpu']:.2f} s of a core for {sealer['events']:,} events; "
            f"{sealer['left']:,} were left to seal when the writers stopped"
        )


def show_log(events: int, found: dict[str, Any]) -> None:
    million = 1_000_000 / events
    sealed = found["sizes"]["sealed"]
    print(f"\nA log of {events:,} events, each second one with two values")
    print(f"  sealed in {found['sealing']:.1f} s, {found['sealing'] * million:.1f} s a million")
    print(
        f"  verified in {found['verifying']:.1f} s, {found['verifying'] * million:.1f} s a million"
    )
    spaces = ", ".join(f"{name} {size / events:,.0f}" for name, size in sealed.items())
    print(f"  bytes per event on disk, indexes included: {spaces}")


def erase_by_turns(urls: dict[int, str]) -> dict[int, list[float]]:
    """Erase people of logs of several sizes, by turns: the machine's speed changes in minutes."""
    erasers = {events: start(url, "erase", str(PEOPLE)) for events, url in urls.items()}
    took: dict[int, list[float]] = {events: [] for events in urls}
    people = min((int(it.stdout.readline()) for it in erasers.values()), default=0)
    for _ in range(people):
        for events, process in erasers.items():
            process.stdin.write(b"\n")
            process.stdin.flush()
            took[events].append(float(process.stdout.readline()))
    for process in erasers.values():
        process.communicate()
    # The first ones find nothing at hand.
    return {events: times[people // 4 :] for events, times in took.items()}


def show_erasing(took: dict[int, list[float]]) -> None:
    if not took:
        return
    print("\nOne person's values erased, by turns in each log")
    least = statistics.median(took[min(took)])
    for events, times in took.items():
        median = statistics.median(times)
        print(f"  of {events:>9,} events  {median:.2f} ms (median)  {median / least:.2f}")


def start(url: str, *arguments: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.auditors", *arguments],
        env=environment(url),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def finish(process: Any) -> Any:
    out, _ = process.communicate()
    assert process.returncode == 0, process.args
    return json.loads(out)


def call(url: str, *arguments: str, is_command: bool = False) -> Any:
    if is_command:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments, "--verbosity", "0"],
            env=environment(url),
            cwd=ROOT,
            check=True,
        )
    return finish(start(url, *arguments))


def environment(url: str) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": url,
        "SECRET_KEY": "only-for-benchmarks-" * 3,
        "VAR_DIR": FOLDER,
        "ERASURE_LEDGER": "none",
        "EMAIL_URL": "dummymail://",
        "LOG_LEVEL": "WARNING",
    }


FOLDER = tempfile.mkdtemp(prefix="sexton-audit-")

if __name__ == "__main__":
    main()
