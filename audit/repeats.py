"""Whether an event that waits for its seal has had one before.

While it waits an event bears the code that vouches for it. Whoever copied it then could put it in
again when it has been removed for its age, and have it sealed anew. But the tree keeps the leaf of
what is gone. So what is older than the newest checkpoint is looked for there: only an event whose
transaction took longer than SLACK is as old as that, or one that was copied.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from uuid import UUID

from audit import notes, signers
from audit.evidence import SLACK
from audit.leaves import SignedTree
from audit.models import Checkpoint
from audit.spoiled import UNREADABLE
from audit.tiles import HASH, DamagedTree

CLOCKS = timedelta(days=1)
"""By so much no clock of a writer differs from that of a sealer."""


class Past:
    """What had been sealed when this was asked first: before a run of several batches, since each
    of them is younger than what waited for it."""

    @cached_property
    def until(self) -> datetime | None:
        """When the newest checkpoint was signed, None when there is none, or none that holds."""
        try:
            last = Checkpoint.objects.last()
            return notes.open_note(last.note, signers.verifiers()).at if last else None
        except (notes.InvalidNote, *UNREADABLE):
            # Then nothing is sealed on top of it.
            return None

    def holds(self, waiting: Iterable[tuple[str, bytes]]) -> Collection[bytes]:
        """Return the leaves of those events, given as ids and leaves, that the tree holds, or may
        have held where it is damaged."""
        old = {leaf: pk for pk, leaf in waiting if self.is_older(pk)}
        try:
            return set(find_leaves(old))
        except DamagedTree:
            # A leaf may have been taken out, so that it is not found: they wait until it is back.
            return old

    def is_older(self, pk: str) -> bool:
        """Whether an event was made before, as its id says."""
        return self.until is not None and _made(pk) < (self.until - SLACK).timestamp() * 1000


def find_leaves(leaves: Mapping[bytes, str]) -> Iterator[bytes]:
    """Yield those of these leaves, given with the ids of their events, that are in the tree. Goes
    through all that was sealed since the first of them was made: 32 MB and a second a million.
    Raises DamagedTree where the tree is not the one that was signed."""
    if not leaves:
        return
    wanted, tree = set(leaves), SignedTree()
    for hashes in tree.blocks(_size_before(tree, min(map(_made, leaves.values())))):
        there = wanted.intersection(hashes[at : at + HASH] for at in range(0, len(hashes), HASH))
        yield from there
        wanted -= there
        if not wanted:
            return


def _made(pk: str) -> int:
    """Return the millisecond in which an event was made (RFC 9562, section 5.7)."""
    event_id = UUID(pk)
    return event_id.int >> 80 if event_id.version == 7 else 0


def _size_before(tree: SignedTree, made: int) -> int:
    """Return how large the tree was at some time before, as far as that was signed."""
    until = datetime.fromtimestamp(made / 1000, UTC) - CLOCKS
    with suppress(notes.InvalidNote, *UNREADABLE):
        # The time in the column finds it, and what is signed counts.
        if last := Checkpoint.objects.filter(at__lte=until).last():
            known = notes.open_note(last.note, signers.verifiers())
            if known.at and known.at <= until and tree.grew_from(known):
                return known.size
    return 0
