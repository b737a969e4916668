"""What a deletion can be about. Apps describe their subjects; this room walks the registry."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, cached_property
from hashlib import sha256
from typing import Any, ClassVar
from uuid import UUID

from django.apps import apps
from django.db import models

from audit.actors import Actor
from audit.events import Reference
from audit.statements import Select, select


@dataclass(frozen=True)
class Blocker:
    """Why an erasure cannot go ahead now. ``facts`` hold what a client may be told."""

    code: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Affected:
    """Another subject that the erasure changes: an organization that loses a member, a user that
    goes along with its organization."""

    subject: Reference
    name: str
    effect: str


@dataclass(frozen=True)
class Effect:
    """Something that happens outside the database: a subscription ends, a webhook is told."""

    system: str
    text: str


REMOVED = "removed"
"""Where ``suspend`` says which rows it has removed."""


class SubjectKind:
    """A kind of subject. An app subclasses it in ``policies.py`` and registers one instance.

    Every hook has a default, so that a kind needs a name and a model only. Hooks that decide or
    change run in the caller's transaction, the subject's row locked.
    """

    name: ClassVar[str]
    model_label: ClassVar[str]
    prefix: ClassVar[str] = ""
    """Of its ids at the edge, as in ``usr_…``; without one the bare id is shown."""
    noun: ClassVar[str] = ""
    """What people call it in mails, as in "your account"; empty: the model's own name."""
    born_field: ClassVar[str] = ""
    """The field that says when a row came to be: the ledger tells a stranger by it."""
    manages: ClassVar[bool] = False
    """Whether its subjects manage others. Requests and events name such a subject in their
    ``organization_id``, and it can be paused with all that it manages. One kind at most."""
    rank: ClassVar[int] = 0
    """Subjects of a lower rank are locked first: users before organizations."""
    view_permission: ClassVar[str] = ""
    restore_permission: ClassVar[str] = ""
    erase_permission: ClassVar[str] = ""

    @cached_property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.model_label)

    @cached_property
    def has_uuids(self) -> bool:
        """Whether the rows' keys are the very ids that everything else names them by."""
        return isinstance(self.model._meta.pk, models.UUIDField)

    def id_of(self, pk: Any) -> UUID:
        """Return a row's key as the id that requests, ledger and audit name it by.

        A whole number becomes a UUID that ends in it and begins with a mark of the kind, so that
        the fifth author and the fifth shop have different ids.
        """
        return pk if isinstance(pk, UUID) else spell_number(self.name, int(pk))

    def pk_of(self, subject_id: UUID) -> Any:
        """Return the key of the row that an id names: the inverse of ``id_of``.

        An id that this kind has not given becomes a number that no row has.
        """
        if self.has_uuids:
            return subject_id
        return number_of(self.name, subject_id)

    def born(self, instance: Any) -> datetime | None:
        return getattr(instance, self.born_field) if self.born_field else None

    def label(self, instance: Any) -> str:
        """Return the name that staff know a living subject by. Never stored."""
        return str(instance)

    def addresses(self, instance: Any) -> list[str]:
        """Return the e-mail addresses that are told of the subject's deletion."""
        return []

    def identifiers(self, instance: Any) -> list[str]:
        """Return what a search for leftovers of the subject looks for, beside its id. Taken before
        the row goes, and held in memory only.

        Each must be the subject's alone: what somebody else bears, too, and what is a common word
        would be found where it is nobody's leftover. ``keep_telling`` sorts such words out.
        """
        return self.addresses(instance)

    def identify(self, instances: Sequence[Any]) -> list[list[str]]:
        """Return the identifiers of each of many subjects, in order. A kind that asks the database
        about each overrides this, too, and asks once for all."""
        return [self.identifiers(one) for one in instances]

    def search(self, text: str) -> models.Q | None:
        """Return the condition that finds subjects by what staff type, beside their id."""
        return None

    def named(self, text: str) -> models.Q | None:
        """Return the condition that finds subjects by exactly this name or address, for whoever
        types one on a command line; None when subjects have none."""
        return None

    def lock_family(self, ids: Collection[UUID]) -> None:
        """Lock what else the decisions about these subjects read, parents in the order of rooms.
        The subjects' own rows are locked already."""

    def blockers(self, ids: Collection[UUID]) -> dict[UUID, list[Blocker]]:
        """Return what stands against erasing each of these subjects, those without left out.

        Asked for many at once, and again under the lock at the moment of destruction.
        """
        return {}

    def affected(self, subject_id: UUID) -> list[Affected]:
        """Return the other subjects that the erasure changes."""
        return []

    def effects(self, subject_id: UUID) -> list[Effect]:
        """Return what the erasure does outside the database."""
        return []

    def order_effects(
        self, ids: Collection[UUID], *, actor: Actor, now: datetime
    ) -> Mapping[UUID, Sequence[str]]:
        """Write down what is to happen outside of the database, for these subjects for ever: a
        subscription is to be cancelled. Orders must outlive the subjects' rows. Return what has
        been ordered for each, in lines for its receipt, without personal data.

        Called before rows go, and may be called again for a subject whose erasure takes several
        transactions: ordered twice must be ordered once, and said each time.
        """
        return {}

    def companions(self, ids: Collection[UUID]) -> dict[UUID, list[Reference]]:
        """Return the subjects that go along with each of these: users that an organization
        manages. They are locked and erased first, each with a request of its own."""
        return {}

    def count_companions(self, subject_id: UUID, *, cap: int) -> int:
        """Return how many subjects go along with one, ``cap`` at most."""
        return min(cap, len(self.companions([subject_id]).get(subject_id, ())))

    def next_companions(
        self, subject_id: UUID, *, after: Reference | None, limit: int
    ) -> list[Reference]:
        """Return the next of those who go along with a subject, in a fixed order."""
        known = self.companions([subject_id]).get(subject_id, ())
        place = (after.kind, after.id) if after else None
        ordered = sorted((one.kind, one.id) for one in known)
        later = [Reference(*one) for one in ordered if place is None or one > place]
        return later[:limit]

    def among_companions(
        self, subject_id: UUID, subjects: Collection[Reference]
    ) -> list[Reference]:
        """Return which of these subjects go along with one."""
        known = set(self.companions([subject_id]).get(subject_id, ()))
        return [one for one in subjects if one in known]

    def pivots(self, subject_id: UUID) -> list[Reference]:
        """Return those who go along with a subject and on whom something else depends, such as
        another organization that they own. Where too many go along to lock them all, these are
        locked and lose their access in the request itself; the others end when a worker comes."""
        return []

    def takers(self, ids: Collection[UUID]) -> set[UUID]:
        """Return which of these subjects take others along."""
        return set(self.companions(ids))

    def is_suspended(self, instance: Any) -> bool:
        """Whether the row is soft deleted."""
        return bool(getattr(instance, "is_deleted", False))

    def suspend(self, instance: Any, *, actor: Actor, now: datetime) -> dict[str, Any]:
        """Soft delete: flags down, credentials and sessions dead. Return what ``resume`` needs to
        put back exactly what this took, and under ``REMOVED`` how many rows of which model are
        gone for good: an erasure that follows at once counts them. Raises a DeletionError."""
        raise NotImplementedError(f"{self.name} cannot be soft deleted")

    def resume(self, instance: Any, before: Mapping[str, Any], *, actor: Actor) -> None:
        """Undo ``suspend``; credentials stay dead. Raises a RestoreError when a name is taken."""
        raise NotImplementedError(f"{self.name} cannot be restored")

    def foresee_resume(self, instance: Any) -> str:
        """Return what stands against a restore, in words for staff; empty when nothing does."""
        return ""


