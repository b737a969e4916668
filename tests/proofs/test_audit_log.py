"""Whatever somebody with the database's password does to the log is found, given one checkpoint
from before; and what is erased lawfully leaves no trace and breaks nothing."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models, transaction
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit import signers
from audit.actors import Actor
from audit.entries import hash_entry
from audit.events import Reference, record
from audit.forgetting import redact_person
from audit.models import AuditEvent, Checkpoint, EventDetail, Tile, TreeHead
from audit.notes import Signer
from audit.rows import read_sealed
from audit.sealing import seal
from audit.tiles import extend
from audit.verifying import verify
from erasure.signing import make_key, signing_key
from tests.audit.logs import events, make_people, seal_all, write_log
from tests.databases import triggers_off
from tests.proofs.sizes import TAMPERED

pytestmark = pytest.mark.django_db

Tamper = Callable[["Log", random.Random], None]


class Undo(Exception):
    """Takes a change back."""


class Log:
    """A log of some size, and one checkpoint that somebody kept when it was nearly as large."""

    def __init__(self, size: int) -> None:
        people = make_people(max(5, size // 50))
        start = timezone.now()
        write_log(people, size * 9 // 10, start=start)
        self.kept = seal_all(batch=max(20, size // 20))
        write_log(people, size - size * 9 // 10, start=start + timedelta(hours=1))
        seal_all(batch=max(20, size // 20))
        self.size, self.known = size, size * 9 // 10

    def at(self, position: int) -> Any:
        return events().filter(sealed_seq=position)


def edit(log: Log, rng: random.Random) -> None:
    values: dict[str, Any] = {
        "at": timezone.now() - timedelta(days=rng.randrange(1, 999)),
        "action": f"a{rng.random()}",
        "outcome": "refused",
        "actor_kind": "other",
        "actor_id": uuid7(),
        "person_id": uuid7(),
        "subject_kind": "other",
        "subject_id": uuid7(),
        "organization_id": uuid7(),
        "credential_id": uuid7(),
        "channel": "other",
        "request_id": "req_other",
        "facts": {"n": rng.random()},
        "commitments": {"address": "00"},
        "id": uuid7(),
    }
    name = rng.choice(list(values))
    log.at(rng.randrange(log.size)).update(**{name: values[name]})


def delete(log: Log, rng: random.Random) -> None:
    doomed = log.at(rng.randrange(log.size))
    EventDetail.objects.filter(event_id__in=list(doomed.values_list("pk", flat=True))).delete()
    doomed.delete()


def insert(log: Log, rng: random.Random) -> None:
    """Put an event in: at the end, or in another's place, which moves to the end."""
    new = record("user.seen", actor=Actor.system("x"), subject=None, now=timezone.now())
    place = rng.randrange(log.size + 1)
    log.at(place).update(sealed_seq=log.size)
    events().filter(pk=new).update(sealed_seq=place)


def swap(log: Log, rng: random.Random) -> None:
    first, second = rng.sample(range(log.size), 2)
    log.at(first).update(sealed_seq=-1)
    log.at(second).update(sealed_seq=first)
    log.at(-1).update(sealed_seq=second)


def edit_value(log: Log, rng: random.Random) -> None:
    details = EventDetail.objects.order_by("id")
    chosen = details[rng.randrange(details.count())]
    mine: Any = models.QuerySet(EventDetail).filter(pk=chosen.pk)
    rng.choice([lambda: mine.update(value="x"), mine.delete, lambda: mine.update(salt=b"x" * 32)])()


def truncate(log: Log, rng: random.Random) -> None:
    """Load an older dump: a log that is good in itself, and ends before the checkpoint."""
    size = rng.choice([it for it in _sizes() if it < log.known])
    _cut(size)
    gone = list(events().filter(sealed_seq__gte=size).values_list("pk", flat=True))
    EventDetail.objects.filter(event_id__in=gone).delete()
    events().filter(pk__in=gone).delete()


def replay(log: Log, rng: random.Random) -> None:
    """Load an older dump and let the service go on, with its own key."""
    truncate(log, rng)
    write_log(make_people(3), log.known - TreeHead.objects.get().size + rng.randrange(5))
    seal(now=timezone.now())


