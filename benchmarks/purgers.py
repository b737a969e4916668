"""The peers of the purge benchmark. Each runs in a process of its own and prints one JSON object.

python -m benchmarks.purgers PEER   (with DATABASE_URL)
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg

SET = 500
LOOP_SECONDS = 60.0

DUE = (
    "SELECT subject_id FROM erasure_deletionrequest WHERE state = 'scheduled' AND due_at <= now() "
    "ORDER BY due_at, id"
)
RAW = (
    # What no foreign key binds, and then the users: the database takes the rest.
    # The audit log's values leave by a door, which the statement opens for itself.
    "DELETE FROM audit_eventdetail WHERE person_id = ANY(%s) "
    "AND (SELECT set_config('sexton.audit_door', 'redact', true)) IS NOT NULL",
    "DELETE FROM organizations_invitation AS i USING accounts_user AS u "
    "WHERE u.id = ANY(%s) AND lower(i.email) = lower(u.email)",
    "DELETE FROM accounts_user WHERE id = ANY(%s)",
)


def run_raw() -> dict[str, Any]:
    """Sets of 500, the cascade the database's, nothing counted and nothing recorded."""
    erased, longest = 0, 0.0
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        started = time.perf_counter()
        ids = [row[0] for row in connection.execute(DUE.encode()).fetchall()]
        for first in range(0, len(ids), SET):
            some = ids[first : first + SET]
            begun = time.perf_counter()
            with connection.transaction():
                for statement in RAW:
                    connection.execute(statement.encode(), [some])
            longest = max(longest, time.perf_counter() - begun)
            erased += len(some)
        seconds = time.perf_counter() - started
    return {"erased": erased, "seconds": seconds, "longest": longest}


def run_loop() -> dict[str, Any]:
    """One user after the other, as most projects do, for a minute at most."""
    start_django()
    from accounts.models import User

    erased, longest = 0, 0.0
    started = time.perf_counter()
    for user in User.objects.filter(is_deleted=True).order_by("pk").iterator(chunk_size=500):
        begun = time.perf_counter()
        user.delete()
        longest = max(longest, time.perf_counter() - begun)
        erased += 1
        if time.perf_counter() - started > LOOP_SECONDS:
            break
    return {"erased": erased, "seconds": time.perf_counter() - started, "longest": longest}


def run_bare() -> dict[str, Any]:
    """Ours without receipts, ledger and audit."""
    start_django()
    from erasure import closing, receipts, sets

    sets.intend_set = lambda *args, **more: []
    receipts.sign_many = lambda rows, **more: [(b"", "")] * len(rows)
    closing.record_many = _nothing
    return _purge()


def run_ours(jobs: int = 1) -> dict[str, Any]:
    """Ours, as it is."""
    start_django()
    return _purge(jobs)


def _purge(jobs: int = 1) -> dict[str, Any]:
    from django.utils import timezone

    from audit.actors import Actor
    from erasure.purging import purge_due

    started = time.perf_counter()
    report = purge_due(actor=Actor.system("benchmark"), clock=timezone.now, jobs=jobs)
    seconds = time.perf_counter() - started
    assert not report.failed, report.failed
    assert not report.stopped, report.stopped
    return {
        "erased": report.erased,
        "seconds": seconds,
        "longest": report.longest,
        "rows": report.total,
    }


def _nothing(*args: Any, **kwargs: Any) -> None:
    pass


def start_django() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()


PEERS: dict[str, Callable[[], dict[str, Any]]] = {
    "raw": run_raw,
    "loop": run_loop,
    "bare": run_bare,
    "ours": run_ours,
    "ours-2": lambda: run_ours(2),
}

if __name__ == "__main__":
    result = PEERS[sys.argv[1]]()
    result["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))