SHORTEST_NAME = 6


def keep_telling(names: Iterable[str]) -> list[str]:
    """Return those names that tell of their bearer wherever they lie: of six characters or more,
    and no mere word, with or without a number after it. ``acme-1998`` is one; ``support`` may be
    anybody's, and ``user10`` is a part of ``user100``."""
    return [name for name in names if len(name) >= SHORTEST_NAME and not _is_word(name)]


def _is_word(name: str) -> bool:
    stem = name.rstrip("0123456789")
    return not stem or stem.isalpha()


FEW = 25
"""So many companions are locked, and lose their access, in the request that deletes their subject.
With more of them the request takes those alone on whom something else depends."""


def has_many_companions(subject: Reference) -> bool:
    """Whether too many go along with a subject for one request."""
    return get_kind(subject.kind).count_companions(subject.id, cap=FEW + 1) > FEW


def companions_at_once(subject: Reference) -> list[Reference]:
    """Return those of a subject's companions that a request locks and deletes itself: all, or
    where these are too many, the pivots."""
    known = companions_if_few(subject)
    return get_kind(subject.kind).pivots(subject.id) if known is None else known


def companions_if_few(subject: Reference) -> list[Reference] | None:
    """Return a subject's companions; None where these are too many for one request."""
    known = get_kind(subject.kind).next_companions(subject.id, after=None, limit=FEW + 1)
    return known if len(known) <= FEW else None


