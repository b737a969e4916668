"""The peers of the teardown benchmark. Each runs in a process of its own, tears one organization
down and prints one JSON object.

python -m benchmarks.teardowners PEER   (with DATABASE_URL)
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.estate.world import DOOMED, OWNER, TABLES

LIST = 100


class Transactions:
    """Notes how long the longest transaction of this process takes, its commit included, in each
    part of the work."""

    def __init__(self) -> None:
        self.part, self.parts, self.count = "all", dict[str, float](), 0

    @property
    def longest(self) -> float:
        return max(self.parts.values(), default=0.0)

    def note(self, seconds: float) -> None:
        self.parts[self.part] = max(self.parts.get(self.part, 0.0), seconds)
        self.count += 1

    def watch(self) -> None:
        from django.db import transaction

        atomic: Any = transaction.Atomic
        enter, leave = atomic.__enter__, atomic.__exit__
        begun: list[float] = []

        def entered(block: Any) -> None:
            if not transaction.get_connection(block.using).in_atomic_block:
                begun.append(time.perf_counter())
            enter(block)

        def left(block: Any, *error: Any) -> None:
            try:
                leave(block, *error)
            finally:
                if begun and not transaction.get_connection(block.using).in_atomic_block:
                    self.note(time.perf_counter() - begun.pop())

        atomic.__enter__, atomic.__exit__ = entered, left


transactions = Transactions()


def run_raw() -> None:
    """One statement; the cascade is the database's. Nothing is counted and nothing recorded."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        started = time.perf_counter()
        connection.execute("DELETE FROM organizations_organization WHERE id = %s", [DOOMED])
        transactions.note(time.perf_counter() - started)


def run_collector() -> None:
    """Django's collector, no signal receiver."""
    _organization().delete()


def run_receiver() -> None:
    """Django's collector with a receiver of one signal, as an audit log or a search index has."""
    from django.db.models.signals import post_delete

    from benchmarks.estate.models import Comment

    post_delete.connect(_hear, sender=Comment)
    _organization().delete()


def run_lists() -> None:
    """Lists of a hundred ids, children before parents, as Sentry does it."""
    from django.apps import apps

    for table in reversed(TABLES):
        model: Any = apps.get_model("estate", table.name)
        path = {
            "project": "organization",
            "task": "project__organization",
            "comment": "task__project__organization",
            "endpoint": "organization",
            "delivery": "endpoint__organization",
            "attempt": "delivery__endpoint__organization",
        }[table.name]
        rows = model.objects.filter(**{path: DOOMED}).order_by("id").values_list("id", flat=True)
        while ids := list(rows[:LIST]):
            model.objects.filter(id__in=ids).delete()
    _organization().delete()


def run_safedelete() -> None:
    """django-safedelete, which marks instead of removing."""
    from benchmarks.estate.models import Endpoint, Project

    for model in (Project, Endpoint):
        for row in model._default_manager.filter(organization_id=DOOMED):
            row.delete()


def run_ours() -> dict[str, Any]:
    """Ours: the request, and then the worker's task."""
    from django.utils import timezone

    from audit.actors import Actor
    from erasure.models import DeletionRequest
    from erasure.tasks import drain
    from organizations.services import delete_organization

    actor = Actor(kind="user", id=UUID(OWNER), channel="benchmark", person_id=UUID(OWNER))
    transactions.part = "request"
    started = time.perf_counter()
    done = delete_organization(actor=actor, organization_id=UUID(DOOMED), now=timezone.now())
    answered = time.perf_counter() - started
    if not done.is_finished:
        transactions.part = "drain"
        drain.call(str(done.deletion_id))
    request = DeletionRequest.objects.get(pk=done.deletion_id)
    assert request.state == "completed", request.last_error
    return {"answered": answered, "rows": sum(request.counts.values())}


def warm_up() -> None:
    """Compose what a service and a worker that have run for a while have composed, on an
    organization that stays."""
    from audit.events import Reference
    from erasure.executor import preview

    assert preview(Reference("organization", UUID(DOOMED[:-1] + "1")))


def _organization() -> Any:
    from organizations.models import Organization

    return Organization.objects.get(pk=DOOMED)


def _hear(**kwargs: Any) -> None:
    pass


PEERS: dict[str, Callable[[], dict[str, Any] | None]] = {
    "raw": run_raw,
    "collector": run_collector,
    "receiver": run_receiver,
    "lists": run_lists,
    "safedelete": run_safedelete,
    "ours": run_ours,
}


def main() -> None:
    peer = sys.argv[1]
    if peer != "raw":
        import django

        django.setup()
        from django.db import connection

        connection.ensure_connection()
        if peer == "ours":
            warm_up()
        transactions.watch()
    print("ready", flush=True)
    sys.stdin.readline()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = PEERS[peer]() or {}
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = (after - before) / 1024
    told = {"seconds": seconds, "longest": transactions.longest, "parts": transactions.parts}
    print(json.dumps({**told, "transactions": transactions.count, "memory": grown, **found}))


if __name__ == "__main__":
    main()
