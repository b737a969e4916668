"""Requests per second and p99 of a self-service soft delete, ours beside four peers, in one run.

    uv run benchmarks/requests.py [--requests 3000] [--rounds 3] [--clients 8] [--json]

Every peer runs under the same granian with the same number of workers and threads, on a database of
its own with the same number of users. Rounds are interleaved, so that whatever else the machine
does hits all of them. What counts is the ratio within one run.
"""

import argparse
import json
import os
import platform
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# This file bears the name of a library; its folder must not be searched for modules.
sys.path[0] = str(ROOT)

import psycopg  # noqa: E402

from benchmarks import postgres  # noqa: E402
from erasure import signing  # noqa: E402

BYSTANDERS = 20_000
WARM_UP = 300
SECONDS_PER_ROUND = 120


@dataclass
class Peer:
    name: str
    title: str
    application: str
    like: str
    """The database that its own is a copy of."""
    count: str
    """How many users are deleted: asked of the database when all is done."""
    url: str = ""
    port: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    client_shares: list[float] = field(default_factory=list)
    failed: int = 0
    first_failure: str = ""


OUR_COUNT = "SELECT count(*) FROM accounts_user WHERE is_deleted AND NOT is_active"
PLAIN_COUNT = "SELECT count(*) FROM plain_user WHERE is_deleted AND NOT is_active"
PLAIN = "benchmarks.peers.plain.wsgi:application"


def peers() -> list[Peer]:
    return [
        Peer("raw", "raw WSGI, same SQL", "benchmarks.peers.raw:application", "ours", OUR_COUNT),
        Peer("bare", "bare DRF view", PLAIN, "plain", PLAIN_COUNT),
        Peer("apikey", "DRF, api-key", PLAIN, "plain", PLAIN_COUNT),
        Peer("knox", "DRF, knox", PLAIN, "plain", PLAIN_COUNT),
        Peer("ours", "ours, everything on", "config.wsgi:application", "ours", OUR_COUNT),
    ]


