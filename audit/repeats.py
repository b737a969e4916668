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
from audit.models import Checkpoint, Tile
from audit.tiles import HASH, LEVEL

TILES_AT_ONCE = 1_000


class Past:
    """What had been sealed when this was asked first: before a run of several batches, since each
    of them is younger than what waited for it."""

    @cached_property
    def until(self) -> datetime | None:
        """When the newest checkpoint was signed, None when there is none, or none that holds."""
        last = Checkpoint.objects.last()
        try:
            return notes.open_note(last.note, signers.verifiers()).at if last else None
        except notes.InvalidNote:
            # Then nothing is sealed on top of it.
            return None

    def holds(self, waiting: Iterable[tuple[str, bytes]]) -> set[bytes]:
        """Return the leaves of those events, given as ids and leaves, that the tree holds."""
        old = {leaf for pk, leaf in waiting if self._is_older(UUID(pk))}
        return find_leaves(old) if old else set()

    def _is_older(self, event_id: UUID) -> bool:
        """Whether an event was made before, as its id says (RFC 9562, section 5.7)."""
        if self.until is None:
            return False
        made = event_id.int >> 80 if event_id.version == 7 else 0
        return made < (self.until - SLACK).timestamp() * 1000


def find_leaves(leaves: Collection[bytes]) -> set[bytes]:
    """Return which of these leaves are in the tree. Goes through all of it: 32 MB a million."""
    wanted, found, last = frozenset(leaves), set[bytes](), -1
    tiles = Tile.objects.order_by("pk").values_list("pk", "hashes")
    while some := list(tiles.filter(pk__gt=last, pk__lt=LEVEL)[:TILES_AT_ONCE]):
        for _, hashes in some:
            if isinstance(hashes, bytes | memoryview):
                whole = bytes(hashes)
                found |= wanted.intersection(
                    whole[at : at + HASH] for at in range(0, len(whole), HASH)
                )
        last = some[-1][0]
    return found