def rebuild(log: Log, rng: random.Random) -> None:
    """Edit an event and write the whole tree anew from there on, with a key of one's own."""
    size = rng.choice([0, *_sizes()[:-1]])
    log.at(rng.randrange(size, log.size)).update(action="other")
    _cut(size)
    events().filter(sealed_seq__gte=size).update(sealed_seq=None)
    forged = Signer(signers.signer().name, signing_key(str(make_key()).replace("'", '"')).private)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signers, "_signer", [lambda: forged])
        patch.setattr(signers, "_verifiers", [lambda: [forged.verifier, *_honest]])
        seal(now=timezone.now(), batch=500)


def rebuild_with_the_key(log: Log, rng: random.Random) -> None:
    """The same with the service's own key, of what the checkpoint has seen."""
    size = rng.choice([0, *(it for it in _sizes() if it < log.known)])
    log.at(rng.randrange(size, log.known)).update(action="other")
    _cut(size)
    events().filter(sealed_seq__gte=size).update(sealed_seq=None)
    seal(now=timezone.now(), batch=500)


_honest: list[Any] = []
OFTEN: list[Tamper] = [edit, delete, insert, swap, edit_value]
SELDOM: list[Tamper] = [truncate, replay, rebuild, rebuild_with_the_key]


def _sizes() -> list[int]:
    return list(Checkpoint.objects.order_by("size").values_list("size", flat=True))


def _cut(size: int) -> None:
    """Bring tree and checkpoints back to an earlier size."""
    Checkpoint.objects.filter(size__gt=size).delete()
    TreeHead.objects.update(size=size)
    leaves = [hash_entry(row.values) for row in read_sealed(0, size)]
    Tile.objects.all().delete()
    extend(0, leaves)


@contextmanager
def taken_back() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
            raise Undo
    except Undo:
        pass


@TAMPERED
def test_whatever_is_done_to_the_log_is_found(size: int, events: int) -> None:
    log, rng = Log(events), random.Random(size)
    _honest[:] = signers.verifiers()
    assert verify([log.kept]).fault is None
    done: Counter[str] = Counter()
    found: Counter[str] = Counter()
    with triggers_off():
        for number in range(size):
            tamper = rng.choice(SELDOM if number % 8 == 0 else OFTEN)
            with taken_back():
                tamper(log, rng)
                fault = verify([log.kept]).fault
                assert fault is not None, f"{tamper.__name__}, number {number}, was not found"
                found[fault.code] += 1
            done[tamper.__name__] += 1
        assert verify([log.kept]).fault is None
    assert set(done) == {it.__name__ for it in (*OFTEN, *SELDOM)}
    assert {"changed", "missing", "truncated", "signature", "root", "value"} <= set(found)


@TAMPERED
def test_one_person_in_fifty_is_erased_and_the_log_stays_good(size: int, events: int) -> None:
    people = make_people(events // 10)
    markers = {person: f"marker-{person.hex}" for person in people}
    for number, person in enumerate(people * 10):
        _write(person, markers[person], number)
    kept = seal_all(batch=1_000)
    erased = people[::50]
    for person in erased:
        with transaction.atomic():
            assert redact_person(person) == 10
            told = Reference("user", person)
            record("user.erased", actor=Actor.system("x"), subject=told, now=timezone.now())
    seal_all(batch=1_000)
    report = verify([kept])
    assert report.fault is None
    assert report.erased == 10 * len(erased)
    assert report.values == 10 * (len(people) - len(erased))
    left = _text_of_the_log()
    assert not [person for person in erased if markers[person] in left]
    assert all(markers[person] in left for person in people[1:50])


def _write(person: UUID, marker: str, number: int) -> None:
    """Write an event with a value of a person, who is its actor or its subject."""
    actor = Actor("user", person, "x", person_id=person)
    if number % 2:
        actor = Actor("user", uuid7(), "x")
    record(
        "user.changed",
        actor=actor,
        subject=Reference("user", person),
        now=timezone.now(),
        details={"email_before": marker},
    )


def _text_of_the_log() -> str:
    texts = []
    with connection.cursor() as cursor:
        for model in (AuditEvent, EventDetail, Tile, Checkpoint, TreeHead):
            cursor.execute(f"SELECT * FROM {model._meta.db_table}")
            texts += [repr([_plain(it) for it in row]) for row in cursor.fetchall()]
    return "\n".join(texts)


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
