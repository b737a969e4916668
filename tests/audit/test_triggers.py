"""The database itself refuses to rewrite the log."""

from typing import Any

import pytest
from django.db import DatabaseError, connection, models, transaction
from django.db.models import F
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit import triggers
from audit.actors import Actor, Origin
from audit.doors import open_door
from audit.events import Reference, record
from audit.forgetting import forget_events, redact_person
from audit.models import AuditEvent, Checkpoint, EventDetail, Tile
from audit.sealing import seal
from tests.bystanders import charlie_untouched

pytestmark = pytest.mark.django_db


def write(**values: Any) -> AuditEvent:
    person = uuid7()
    actor = Actor("user", person, "test", person_id=person, origin=Origin("192.0.2.1", "agent"))
    subject = Reference("user", person)
    pk = record(
        "test", actor=actor, subject=subject, now=timezone.now(), keep_details=True, **values
    )
    return AuditEvent.objects.get(pk=pk)


def rows(model: type[models.Model]) -> Any:
    """All rows, without the model's own manager, which refuses before the database could."""
    return models.QuerySet(model)


def refused(act: Any) -> None:
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        act()


def test_no_column_of_an_event_is_ever_changed() -> None:
    write()
    names = {it.name: it for it in AuditEvent._meta.concrete_fields}
    assert set(names) == {*triggers.COLUMNS, "sealed_seq", "mac"}
    seal(now=timezone.now())
    write()
    others: dict[str, Any] = {
        "id": uuid7(),
        "at": timezone.now(),
        "facts": {"a": 1},
        "commitments": {"a": "b"},
        "sealed_seq": 7,
        "mac": b"x",
    }
    ids = [name for name in names if name.endswith("_id") and name != "request_id"]
    for event in AuditEvent.objects.all():
        for name in names:
            value = uuid7() if name in ids else others.get(name, "other")
            mine = rows(AuditEvent).filter(pk=event.pk)
            refused(lambda mine=mine, name=name, value=value: mine.update(**{name: value}))
    refused(lambda: rows(AuditEvent).exclude(sealed_seq=None).update(sealed_seq=None))


def test_events_leave_by_one_door_only_and_only_once_they_are_sealed() -> None:
    event = write()
    refused(lambda: rows(AuditEvent).delete())
    with open_door("forget"):
        refused(lambda: rows(AuditEvent).delete())
    seal(now=timezone.now())
    refused_again = rows(AuditEvent).filter(pk=event.pk)
    if connection.vendor == "sqlite":
        refused(lambda: refused_again.delete())
    with transaction.atomic(), open_door("forget"):
        assert refused_again.delete()[0] == 1


def test_details_are_never_changed_and_leave_by_a_door_only() -> None:
    write()
    for name, value in {"value": "x", "salt": b"x", "person_id": uuid7(), "field": "y"}.items():
        refused(lambda name=name, value=value: rows(EventDetail).update(**{name: value}))
    refused(lambda: rows(EventDetail).delete())
    assert EventDetail.objects.count() == 2
    with transaction.atomic(), open_door("redact"):
        assert rows(EventDetail).delete()[0] == 2


def test_tiles_only_grow_and_checkpoints_stay() -> None:
    write()
    seal(now=timezone.now())
    tile = Tile.objects.get()
    before = bytes(tile.hashes)
    for other in (b"", before, before[:16], bytes(32), bytes(64)):
        refused(lambda other=other: rows(Tile).update(hashes=other))
    refused(lambda: rows(Tile).update(id=F("id") + 1))
    for model in (Tile, Checkpoint):
        refused(lambda model=model: rows(model).delete())
    refused(lambda: rows(Checkpoint).update(note="x"))
    refused(lambda: rows(Checkpoint).update(at=timezone.now()))
    rows(Tile).update(hashes=before + bytes(32))


def test_postgresql_refuses_to_empty_the_tables_too() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    for table in triggers.TABLES:
        refused(lambda table=table: connection.cursor().execute(f"TRUNCATE {table}"))


def test_the_services_pass_and_close_the_door_behind_them() -> None:
    with charlie_untouched():
        first, second = write(), write()
        assert first.actor_id is not None
        seal(now=timezone.now())
        assert redact_person(first.actor_id) == 2
        refused(lambda: rows(EventDetail).delete())
        assert forget_events([second.pk]) == 1
        refused(lambda: rows(AuditEvent).delete())
        left = EventDetail.objects.filter(event_id__in=[first.pk, second.pk])
        assert not left.exists()
        assert AuditEvent.objects.filter(pk=first.pk).exists()
