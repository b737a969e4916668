"""A log to verify: events of every form, some of them erased."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, models
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit.actors import Actor, Origin
from audit.entries import encode_entry
from audit.events import Reference, record
from audit.forgetting import redact_person
from audit.models import AuditEvent, Checkpoint, EventDetail
from audit.rows import read_waiting
from audit.sealing import seal
from audit.verifying import Kept, verify
from audit.vouching import vouch

MARKER = "192.0.2."

SIZE = 300
"""Of the log that the tests tamper with."""


def events() -> Any:
    """The events, without their own manager, which refuses to change them."""
    return models.QuerySet(AuditEvent)


def at(position: int) -> Any:
    return events().get(sealed_seq=position)


def write_log(people: Sequence[UUID], count: int, *, start: datetime | None = None) -> None:
    """Write events by people about themselves, about each other, and by the system."""
    start = start or timezone.now()
    for n in range(count):
        at = start + timedelta(milliseconds=n)
        person, other = people[n % len(people)], people[(n * 7 + 1) % len(people)]
        actor = Actor(
            "user", person, "test", person_id=person, origin=Origin(f"{MARKER}{n % 256}", f"m{n}")
        )
        match n % 4:
            case 0:
                record("user.seen", actor=Actor.system("test"), subject=None, now=at)
            case 1:
                record(
                    "user.seen",
                    actor=actor,
                    subject=Reference("user", person),
                    now=at,
                    keep_details=True,
                )
            case 2:
                record(
                    "user.changed",
                    actor=actor,
                    subject=Reference("user", other),
                    now=at,
                    facts={"fields": ["email"], "n": n},
                    details={"email_before": f"m{n}@example.com"},
                )
            case _:
                record("other", actor=actor, subject=Reference("user", other), now=at)


def make_people(count: int) -> list[UUID]:
    return [uuid7() for _ in range(count)]


def seal_all(batch: int = 50) -> Kept:
    """Seal everything and return the newest checkpoint, as somebody elsewhere keeps it."""
    seal(now=timezone.now(), batch=batch)
    return newest()


def vouch_for_waiting() -> None:
    """Let everything be sealed, as somebody can who has the service's secret, too."""
    for row, _ in list(read_waiting()):
        events().filter(pk=row.id).update(mac=vouch(encode_entry(row.values)))


def newest() -> Kept:
    last = Checkpoint.objects.last()
    assert last is not None
    return Kept("kept elsewhere", last.note)


def verdict(*kept: Kept) -> tuple[str, int | None] | None:
    """Return the first fault, as its code and position; None when all is well."""
    fault = verify(kept).fault
    return (fault.code, fault.position) if fault else None


def elsewhere(work: Callable[[], Any]) -> None:
    """Do something in a transaction of another connection, which must not have to wait."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is told below
            failures.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "the writer was held up"
    assert failures == []


def values_of(person: UUID) -> Any:
    return EventDetail.objects.filter(models.Q(person_id=person) | models.Q(subject_id=person))


def see(person: UUID, times: int = 3, **values: Any) -> None:
    """Write events of a person about themselves, with their address."""
    actor = Actor("user", person, "test", person_id=person, origin=Origin("192.0.2.1", "x"))
    for _ in range(times):
        record(
            "user.seen",
            actor=actor,
            subject=Reference("user", person),
            keep_details=True,
            **{"now": timezone.now(), **values},
        )


def erase_logs(person: UUID, now: Any = None) -> None:
    redact_person(person)
    about = Reference("user", person)
    record("user.logs_erased", actor=Actor.system("test"), subject=about, now=now or timezone.now())
