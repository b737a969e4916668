"""Whether an event that waits for its seal has had one before.

While it waits an event bears the code that vouches for it. Whoever copied it then could put it in
again when it has been removed for its age, and have it sealed anew. But the tree keeps the leaf of
what is gone. So what is older than the newest checkpoint is looked for there: only an event whose
transaction took longer than SLACK is as old as that, or one that was copied.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cached_property
from uuid import UUID

from audit import notes, signers
from audit.evidence import SLACK
from audit.models import Checkpoint
from audit.spoiled import UNREADABLE
from audit.tiles import HASH, LEVEL, sound_tiles

TILES_AT_ONCE = 1_000


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

    def holds(self, waiting: Iterable[tuple[str, bytes]]) -> set[bytes]:
        """Return the leaves of those events, given as ids and leaves, that the tree holds."""
        old = {leaf for pk, leaf in waiting if self.is_older(pk)}
        return find_leaves(old) if old else set()

    def is_older(self, pk: str) -> bool:
        """Whether an event was made before, as its id says (RFC 9562, section 5.7)."""
        if self.until is None:
            return False
        event_id = UUID(pk)
        made = event_id.int >> 80 if event_id.version == 7 else 0
        return made < (self.until - SLACK).timestamp() * 1000


def find_leaves(leaves: Collection[bytes]) -> set[bytes]:
    """Return which of these leaves are in the tree. Goes through all of it: 32 MB a million."""
    wanted, found, last = frozenset(leaves), set[bytes](), -1
    tiles = sound_tiles().order_by("pk").values_list("pk", "hashes")
    while some := list(tiles.filter(pk__gt=last, pk__lt=LEVEL)[:TILES_AT_ONCE]):
        for last, hashes in some:  # noqa: B007 - the next page begins after it
            nodes = (hashes[at : at + HASH] for at in range(0, len(hashes), HASH))
            found |= wanted.intersection(map(bytes, nodes))
    return found
