"""The residual search of one person amid many, and of a batch in one pass, beside the physical
limit: PostgreSQL reading the same tables for nobody. See benchmarks/README.md.

    uv run benchmarks/residue.py --users 1000000
"""

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import postgres

HIDDEN = "needle.in-haystack@left.example"


def main() -> None:
    options = parse()
    server = postgres.start()
    with postgres.databases(server) as made:
        url = made.create("residue")
        set_up_django(url)
        print(f"filling: {options.users:,} users", file=sys.stderr)
        fill(options.users)
        result = measure(options)
        result["server"] = made.settings()
        print(json.dumps(result) if options.json else describe(result))
        close()
    if not result["correct"]:
        sys.exit("The search did not find what was hidden.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=1_000, help="identifiers of the batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def set_up_django(url: str) -> None:
    os.environ["DATABASE_URL"] = url
    os.environ.setdefault("SECRET_KEY", "only-for-benchmarks-" * 3)
    os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="sexton-bench-")
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def fill(users: int) -> None:
    """For each user two keys, a membership, an invitation, three events and one erasable detail."""
    # In order, as the keys of the service are; and nobody checks what is known to fit.
    run(
        """CREATE FUNCTION key_of(kind int, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
           $$ SELECT ('018f3c2a-' || lpad(kind::text, 4, '0') || '-7000-8000-'
                      || lpad(to_hex(n), 12, '0'))::uuid $$"""
    )
    run("SET session_replication_role = replica")
    run("SET synchronous_commit = off")
    run(
        """INSERT INTO accounts_user (id, username, email, name, password, last_login,
               is_superuser, is_active, is_staff, is_deleted, date_joined)
           SELECT key_of(1, i), 'person' || i, 'person' || i || '@example.com',
               'Some Body ' || i, 'argon2$argon2id$v=19$m=102400,t=2,p=8$' || md5(i::text)
               || md5(i::text || 'x'), now(), false, true, false, false, now()
           FROM generate_series(1, %s) i""",
        [users],
    )
    run(
        """INSERT INTO organizations_organization (id, name, slug, is_active, is_deleted,
               created_at)
           SELECT key_of(2, i), 'Organization ' || i, 'org-' || i, true, false, now()
           FROM generate_series(1, %s) i""",
        [users // 10 + 1],
    )
    run(
        """INSERT INTO organizations_membership (id, organization_id, user_id, role, joined_at)
           SELECT key_of(3, i), key_of(2, (i / 10 + 1)), key_of(1, i),
               'member', now() FROM generate_series(1, %s) i""",
        [users],
    )
    run(
        """INSERT INTO organizations_invitation (id, organization_id, email, role, token_digest,
               created_at, expires_at)
           SELECT key_of(4, i), key_of(2, (i / 10 + 1)),
               'guest' || i || '@example.com', 'member', md5('t' || i) || md5('s' || i), now(),
               now()
           FROM generate_series(1, %s) i""",
        [users],
    )
    run(
        """INSERT INTO apikeys_apikey (id, name, digest, hint, user_id, scopes, created_at)
           SELECT key_of(5, i), 'laptop', md5('d' || i) || md5('e' || i),
               'sk-…' || i %% 1000, key_of(1, (i / 2 + 1)),
               '["account:delete", "account:read"]', now()
           FROM generate_series(2, %s) i""",
        [2 * users - 1],
    )
    run(
        """INSERT INTO audit_auditevent (id, at, action, outcome, actor_kind, actor_id,
               subject_kind, subject_id, channel, request_id, facts, commitments)
           SELECT key_of(6, i), now(), 'user.changed', 'done', 'user',
               key_of(1, (i / 3 + 1)), 'user', key_of(1, (i / 3 + 1)), 'api',
               md5('r' || i), '{"field": "name", "version": 3}', '{}'
           FROM generate_series(3, %s) i""",
        [3 * users - 1],
    )
    run(
        """INSERT INTO audit_eventdetail (id, event_id, person_id, field, value, salt)
           SELECT key_of(7, i), key_of(6, i), key_of(1, i), 'address',
               '192.0.2.' || i %% 256, '' FROM generate_series(1, %s) i""",
        [users],
    )
    run("VACUUM ANALYZE")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    from erasure.residue import Findings, search

    tables = read_table_names()
    run(
        "UPDATE accounts_user SET email = %s WHERE id = key_of(1, 1)",
        [HIDDEN.upper()],
    )
    batch = [f"gone{n}.person@left.example" for n in range(options.batch - 1)] + [HIDDEN]
    found: dict[str, Findings] = {}

    def look(name: str, needles: list[str]) -> Callable[[], None]:
        def search_once() -> None:
            found[name] = search(needles)

        return search_once

    ways: dict[str, Callable[[], None]] = {
        "limit": lambda: copy_nowhere(tables),
        "dump": lambda: copy_out(tables),
        "one": look("one", [HIDDEN]),
        "uuid": look("uuid", ["018f3c2a-9d1e-7abc-8def-0123456789ab"]),
        "batch": look("batch", batch),
    }
    copy_out(tables)  # Everybody finds the files in the page cache.
    times: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, int] = {}
    for number in range(options.rounds):
        names = list(ways)
        # The order rotates, so that nobody always comes first.
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = perf_counter()
            ways[name]()
            times[name].append(perf_counter() - start)
            memory[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"round {number + 1}: {name} {times[name][-1]:.2f} s", file=sys.stderr)
    seconds = {name: median(one) for name, one in times.items()}
    return {
        "users": options.users,
        "rows": count_rows(tables),
        "megabytes": count_bytes(tables) / 1e6,
        "batch": options.batch,
        "seconds": seconds,
        "of_limit": {name: one / seconds["limit"] for name, one in seconds.items()},
        "peak_memory_mib": max(memory.values()),
        "correct": len(found["one"]) == 1
        and len(found["batch"]) == 1
        and found["batch"].hits[0].needle == options.batch - 1
        and not found["uuid"],
    }


