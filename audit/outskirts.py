"""What a verification looks at outside of the pass over all positions: the tiles above the leaves,
what lies beyond the tree, what waits for its seal, and what the sealer goes by."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Cast, Coalesce, Length

from audit.entries import leaf_of
from audit.faults import Fault, Found, Note
from audit.merkle import Range
from audit.models import AuditEvent, EventDetail, Tile
from audit.repeats import Past, find_leaves
from audit.rows import MANY, read_next
from audit.sealing import read_sizes
from audit.spoiled import UNREADABLE
from audit.tiles import BEYOND, HASH, WIDTH, DamagedTree, Tiles, key_of, place_of
from audit.vouching import vouched_entry


def check_upper_tiles(level_one: Sequence[bytes]) -> None:
    """Check the tiles above the leaves: proofs are made of them."""
    tiles, level, nodes = Tiles(), 1, level_one
    while nodes:
        above = []
        for index in range(0, len(nodes), WIDTH):
            part = nodes[index : index + WIDTH]
            if tiles.tile(level, index // WIDTH) != b"".join(part):
                text = f"The tile {index // WIDTH} of level {level} is not what lies below it."
                raise Found(Fault("tile", text, index * WIDTH**level))
            if len(part) == WIDTH:
                whole = Range()
                for node in part:
                    whole.append(node)
                above.append(whole.root())
        level, nodes = level + 1, above


def check_strays(size: int, most: int, note: Note) -> None:
    """Check that no event and no value lies where the tree has no place for it."""
    try:
        _check_strays(size, most, note)
    except UNREADABLE as error:
        text = f"An event without a position that there is cannot be read: {error}"
        note(Fault("unreadable", text))


def _check_strays(size: int, most: int, note: Note) -> None:
    events: Any = models.QuerySet(AuditEvent).order_by().annotate(own=_as_text("id"))
    further = events.filter(sealed_seq__gte=size).order_by("sealed_seq")
    for position, pk in further.values_list("sealed_seq", "own")[:most]:
        text = f"The event {pk} bears the position {position}, which no checkpoint holds."
        note(Fault("beyond", text, position if isinstance(position, int) else None, pk))
    # One set less the other: whatever a planner thinks of their sizes, it reads each once.
    owners: Any = EventDetail.objects.order_by().annotate(own=_as_text("event_id"))
    strays = owners.values_list("own").difference(events.values_list("own"))
    for (pk,) in strays.order_by("own")[:most]:
        text = f"A value of the event {pk} is there, but not the event."
        note(Fault("orphan", text, None, pk))
    for (pk,) in events.filter(sealed_seq__lt=0).values_list("own")[:most]:
        text = f"The event {pk} bears a position below nought."
        note(Fault("beyond", text, None, pk))


def check_waiting(note: Note) -> None:
    """Check who wrote what is not sealed yet, and that it never was."""
    past, old = Past(), dict[bytes, str]()
    after: Any = None
    try:
        while waiting := read_next(after, MANY):
            for after, row, mac in waiting:  # noqa: B007 - the next page begins after it
                if entry := vouched_entry(row.values, mac):
                    if past.is_older(row.id):
                        old[leaf_of(entry)] = row.id
                elif _is_text([*row.values, mac]):
                    text = (
                        f"The event {row.id}, which is not sealed yet, was not written by the "
                        "service, or it was changed since."
                    )
                    note(Fault("forged", text, None, row.id))
                else:
                    text = f"The event {row.id!a}, which is not sealed yet, cannot be read."
                    note(Fault("unreadable", text))
    except UNREADABLE as error:
        text = f"An event that is not sealed yet cannot be read: {error}"
        note(Fault("unreadable", text))
    again = set[bytes]()
    # Where the tree is damaged, that has been named.
    with suppress(DamagedTree):
        again.update(find_leaves(old))
    for pk in sorted(old[leaf] for leaf in again):
        text = f"The event {pk}, which is not sealed yet, was sealed before: it was put in again."
        note(Fault("repeated", text, None, pk))


def check_lengths(size: int, most: int, note: Note) -> None:
    """Check that no tile holds more than the tree does: nothing can be sealed while one is in the
    way of what comes."""
    known, level, nodes = Q(), 0, size
    while nodes:
        first, (full, rest) = key_of(level, 0), divmod(nodes, WIDTH)
        known |= Q(pk__gte=first, pk__lt=first + full, length__lte=WIDTH * HASH)
        known |= Q(pk=first + full, length__lte=rest * HASH) if rest else Q()
        level, nodes = level + 1, full
    tiles: Any = Tile.objects.filter(pk__gte=0, pk__lt=BEYOND)
    measured = tiles.annotate(length=Coalesce(Length("hashes"), 0))
    for key in measured.exclude(known).order_by("pk").values_list("pk", flat=True)[:most]:
        level, index = place_of(int(key))
        text = f"The tile {index} of level {level} holds more than the tree does."
        note(Fault("tile", text, index * WIDTH ** (level + 1)))


def check_head(note: Note) -> None:
    """Check what a sealer goes by. It vouches for nothing, but nothing is sealed while it is
    wrong: so it comes last."""
    try:
        head, newest = read_sizes()
    except UNREADABLE as error:
        note(Fault("head", f"The head cannot be read, so nothing can be sealed: {error}"))
        return
    if head != newest:
        text = (
            f"The head says that {head} events are sealed, and the newest checkpoint {newest}: "
            "nothing can be sealed."
        )
        note(Fault("head", text))


def _as_text(field: str) -> Cast:
    # A value that somebody has spoiled must not keep the rest from being read.
    return Cast(field, models.TextField())


def _is_text(values: Sequence[Any]) -> bool:
    """Whether all of an event's values are text, as far as they are read as such."""
    try:
        "".join(it for it in values if isinstance(it, str)).encode()
    except UnicodeEncodeError:
        return False
    return True