def main() -> int:
    options = read_options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sexton-bench-")))
        databases = stack.enter_context(postgres.databases(postgres.start()))
        racers = [peer for peer in peers() if peer.name in options.only]
        prepare(racers, databases, folder, options)
        for peer in racers:
            stack.enter_context(serve(peer, folder, options))
        race(racers, folder, options)
        report = sum_up(racers, folder, options, databases.settings())
        wrong = [*find_failures(racers, options)]
    print(json.dumps(report, indent=2) if options.json else render(report))
    for text in wrong:
        print(text, file=sys.stderr)
    return 1 if wrong else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Requests per second of a soft delete.")
    parser.add_argument("--requests", type=int, default=3000, help="per peer and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4, help="blocking threads per worker")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    names = [peer.name for peer in peers()]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    return parser.parse_args()


def prepare(
    racers: list[Peer], databases: postgres.Databases, folder: Path, options: argparse.Namespace
) -> None:
    """Fill one database of ours and one of the plain peers, and copy them for each."""
    subjects = (WARM_UP + options.requests) * options.rounds
    for name, script in (("ours", "ours"), ("plain", "plain.prepare")):
        module = f"benchmarks.peers.{script}"
        environment = environment_of(databases.create(name), folder)
        command = [sys.executable, "-m", module, str(subjects), str(BYSTANDERS), str(folder)]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
    for peer in racers:
        peer.url = databases.create(f"{peer.name}_server", like=peer.like)
        source = "ours" if peer.like == "ours" else peer.name
        peer.requests = json.loads((folder / f"{source}.json").read_text())


def environment_of(url: str, folder: Path) -> dict[str, str]:
    """Return the variables of a server: those of production, for ours reads its settings there."""
    return os.environ | {
        "ENVIRONMENT": "production",
        "SECRET_KEY": secrets.token_urlsafe(50),
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECURE_SSL_REDIRECT": "off",
        "DATABASE_URL": url,
        "EMAIL_URL": "dummymail://",
        "ERASURE_LEDGER": str(folder / url.rpartition("/")[2].partition("?")[0] / "ledger.jsonl"),
        "RECEIPT_SIGNING_KEY": json.dumps(signing.make_key()),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "STATEMENTS": str(folder / "statements.json"),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore:No directory at",
    }


@contextmanager
def serve(peer: Peer, folder: Path, options: argparse.Namespace) -> Iterator[None]:
    """Run a peer's server until the block ends. Its log goes to a file, as it would to a pipe."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        peer.port = free.getsockname()[1]
    environment = environment_of(peer.url, folder)
    if peer.like == "plain":
        environment["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.plain.settings"
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"]
    command += ["--workers", str(options.workers), "--blocking-threads", str(options.threads)]
    # A thread that idles while the others race would take its database connection with it.
    command += ["--blocking-threads-idle-timeout", "600", "--log-level", "warning"]
    command += ["--port", str(peer.port), peer.application]
    log = folder / f"{peer.name}.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
    try:
        wait_for(peer, server, log)
        yield
    finally:
        server.terminate()
        server.wait(30)


def wait_for(peer: Peer, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", peer.port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The server of {peer.name} did not start:\n{log.read_text()}")


def race(racers: list[Peer], folder: Path, options: argparse.Namespace) -> None:
    for number in range(options.rounds):
        shift = number % len(racers)
        for peer in racers[shift:] + racers[:shift]:
            drive(peer, peer.requests[:WARM_UP], folder, options)
            measured = drive(peer, peer.requests[WARM_UP:][: options.requests], folder, options)
            del peer.requests[: WARM_UP + options.requests]
            peer.rates.append(options.requests / measured["seconds"])
            peer.client_shares.append(measured["client_seconds"] / measured["seconds"])
            peer.latencies += measured["latencies"]


def drive(
    peer: Peer, requests: list[dict[str, str]], folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    file = folder / "requests.json"
    file.write_text(json.dumps(requests))
    command = [sys.executable, "-m", "benchmarks.load", str(peer.port), str(options.clients)]
    done = subprocess.run(
        [*command, str(SECONDS_PER_ROUND), str(file)],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=SECONDS_PER_ROUND + 60,
    )
    measured: dict[str, Any] = json.loads(done.stdout)
    peer.failed += measured["failed"]
    peer.first_failure = peer.first_failure or measured["first_failure"]
    return measured


def find_failures(racers: list[Peer], options: argparse.Namespace) -> Iterator[str]:
    """Name every peer that did not do what it was asked to: by its answers and by its rows."""
    expected = (WARM_UP + options.requests) * options.rounds
    for peer in racers:
        if peer.failed:
            yield f"{peer.name}: {peer.failed} requests failed, the first with {peer.first_failure}"
        with psycopg.connect(peer.url) as connection:
            row = connection.execute(peer.count).fetchone()
        # The recording deleted two users of ours before the copies were made.
        before = 2 if peer.like == "ours" else 0
        if row and row[0] - before != expected:
            yield f"{peer.name}: {row[0] - before} users are deleted, not {expected}"


def sum_up(
    racers: list[Peer], folder: Path, options: argparse.Namespace, database: dict[str, str]
) -> dict[str, Any]:
    rates = {peer.name: statistics.median(peer.rates) for peer in racers}
    rows = []
    for peer in racers:
        cuts = statistics.quantiles(peer.latencies, n=100)
        row = {"peer": peer.name, "title": peer.title, "requests_per_second": rates[peer.name]}
        row |= {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000}
        row |= {f"of_{other}": ratio(rates, peer.name, other) for other in ("raw", "knox")}
        row |= {"rounds": peer.rates, "client_cpu": statistics.median(peer.client_shares)}
        rows.append(row)
    statements = json.loads((folder / "statements.json").read_text())["steps"]
    names = ("django", "djangorestframework", "granian", "psycopg", "django-rest-knox")
    return {
        "peers": rows,
        "statements": len(statements),
        "requests": options.requests,
        "rounds": options.rounds,
        "workers": options.workers,
        "threads": options.threads,
        "clients": options.clients,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "postgresql": database,
        "versions": {name: version(name) for name in (*names, "djangorestframework-api-key")},
    }


def ratio(rates: dict[str, float], name: str, other: str) -> float | None:
    return rates[name] / rates[other] if other in rates else None


def render(report: dict[str, Any]) -> str:
    lines = [f"{'':22}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'of raw':>9}{'of knox':>9}"]
    for row in report["peers"]:
        shares = [f"{row[name]:.2f}" if row[name] else "-" for name in ("of_raw", "of_knox")]
        lines.append(
            f"{row['title']:22}{row['requests_per_second']:8.0f}"
            f"{row['p50_ms']:9.1f}{row['p99_ms']:9.1f}{shares[0]:>9}{shares[1]:>9}"
        )
    database, versions = report["postgresql"], report["versions"]
    client = max(row["client_cpu"] for row in report["peers"])
    lines += [
        "",
        f"DELETE /v1/user/{{id}}, {report['statements']} statements, median of {report['rounds']} "
        f"interleaved rounds of {report['requests']} requests, {report['clients']} connections; "
        f"granian with {report['workers']} workers of {report['threads']} threads.",
        f"{report['cores']} cores for servers, PostgreSQL and client together; the client took at "
        f"most {client:.0%} of one.",
        f"CPython {report['python']}, PostgreSQL {database['server_version']} (fsync "
        f"{database['fsync']}, synchronous_commit {database['synchronous_commit']}), "
        + ", ".join(f"{name} {number}" for name, number in versions.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
