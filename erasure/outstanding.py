"""What the ledger tells and this database does not show: who was erased and is there all the same,
who came back and is scheduled all the same."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched
from typing import Any
from uuid import UUID

from django.db import models

from erasure.ledger import Entry, Ledger, born_text
from erasure.models import DeletionRequest
from erasure.subjects import SubjectKind, get_kind, kind_names

CHUNK = 500
REPLAY = "replay_erasures"
"""The channel of requests that a replay makes."""
Key = tuple[str, UUID, str]


@dataclass
class Tale:
    """What a stretch of the ledger comes to. Taking the same entry twice changes nothing."""

    erased: dict[Key, Entry] = field(default_factory=dict)
    restored: dict[UUID, Entry] = field(default_factory=dict)
    begun: dict[UUID, tuple[int, Entry]] = field(default_factory=dict)
    """Intents whose end is not known, with the position before each."""
    ended: set[UUID] = field(default_factory=set)
    position: int = 0

    def take(self, position: int, entry: Entry) -> None:
        if entry.state == "restored":
            self.restored[entry.deletion_id] = entry
        elif entry.state == "intent":
            if entry.id not in self.ended:
                self.begun.setdefault(entry.id, (self.position, entry))
        else:
            self.ended.add(entry.id)
            self.begun.pop(entry.id, None)
            if entry.state == "done":
                self.erased[entry.kind, entry.subject_id, entry.born] = entry
        self.position = position

    @property
    def settled(self) -> int:
        """The position up to which every intent has its end."""
        return min((before for before, _ in self.begun.values()), default=self.position)


@dataclass
class Outstanding:
    """What has to be done again, in the ledger's order."""

    erased: list[Entry] = field(default_factory=list)
    restored: list[Entry] = field(default_factory=list)
    aside: list[Entry] = field(default_factory=list)
    """Erased and there again, but suspended, under a request that waits: for the end of a legal
    hold, or for a further try."""

    def __bool__(self) -> bool:
        return bool(self.erased or self.restored)

    def __str__(self) -> str:
        said = []
        if self.erased:
            said.append(f"{len(self.erased)} who were erased are there")
        if self.restored:
            said.append(f"{len(self.restored)} who came back are due to be erased")
        return " and ".join(said)


def read_tale(ledger: Ledger, position: int, tale: Tale | None = None) -> Tale:
    """Return what a ledger tells from a position on; with ``tale`` that one, told further."""
    tale = tale or Tale(position=position)
    for reached, entry in ledger.read(tale.position):
        tale.take(reached, entry)
    return tale


def compare(tale: Tale, *, with_begun: bool = False) -> Outstanding:
    """Return what of a tale this database does not show.

    With ``with_begun`` intents without an end count as erasures: right for a database that was
    replaced, where nothing else can tell whether they were committed.
    """
    # What was begun comes first: as long as anything done is left, a replay that was cut off still
    # sees that the database was replaced.
    entries = [entry for _, entry in tale.begun.values()] if with_begun else []
    entries += tale.erased.values()
    living = list(find_living(entries))
    aside = _put_aside(living)
    open_ids = {
        pk
        for ids in batched(tale.restored, CHUNK)
        for pk in DeletionRequest.objects.open().filter(pk__in=ids).values_list("pk", flat=True)
    }
    return Outstanding(
        erased=[entry for entry in living if entry not in aside],
        restored=[entry for pk, entry in tale.restored.items() if pk in open_ids],
        aside=aside,
    )


def find_living(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries whose subject exists: the same key, and born at the same moment.

    A kind with whole numbers for keys and without a birth is passed over: nothing would tell its
    subjects from strangers who were given the same number.
    """
    by_kind: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_kind[entry.kind].append(entry)
    for name in by_kind.keys() & set(kind_names()):
        kind = get_kind(name)
        if not _can_tell(kind):
            continue
        for some in batched(by_kind[name], CHUNK):
            births = _births(kind, [entry.subject_id for entry in some])
            yield from (entry for entry in some if births.get(entry.subject_id) == entry.born)


def knows_births(kind: SubjectKind) -> bool:
    """Whether a kind says when its subjects came to be."""
    return bool(kind.born_field) or type(kind).born is not SubjectKind.born


def _can_tell(kind: SubjectKind) -> bool:
    return knows_births(kind) or isinstance(kind.model._meta.pk, models.UUIDField)


def _births(kind: SubjectKind, ids: list[UUID]) -> dict[UUID, str]:
    rows: Any = kind.model._base_manager.filter(pk__in=[kind.pk_of(one) for one in ids])
    if kind.born_field and type(kind).born is SubjectKind.born:
        return {kind.id_of(pk): born_text(at) for pk, at in rows.values_list("pk", kind.born_field)}
    return {kind.id_of(row.pk): born_text(kind.born(row)) for row in rows}


def _put_aside(living: list[Entry]) -> list[Entry]:
    """Return those whose erasure a replay could not repeat, and whom it suspended instead."""
    waiting: set[tuple[str, UUID]] = set()
    for some in batched(living, CHUNK):
        requests = DeletionRequest.objects.open().filter(channel=REPLAY)
        requests = requests.filter(subject_id__in=[entry.subject_id for entry in some])
        waiting.update(requests.values_list("subject_kind", "subject_id"))
    return [entry for entry in living if (entry.kind, entry.subject_id) in waiting]
