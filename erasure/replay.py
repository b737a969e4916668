"""Brings a restored database up to date with its ledger: who was erased is erased again, and who
had come back in time is not purged.

Each subject is a transaction of its own, and the mark moves when all is done: a replay that is cut
off is simply run again.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Reference, record
from erasure import gate, marks
from erasure.exceptions import RestoreError
from erasure.executor import erase_locked
from erasure.ledger import Entry, Ledger, born_text, open_ledger
from erasure.models import DeletionRequest, LedgerMark, LegalHold
from erasure.outstanding import REPLAY, Outstanding, Tale, compare, read_tale
from erasure.subjects import REMOVED, get_kind, lock_subject

logger = logging.getLogger("sexton.erasure")

State = DeletionRequest.State


class NoLedgerConfigured(Exception):
    """There is nothing to replay from."""


class ForeignLedger(Exception):
    """The database belongs to another ledger than the one that is configured."""

    def __init__(self, ledgers: list[str]) -> None:
        super().__init__(", ".join(ledgers))
        self.ledgers = ledgers


@dataclass(frozen=True)
class Repeated:
    """A subject that was erased again, with the rows that this removed, by model."""

    subject: Reference
    deletion_id: UUID
    counts: dict[str, int]


@dataclass
class Replay:
    """What a replay did, or would do."""

    erased: list[Repeated] = field(default_factory=list)
    restored: list[Reference] = field(default_factory=list)
    aside: list[Reference] = field(default_factory=list)
    failed: dict[Reference, str] = field(default_factory=dict)
    is_current: bool = False
    """Whether the database may be read now."""


def foresee(*, from_start: bool = False) -> Outstanding:
    """Return what a replay would do, and touch nothing. Raises what ``replay`` raises."""
    ledger = _configured()
    return _read(ledger, from_start, is_adopted=True).outstanding


def replay(
    *,
    clock: Callable[[], datetime],
    from_start: bool = False,
    puts_aside: bool = False,
    adopts: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Replay:
    """Do again whatever the ledger tells behind this database's mark; then move the mark.

    ``from_start`` reads the whole ledger, for a database into which single tables were loaded.
    With ``puts_aside`` subjects whose erasure fails are suspended, and the purge tries them
    further, so that the service can open. ``adopts`` gives up the ledger that the database
    belonged to. Raises NoLedgerConfigured, ForeignLedger or LedgerUnavailable.
    """
    ledger, actor, report = _configured(), Actor.system(REPLAY), Replay()
    tale, outstanding, is_replaced = _read(ledger, from_start, is_adopted=adopts)
    erased = {(entry.kind, entry.subject_id) for entry in outstanding.erased}
    for entry in outstanding.restored:
        if (entry.kind, entry.subject_id) not in erased:
            _attempt(entry, report, lambda one: _bring_back(one, actor, clock(), report))
    for number, entry in enumerate(outstanding.erased, 1):
        if not _attempt(entry, report, lambda one: _erase(one, actor, clock(), report)):
            _settle_failure(entry, actor, clock(), report, puts_aside)
        if on_progress is not None:
            on_progress("erasing again", number, len(outstanding.erased))
    if not report.failed:
        if is_replaced:
            ledger.finish([entry for _, entry in tale.begun.values()])
            tale = read_tale(ledger, tale.position, tale)
        _move_mark(ledger, tale, clock())
    gate.forget()
    report.is_current = not gate.look(is_thorough=True)
    return report


def _configured() -> Ledger:
    ledger = open_ledger()
    if not ledger:
        raise NoLedgerConfigured
    return ledger


class Reading(NamedTuple):
    """What the ledger tells, what of it is to be done, and whether the database was replaced."""

    tale: Tale
    outstanding: Outstanding
    is_replaced: bool


def _read(ledger: Ledger, from_start: bool, *, is_adopted: bool) -> Reading:
    identity = ledger.create()
    mark = marks.read_mark(identity)
    if mark is None and not is_adopted and (others := marks.foreign_ledgers(identity)):
        raise ForeignLedger(others)
    tale = read_tale(ledger, 0 if from_start or mark is None else mark.position)
    outstanding = compare(tale)
    is_replaced = mark is None or not mark.is_sealed or bool(outstanding)
    if is_replaced:
        # The database was replaced. What was begun may have been committed, and only the
        # database that is gone could tell; it had been decided, so it is done.
        outstanding = compare(tale, with_begun=True)
    return Reading(tale, outstanding, is_replaced)


def _attempt(entry: Entry, report: Replay, act: Callable[[Entry], None]) -> bool:
    try:
        act(entry)
    except Exception as error:
        logger.exception("replay failed", extra={"deletion": str(entry.deletion_id)})
        # Never the message: a database's may quote a person's data.
        report.failed[Reference(entry.kind, entry.subject_id)] = type(error).__name__
        return False
    return True


def _erase(entry: Entry, actor: Actor, now: datetime, report: Replay) -> None:
    subject = Reference(entry.kind, entry.subject_id)
    with transaction.atomic(durable=True):
        instance = _lock(entry)
        if instance is None:
            return
        if _holds(subject).filter(placed_at__gte=entry.at).exists():
            _put_aside(entry, instance, actor, now)
            report.aside.append(subject)
            return
        _release_old_holds(subject, actor, now)
        _straighten_requests(entry, now)
        done = erase_locked(
            actor=actor, subject=subject, instance=instance, now=now, is_repeat=True
        )
    report.erased.append(Repeated(subject, done.request_id, done.counts))


def _bring_back(entry: Entry, actor: Actor, now: datetime, report: Replay) -> None:
    """Undo a deletion that had been undone after the backup. If somebody bears the name by now,
    the flags stay for staff to settle, and the purge is off all the same."""
    subject = Reference(entry.kind, entry.subject_id)
    with transaction.atomic(durable=True):
        instance = _lock(entry)
        request = DeletionRequest.objects.open().select_for_update().get(pk=entry.deletion_id)
        before = request.before
        _close(request, now)
        if instance is None:
            return
        kind = get_kind(entry.kind)
        if kind.is_suspended(instance):
            try:
                with transaction.atomic():
                    kind.resume(instance, before, actor=actor)
            except (RestoreError, IntegrityError) as error:
                report.failed[subject] = f"{type(error).__name__}: restore it by hand"
                return
        facts = {"deletion": str(request.pk)}
        record(f"{entry.kind}.restored", actor=actor, subject=subject, now=now, facts=facts)
    report.restored.append(subject)


def _settle_failure(
    entry: Entry, actor: Actor, now: datetime, report: Replay, puts_aside: bool
) -> None:
    subject = Reference(entry.kind, entry.subject_id)
    if not puts_aside:
        return

    def put_aside(one: Entry) -> None:
        with transaction.atomic(durable=True):
            if (instance := _lock(one)) is not None:
                _put_aside(one, instance, actor, now)

    reason = report.failed.pop(subject)
    if _attempt(entry, report, put_aside):
        report.aside.append(subject)
    else:
        report.failed[subject] = reason


def _lock(entry: Entry) -> Any | None:
    """Lock the subject; None when it is gone, or when another one bears its key."""
    instance = lock_subject(Reference(entry.kind, entry.subject_id))
    if instance is None:
        return None
    return instance if born_text(get_kind(entry.kind).born(instance)) == entry.born else None


def _holds(subject: Reference) -> Any:
    return LegalHold.objects.active().on(subject)


def _release_old_holds(subject: Reference, actor: Actor, now: datetime) -> None:
    """End the holds that the backup shows: they had ended before the erasure, or the one place
    that every erasure passes would have refused it."""
    for hold in _holds(subject).select_for_update():
        hold.released_at = now
        hold.save(update_fields=["released_at"])
        facts = {"hold": str(hold.pk), "because": "The ledger shows that it had ended."}
        record("hold.released", actor=actor, subject=subject, now=now, facts=facts)


def _straighten_requests(entry: Entry, now: datetime) -> DeletionRequest | None:
    """Leave one open request: the one that the ledger names, made again if the backup is older."""
    request: DeletionRequest
    for request in _open_requests(entry):
        if request.pk != entry.deletion_id:
            _close(request, now)
            continue
        # Whoever held the lease when the backup was made works for another database.
        request.state = State.SCHEDULED
        request.lease_until = request.lease_token = request.retry_at = None
        request.started_at = None
        fields = ["state", "started_at", "lease_until", "lease_token", "retry_at"]
        request.save(update_fields=fields)
        return request
    if DeletionRequest.objects.filter(pk=entry.deletion_id).exists():
        return None
    return _make_request(entry, entry.deletion_id)


def _put_aside(entry: Entry, instance: Any, actor: Actor, now: datetime) -> None:
    """Suspend a subject that cannot be erased now, under a request that the purge will take."""
    kind = get_kind(entry.kind)
    for request in _open_requests(entry):
        _close(request, now)
    removed: Mapping[str, int] = {}
    if not kind.is_suspended(instance):
        removed = kind.suspend(instance, actor=actor, now=now).get(REMOVED, {})
    known = DeletionRequest.objects.filter(pk=entry.deletion_id).exists()
    request = _make_request(entry, uuid7() if known else entry.deletion_id)
    if removed:
        request.counts = dict(removed)
        request.save(update_fields=["counts"])
    facts = {"deletion": str(request.pk)}
    record(f"{entry.kind}.deleted", actor=actor, subject=request.subject, now=now, facts=facts)


def _open_requests(entry: Entry) -> Any:
    about = DeletionRequest.objects.about(Reference(entry.kind, entry.subject_id))
    return about.open().select_for_update()


def _make_request(entry: Entry, pk: UUID) -> DeletionRequest:
    return DeletionRequest.objects.create(
        pk=pk,
        subject_kind=entry.kind,
        subject_id=entry.subject_id,
        generation=entry.generation,
        channel=REPLAY,
        requested_by_kind="system",
        requested_at=entry.at,
        due_at=entry.at,
    )


def _close(request: DeletionRequest, now: datetime) -> None:
    """Cancel a request that the database which was lost had closed."""
    request.state, request.finished_at = State.CANCELLED, now
    request.lease_until = request.lease_token = request.retry_at = None
    request.before, request.cursor = {}, {}
    request.save()


def _move_mark(ledger: Ledger, tale: Tale, now: datetime) -> None:
    with marks.locked_mark(ledger.identity):
        if not compare(tale):
            LedgerMark.objects.exclude(pk=ledger.identity).delete()
            marks.write_mark(ledger.identity, tale.settled, now)