NUMBERS = 62
"""Bits of a UUID that follow its version and variant."""


def spell_number(kind: str, number: int) -> UUID:
    """Return the id of a row whose key is a whole number: a UUID of version 8 (RFC 9562) with a
    mark of the kind in front and the number at the end. Raises ValueError for a negative one."""
    if not 0 <= number < 1 << NUMBERS:
        raise ValueError(f"{number} is no key that an id can hold")
    head = int.from_bytes(sha256(kind.encode()).digest()[:8])
    head = head & ~0xF000 | 0x8000
    return UUID(int=head << 64 | 0b10 << NUMBERS | number)


def number_of(kind: str, subject_id: UUID) -> int:
    """Return the number that an id ends in; for an id of another kind one that is no key."""
    number = subject_id.int & ((1 << NUMBERS) - 1)
    return number if spell_number(kind, number) == subject_id else NO_KEY


NO_KEY = 1 << 127
"""Larger than any key, so that no row is meant, not even by a mistake."""

_kinds: dict[str, SubjectKind] = {}


def register(kind: SubjectKind) -> None:
    """Make a kind of subject known."""
    _kinds[kind.name] = kind


def get_kind(name: str) -> SubjectKind:
    """Return a registered kind; KeyError when no app registered it."""
    return _kinds[name]


def kind_names() -> list[str]:
    return sorted(_kinds)


def managing_kind() -> str:
    """Return the kind whose subjects manage others; empty where there is none."""
    return next((name for name in kind_names() if _kinds[name].manages), "")


def lock_order(kinds: Iterable[str]) -> list[str]:
    """Return kinds in the order in which their subjects are locked."""
    return sorted(set(kinds), key=lambda name: (get_kind(name).rank, name))


def lock_subjects(kind: str, ids: Iterable[UUID]) -> dict[UUID, Any]:
    """Lock the subjects' rows in id order and return those that exist, by id.

    Every decision about a subject is read after this call, in the same transaction: holds,
    ownership, state. SQLite's immediate transaction already excludes every other writer.
    """
    known = get_kind(kind)
    rows = known.model._default_manager.select_for_update()
    rows = rows.filter(pk__in=[known.pk_of(one) for one in ids]).order_by("pk")
    return {known.id_of(row.pk): row for row in rows}


def lock_subject(subject: Reference) -> Any | None:
    """Lock one subject and return its instance, or None when it is gone."""
    known = get_kind(subject.kind)
    if not isinstance(known.model._meta.pk, models.UUIDField):
        return lock_subjects(subject.kind, [subject.id]).get(subject.id)
    return _lock_one(subject.kind).first(pk=subject.id)


@cache
def _lock_one(kind: str) -> Select:
    model = get_kind(kind).model

    @select
    def lock(pk: UUID) -> Any:
        return model._default_manager.select_for_update().filter(pk=pk).order_by()

    return lock
