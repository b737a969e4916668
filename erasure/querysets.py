from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import models
from django.db.models import Exists, F, OuterRef, Q, Value
from django.db.models.functions import Coalesce

from audit.events import Reference
from erasure.subjects import kind_names


class IsOpen(models.Lookup):
    """The condition that a deletion is not at its end, in the very words of the index: a parameter
    in their place would hide from the planner of a prepared statement that the index fits."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        return f"{column} IN ('scheduled', 'running', 'failed')", params


class IsOfKinds(models.Lookup):
    """The condition that a deletion is about a subject of one of these kinds. SQLite is kept from
    the index of subjects by a sign: it would read all that are open and put them in order."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        column, params = self.process_lhs(compiler, connection)
        sign = "+" if connection.vendor == "sqlite" else ""
        slots = ", ".join("%s" for _ in self.rhs)
        return f"{sign}{column} IN ({slots})", [*params, *self.rhs]


class IsAfter(models.Lookup):
    """The condition that a deletion comes after a place in the order of due times: one range of
    the index, however many deletions are due at the same moment."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        at, params = self.process_lhs(compiler, connection)
        due_at = models.DateTimeField().get_db_prep_value(self.rhs[0], connection)
        pk = models.UUIDField().get_db_prep_value(self.rhs[1], connection)
        table = at.rpartition(".")[0]
        key = f"{table}.{connection.ops.quote_name('id')}"
        return f"({at}, {key}) > (%s, %s)", [*params, due_at, pk]


class LegalHoldQuerySet(models.QuerySet[Any]):
    def active(self) -> Self:
        return self.filter(released_at=None)

    def on(self, subject: Reference) -> Self:
        """Those that keep a subject, whatever it is called there (``holds.held_among``)."""
        return self.filter(subject_id=subject.id)


class PauseQuerySet(models.QuerySet[Any]):
    def standing(self) -> Self:
        return self.filter(released_at=None)


class DeletionRequestQuerySet(models.QuerySet[Any]):
    def about(self, subject: Reference) -> Self:
        return self.filter(subject_kind=subject.kind, subject_id=subject.id)

    def open(self) -> Self:
        return self.filter(state__in=self.model.OPEN)

    def with_hold(self) -> Self:
        """Annotate ``held``: whether a legal hold stands on the subject now, whatever it is called
        there (``holds.held_among``)."""
        from erasure.models import LegalHold

        hold = LegalHold.objects.active().filter(subject_id=OuterRef("subject_id"))
        return self.annotate(held=Exists(hold))

    def due(self, now: datetime) -> Self:
        """Those that a purge may claim now: time is up, no hold, nobody works on them.

        A running one whose lease has lapsed belongs to a worker that died, and is due again.
        A failed one waits for its next try. One of a kind that no app has registered, or has any
        more, is nobody's to erase, and must not keep the others from it.
        """
        waiting = Q(state__in=("scheduled", "failed")) & (Q(retry_at=None) | Q(retry_at__lte=now))
        stalled = Q(state="running", lease_until__lte=now)
        rows = self.with_hold().filter(IsOpen(F("state"), True), due_at__lte=now, held=False)
        rows = rows.filter(waiting | stalled, IsOfKinds(F("subject_kind"), kind_names()))
        return rows.order_by("due_at", "id")

    def after(self, due_at: datetime, pk: UUID) -> Self:
        """Those that come later in the order of ``due``."""
        return self.filter(IsAfter(F("due_at"), (due_at, pk)))

    def stalled(self, now: datetime) -> Self:
        """Those whose worker died: they run, and their lease has lapsed."""
        return self.filter(state="running", lease_until__lte=now)

    def claim(self, now: datetime, **lease: Any) -> int:
        """Take what is due, in one guarded UPDATE; return how many rows were taken."""
        # What a worker that died had begun goes on, and began when that one did.
        began = Coalesce("started_at", Value(now, output_field=models.DateTimeField()))
        rows = self.due(now).order_by()
        return rows.update(state="running", started_at=began, attempts=F("attempts") + 1, **lease)