def copy_nowhere(tables: list[str]) -> None:
    """Read every table and write it out as text, inside the server, to nowhere."""
    for table in tables:
        run(f"COPY \"{table}\" TO '/dev/null'")


def copy_out(tables: list[str]) -> None:
    """Fetch every table row by row, as a dump does, and throw it away."""
    from django.db import connection

    with connection.cursor() as cursor:
        for table in tables:
            with cursor.copy(f'COPY "{table}" TO STDOUT') as copy:
                for _ in copy:
                    pass


def read_table_names() -> list[str]:
    from django.db import connection

    from erasure.tables import read_tables

    return [table.name for table in read_tables(connection)]


def count_rows(tables: list[str]) -> int:
    return sum(run(f'SELECT count(*) FROM "{table}"')[0][0] for table in tables)


def count_bytes(tables: list[str]) -> int:
    return sum(run("SELECT pg_table_size(%s::regclass)", [table])[0][0] for table in tables)


def run(sql: str, values: list[Any] | None = None) -> list[Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []


def close() -> None:
    from django.db import connection

    connection.close()


def describe(result: dict[str, Any]) -> str:
    labels = {
        "limit": "the limit: the server reads every table and writes it to nowhere",
        "dump": "COPY of every table to a client that throws it away",
        "one": "one e-mail address",
        "uuid": "one UUID",
        "batch": f"{result['batch']:,} addresses in one pass",
    }
    lines = [
        f"{result['users']:,} users, {result['rows']:,} rows, {result['megabytes']:,.0f} MB",
        "",
        "| what | seconds | of the limit |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {label} | {result['seconds'][name]:.2f} | {result['of_limit'][name]:.2f} |"
        for name, label in labels.items()
    ]
    lines += ["", f"peak memory of the process: {result['peak_memory_mib']} MiB"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
