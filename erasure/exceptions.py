"""Why a deletion is refused. Exceptions hold facts; what a client reads is the edge's affair."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID


class DeletionError(Exception):
    """A deletion that cannot go ahead. Nothing was changed."""


@dataclass
class SubjectNotFound(DeletionError):
    """No such subject, or none within the actor's reach: the two look the same on purpose."""

    kind: str


@dataclass
class ActorGone(DeletionError):
    """The account or organization behind the credential ended while the request was under way."""

    actor_id: UUID | None


@dataclass
class RightMissing(DeletionError):
    """The actor may not do this to anybody. ``right`` names what is missing."""

    right: str


@dataclass
class UnderLegalHold(DeletionError):
    """A legal hold forbids erasing this subject."""

    kind: str
    subject_id: UUID


@dataclass
class DeletionInProgress(DeletionError):
    """Another deletion of the same subject is running under a live lease."""

    kind: str
    subject_id: UUID


@dataclass
class Blocked(DeletionError):
    """Something stands against the deletion that somebody must settle first.

    ``blockers`` are those of the subject's kind, each with a code, a text and facts.
    """

    kind: str
    subject_id: UUID
    blockers: Sequence[Any]


@dataclass
class PlanDrifted(DeletionError):
    """The plan that was approved is no longer what would happen; ``drift`` says in words why."""

    drift: Sequence[str]


@dataclass
class Paused(DeletionError):
    """Somebody has pulled the brake on erasure, and said why."""

    reason: str


@dataclass
class LedgerUnavailable(DeletionError):
    """The ledger could not be written, so nothing was erased."""

    reason: str


@dataclass
class SecondPersonNeeded(Exception):
    """A member of staff has had ``done`` subjects erased within the window, and may have no more
    erased alone. Nothing was changed."""

    done: int
    limit: int
    window: timedelta


class RestoreError(Exception):
    """A soft delete that cannot be undone. Nothing was changed."""


@dataclass
class NotRestorable(RestoreError):
    """There is no scheduled deletion to undo: it runs, it is done, or there never was one."""

    subject_id: UUID


@dataclass
class GraceExpired(RestoreError):
    """The grace period has ended; the erasure is due."""

    subject_id: UUID
    due_at: datetime


@dataclass
class TakenAlong(RestoreError):
    """The deletion came with that of another subject, ``taker``, and is undone with it only."""

    subject_id: UUID
    taker: Any


@dataclass
class OwnersGone(RestoreError):
    """None of those who owned the subject is there any more, and it would come back ownerless."""

    subject_id: UUID


@dataclass
class DeletionNotFound(Exception):
    """No such deletion, or none that the actor may see: the two look the same on purpose."""

    deletion_id: UUID | None = None


@dataclass
class ReceiptNotReady(Exception):
    """There is no receipt: the erasure is not finished, or was taken back."""

    state: str
