"""The processes of ``audit.py``: writers, the sealer, and what works on a large log."""

import json
import os
import sys
import time
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import django
from django.db import connection, transaction

MARK = "plain"

SLIM = """
    DROP TRIGGER audit_auditevent_no_update ON audit_auditevent;
    DROP TRIGGER audit_auditevent_no_delete ON audit_auditevent;
    DROP TRIGGER audit_auditevent_no_truncate ON audit_auditevent;
    DROP INDEX event_unsealed, event_by_person, one_event_per_position;
    ALTER TABLE audit_auditevent DROP COLUMN commitments, DROP COLUMN sealed_seq, DROP COLUMN mac,
        DROP COLUMN person_id;
    ALTER TABLE audit_eventdetail DROP COLUMN salt, DROP COLUMN subject_id;
    ALTER TABLE audit_auditevent ADD COLUMN previous text NOT NULL DEFAULT '';
"""
"""What a log is that proves nothing: the same table and the same indexes that are read by."""


def prepare(url_peer: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE changes (id int PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 50)"
        )
        cursor.execute("INSERT INTO changes SELECT i, 0 FROM generate_series(1, 800) AS i")
        if url_peer in ("none", "plain", "chain"):
            cursor.execute(SLIM)


def write(peer: str, number: int, seconds: float) -> dict[str, Any]:
    """Write events, each in a transaction with a change of a row of this writer's own."""
    from django.utils import timezone
    from uuid_utils.compat import uuid7

    from audit.actors import Actor, Origin

    log = {"none": lambda: _nothing, "plain": _plain, "chain": _chain, "ours": _ours}[peer]()
    person: UUID = uuid7()
    actor = Actor(
        "user",
        person,
        "DELETE /v1/user",
        request_id="req_01m8dbmy77edkb5aq4ss52dy63",
        person_id=person,
        origin=Origin("192.0.2.1", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101"),
    )
    took: list[float] = []
    with connection.cursor() as cursor:
        for _ in range(20):
            _step(cursor, number, 0, log, actor, timezone.now())
        # All begin together, when the last one is ready.
        print("ready", flush=True)
        sys.stdin.readline()
        until = time.perf_counter() + seconds
        turn = 0
        while (started := time.perf_counter()) < until:
            turn += 1
            _step(cursor, number, turn, log, actor, timezone.now())
            took.append(time.perf_counter() - started)
    return {"events": len(took), "took": took}


def _step(cursor: Any, number: int, turn: int, log: Any, actor: Any, now: Any) -> None:
    with transaction.atomic():
        cursor.execute(
            "UPDATE changes SET n = n + 1 WHERE id = %s", [number * 100 + turn % 100 + 1]
        )
        log(actor, now, turn % 2 == 0)


def _nothing(actor: Any, now: Any, keep: bool) -> None:
    pass


def _ours() -> Any:
    from audit.events import Reference, record

    def log(actor: Any, now: Any, keep: bool) -> None:
        record(
            "user.seen",
            actor=actor,
            subject=Reference("user", actor.id),
            now=now,
            facts={"n": 1},
            keep_details=keep,
        )

    return log


def _plain() -> Any:
    """The same without commitments: an event and its details, by the same function of ours."""
    from audit.statements import insert

    event_class, detail_class = _models()

    def log(actor: Any, now: Any, keep: bool, previous: str = "") -> None:
        event = event_class(
            at=now,
            action="user.seen",
            actor_kind=actor.kind,
            actor_id=actor.id,
            subject_kind="user",
            subject_id=actor.id,
            channel=actor.channel,
            request_id=actor.request_id,
            facts={"n": 1},
            previous=previous,
        )
        details = {"address": actor.origin.address, "user_agent": actor.origin.user_agent}
        kept = [
            detail_class(event_id=event.id, person_id=actor.id, field=name, value=value)
            for name, value in details.items()
            if keep
        ]
        insert(event, *kept)

    return log


def _chain() -> Any:
    """Each event holds the hash of the one before it, so that one writer at a time may write."""
    from hashlib import sha256

    plain = _plain()
    sql = "SELECT previous FROM audit_auditevent ORDER BY id DESC LIMIT 1"

    def log(actor: Any, now: Any, keep: bool) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(1)")
            cursor.execute(sql)
            row = cursor.fetchone()
        text = f"{row[0] if row else ''}{now}{actor.id}"
        plain(actor, now, keep, sha256(text.encode()).hexdigest())

    return log


def _models() -> Any:
    from django.db import models
    from uuid_utils.compat import uuid7

    class PlainEvent(models.Model):  # noqa: DJ008 - nobody prints it
        id = models.UUIDField(primary_key=True, default=uuid7)
        at = models.DateTimeField()
        action = models.CharField(max_length=64)
        outcome = models.CharField(max_length=16, default="done")
        actor_kind = models.CharField(max_length=16)
        actor_id = models.UUIDField(null=True)
        subject_kind = models.CharField(max_length=32)
        subject_id = models.UUIDField(null=True)
        organization_id = models.UUIDField(null=True)
        credential_id = models.UUIDField(null=True)
        channel = models.CharField(max_length=32)
        request_id = models.CharField(max_length=40)
        facts = models.JSONField(default=dict)
        previous = models.TextField()

        class Meta:
            app_label = "benchmarks"
            managed = False
            db_table = "audit_auditevent"

    class PlainDetail(models.Model):  # noqa: DJ008 - nobody prints it
        id = models.UUIDField(primary_key=True, default=uuid7)
        event_id = models.UUIDField()
        person_id = models.UUIDField()
        field = models.CharField(max_length=32)
        value = models.TextField()

        class Meta:
            app_label = "benchmarks"
            managed = False
            db_table = "audit_eventdetail"

    return PlainEvent, PlainDetail


def seal_until_told(every: float) -> dict[str, Any]:
    """Seal as a worker does until standard input ends, and then what is left."""
    from select import select

    from django.utils import timezone

    from audit.sealing import count_unsealed, seal

    busy, events, left = 0.0, 0, 0
    print("ready", flush=True)
    while True:
        is_last = bool(select([sys.stdin], [], [], every)[0])
        started = time.process_time()
        if is_last and not left:
            left = count_unsealed()
        done = seal(now=timezone.now())
        busy += time.process_time() - started
        events += done.events
        if is_last:
            return {"events": events, "left": left, "cpu": busy}


BUILD = r"""
    CREATE FUNCTION v7(at timestamptz, n bigint) RETURNS uuid LANGUAGE sql AS $$
        SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' ||
            substr(md5(n || 'a'), 1, 3) || '8' || substr(md5(n || 'b'), 1, 15))::uuid $$;
    CREATE TEMPORARY TABLE made AS
    SELECT n, v7(now() - interval '1 day' + n * interval '50 ms', n) AS id,
        now() - interval '1 day' + n * interval '50 ms' AS at,
        md5((n %% {people}) || 'p')::uuid AS person,
        '192.0.2.' || n %% 256 AS address,
        'Mozilla/5.0 (X11; Linux x86_64) ' || n AS agent,
        sha256((n || 'x')::bytea) AS salt, sha256((n || 'y')::bytea) AS salt2
    FROM generate_series(1, {events}) AS n;
    INSERT INTO audit_auditevent (id, at, action, outcome, actor_kind, actor_id, subject_kind,
        subject_id, channel, request_id, facts, commitments)
    SELECT id, at, 'user.seen', 'done', 'user', person, 'user', person, 'DELETE /v1/user',
        'req_' || n, '{{"n": 1}}', CASE WHEN n %% 2 = 0 THEN jsonb_build_object(
            'address', encode(sha256('sexton-audit-detail/1\012'::bytea || salt || 'address'::bytea
                || '\000'::bytea || address::bytea), 'hex'),
            'user_agent', encode(sha256('sexton-audit-detail/1\012'::bytea || salt2
                || 'user_agent'::bytea || '\000'::bytea || agent::bytea), 'hex'))
        ELSE '{{}}' END
    FROM made ORDER BY n;
    INSERT INTO audit_eventdetail (id, event_id, person_id, field, value, salt)
    SELECT v7(at, n * 3 + i), id, person, field, value, its_salt FROM made, LATERAL (VALUES
        (0, 'address', address, salt), (1, 'user_agent', agent, salt2)
    ) AS its (i, field, value, its_salt) WHERE n %% 2 = 0 ORDER BY n, i;
    DROP TABLE made
"""


class Everything(frozenset[UUID]):
    """Holds every event: those that SQL has made bear no code of the service."""

    def __contains__(self, event: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


EVENTS_OF_ONE = 20
VALUES_OF_ONE = 40


def grow(events: int) -> dict[str, Any]:
    """Build a log, seal it and verify it."""
    from django.utils import timezone

    from audit.sealing import seal
    from audit.verifying import verify

    with connection.cursor() as cursor:
        for statement in BUILD.format(events=events, people=events // EVENTS_OF_ONE).split(";\n"):
            # None, and no parameters.
            cursor.execute(statement.replace("%%", "%"))
        cursor.execute("VACUUM ANALYZE audit_auditevent")
        cursor.execute("VACUUM ANALYZE audit_eventdetail")
        before = _sizes(cursor)
        started = time.perf_counter()
        seal(now=timezone.now(), accepted=Everything())
        sealing = time.perf_counter() - started
        cursor.execute("VACUUM audit_auditevent")
        after = _sizes(cursor)
        report = verify()
    assert report.fault is None, report.fault
    assert report.events == events
    return {
        "sealing": sealing,
        "verifying": report.seconds,
        "sizes": {"unsealed": before, "sealed": after},
    }


def erase_when_told(people: int) -> None:
    """Say how many people there are, so many at most; then erase one for each line of standard
    input, and answer with the milliseconds that it took. A checkpoint comes before each: the first
    change of a page after one is written whole, and a small log would have to pay that only for the
    first few people."""
    from audit.forgetting import redact_person

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE audit_eventdetail")
        # Once through the index, so that the pages are at hand for both.
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SELECT count(value) FROM audit_eventdetail WHERE person_id IS NOT NULL")
        cursor.execute("RESET enable_seqscan")
        cursor.execute(
            "SELECT DISTINCT person_id FROM (SELECT person_id FROM audit_eventdetail "
            "TABLESAMPLE SYSTEM (100) ORDER BY md5(event_id::text) LIMIT %s) AS x",
            [people * 4],
        )
        ids = [row[0] for row in cursor.fetchall()][:people]
    print(len(ids), flush=True)
    for person, _ in zip(ids, sys.stdin, strict=False):
        with connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        started = time.perf_counter()
        with transaction.atomic():
            assert redact_person(person) == VALUES_OF_ONE
        print((time.perf_counter() - started) * 1000, flush=True)


def _sizes(cursor: Any) -> dict[str, int]:
    sizes = {}
    for table in ("auditevent", "eventdetail", "tile", "checkpoint"):
        cursor.execute("SELECT pg_total_relation_size(%s)", [f"audit_{table}"])
        sizes[table] = cursor.fetchone()[0]
    return sizes


@contextmanager
def _started() -> Any:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    yield


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    with _started():
        if what == "prepare":
            prepare(rest[0])
            result: dict[str, Any] = {}
        elif what == "seal":
            result = seal_until_told(float(rest[0]))
        elif what == "grow":
            result = grow(int(rest[0]))
        elif what == "erase":
            erase_when_told(int(rest[0]))
            result = {}
        else:
            result = write(rest[0], int(rest[1]), float(rest[2]))
    print(json.dumps(result))
