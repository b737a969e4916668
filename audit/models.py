"""Events hold opaque ids only. What is personal about one lies beside it and can be erased.

An event commits to each personal value by a salted hash, and the tree of RFC 6962 over all events
lies in tiles. Triggers of the database see to it that none of these tables is rewritten.
"""

import json
from datetime import UTC
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from uuid_utils.compat import uuid7

from audit.entries import FIELDS, UNSPELLABLE, encode_entry, write_time
from audit.querysets import AppendOnlyQuerySet
from audit.vouching import vouch, vouched_entry


class AuditEvent(models.Model):
    """One thing that happened. No foreign keys: an event outlives everything it speaks of.

    ``person_id`` is the human behind the actor where that is not the actor itself. ``sealed_seq``
    is the event's position in the tree, from 0; the sealer gives it, once. Until then ``mac`` shows
    that the service wrote the event.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(db_index=True)
    action = models.CharField(max_length=64)
    outcome = models.CharField(max_length=16, default="done")
    actor_kind = models.CharField(max_length=16)
    actor_id = models.UUIDField(null=True)
    person_id = models.UUIDField(null=True)
    subject_kind = models.CharField(max_length=32, blank=True)
    subject_id = models.UUIDField(null=True, db_index=True)
    organization_id = models.UUIDField(null=True)
    credential_id = models.UUIDField(null=True)
    channel = models.CharField(max_length=32)
    request_id = models.CharField(max_length=40, blank=True)
    facts = models.JSONField(default=dict, blank=True)
    commitments = models.JSONField(default=dict, blank=True)
    sealed_seq = models.BigIntegerField(null=True, editable=False)
    mac = models.BinaryField(null=True, max_length=32)

    objects = models.Manager.from_queryset(AppendOnlyQuerySet)()

    class Meta:
        ordering = ["-at", "-id"]
        # Most events of a purge have neither: an index on them all would be written for nothing.
        indexes = [
            models.Index(
                fields=["actor_id"], condition=Q(actor_id__isnull=False), name="event_by_actor"
            ),
            models.Index(
                fields=["person_id"], condition=Q(person_id__isnull=False), name="event_by_person"
            ),
            models.Index(
                fields=["organization_id", "id"],
                condition=Q(organization_id__isnull=False),
                name="event_by_organization",
            ),
            models.Index(
                fields=["request_id"], condition=~Q(request_id=""), name="event_by_request"
            ),
            # The sealer's list of what is left to do, empty nearly always. The first column, which
            # is always NULL, gives it an order that no other index has: else a database may go
            # through the keys of all events to find those that have no position.
            models.Index(
                fields=["sealed_seq", "id"],
                condition=Q(sealed_seq__isnull=True),
                name="event_unsealed",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["sealed_seq"],
                condition=Q(sealed_seq__isnull=False),
                name="one_event_per_position",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.subject_kind}:{self.subject_id}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Write a new event, vouched for like one of ``record``."""
        if self._state.adding:
            self.vouch()
        super().save(*args, **kwargs)

    def vouch(self) -> None:
        """Give an event that is not written yet its code, unless it has one."""
        if self.mac is None and self.sealed_seq is None:
            self.mac = vouch(encode_entry(self._values()))

    @property
    def is_forged(self) -> bool:
        """Whether it waits for its seal and is not as the service wrote it, if the service did."""
        # Of a number bytes() would make so many of nought.
        mac = bytes(self.mac) if isinstance(self.mac, bytes | memoryview) else None
        return self.sealed_seq is None and not vouched_entry(self._values(), mac)

    @property
    def is_spoiled(self) -> bool:
        """Whether a value of it is of a kind that no service can have written."""
        try:
            encode_entry(self._values())
            # Half of a character can be spelled in JSON, but no page can hold it.
            json.dumps(self.facts, ensure_ascii=False).encode()
        except (AttributeError, ArithmeticError, *UNSPELLABLE):
            return True
        return not (isinstance(self.facts, dict) and isinstance(self.sealed_seq, int | None))

    @property
    def place(self) -> str:
        """Where the log has it: ``#7`` is the eighth sealed event."""
        if self.is_forged:
            return "FORGED"
        return "unsealed" if self.sealed_seq is None else f"#{self.sealed_seq}"

    def _values(self) -> list[Any]:
        values = {name: getattr(self, name) for name in FIELDS}
        values["at"] = write_time(self.at.astimezone(UTC))
        values["facts"] = json.dumps(self.facts)
        values["commitments"] = json.dumps(self.commitments)
        return [values[name] for name in FIELDS]


class EventDetail(models.Model):
    """A personal value that belongs to an event: an address, a user agent, a reason that was typed.

    ``person_id`` is the person who acted and ``subject_id`` the event's subject where that is
    another. The erasure of either removes the row, value and salt; the event stays.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    event_id = models.UUIDField()
    person_id = models.UUIDField(null=True)
    subject_id = models.UUIDField(null=True)
    field = models.CharField(max_length=32)
    value = models.TextField()
    salt = models.BinaryField(default=bytes)

    class Meta:
        indexes = [
            models.Index(
                fields=["person_id"], condition=Q(person_id__isnull=False), name="detail_by_person"
            ),
            models.Index(
                fields=["subject_id"],
                condition=Q(subject_id__isnull=False),
                name="detail_by_subject",
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["event_id", "field"], name="one_value_per_event_field"),
        ]

    def __str__(self) -> str:
        return f"{self.field} of {self.event_id}"


class TreeHead(models.Model):
    """The one row that a sealer locks: how many events are sealed."""

    THE_ONE: ClassVar[int] = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ONE)
    size = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.size} events are sealed"


class Tile(models.Model):
    """Up to 256 neighbouring nodes of the tree, 32 bytes each (C2SP tlog-tiles): those of levels 0,
    8, 16 and so on. The rest follows from them. A tile only ever grows."""

    id = models.BigIntegerField(primary_key=True)
    hashes = models.BinaryField()

    def __str__(self) -> str:
        return f"tile {self.id}"


class CheckpointManager(models.Manager["Checkpoint"]):
    """Leaves the time in the database until somebody asks for it: the note has it, signed, and a
    database can hold times that Python cannot."""

    def get_queryset(self) -> Any:
        return super().get_queryset().defer("at")


class Checkpoint(models.Model):
    """A signed statement of the tree's size and root, as a note."""

    size = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    note = models.TextField()

    objects = CheckpointManager()

    class Meta:
        ordering = ["size"]

    def __str__(self) -> str:
        return f"checkpoint of {self.size} events"


class Publication(models.Model):
    """The last checkpoint that somebody outside was given, and how the last attempt ended."""

    name = models.CharField(max_length=200, primary_key=True)
    size = models.BigIntegerField(default=0)
    at = models.DateTimeField(null=True)
    error = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"{self.name}: {self.size}"
