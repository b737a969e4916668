"""What the receipt of a subject says of those who were erased along with it."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any
from uuid import UUID

from audit.events import Reference
from erasure.models import DeletionRequest


def tell_along(erased: Iterable[tuple[Reference, UUID]]) -> dict[str, Any]:
    """Return how many of each kind were erased along with a subject, and the digest of their lines;
    empty when nobody was.

    A line is ``kind:id deletion`` and ends with a line feed; lines are sorted. Each of them has a
    receipt of its own, whose ``sub`` and ``jti`` make the line; so whoever holds those can show
    that a subject was among them, and that none was left out.
    """
    lines = ((one.kind, f"{one.kind}:{one.id} {deletion}\n") for one, deletion in erased)
    return _digest(sorted(lines, key=lambda line: line[1]))


def read_along(deletion_id: UUID) -> dict[str, Any]:
    """Return the same of the finished deletions that name this one as their cause."""
    rows = DeletionRequest.objects.filter(
        cause_id=deletion_id, state=DeletionRequest.State.COMPLETED
    )
    kinds = rows.order_by().values_list("subject_kind", flat=True).distinct()
    return _digest(
        (kind, f"{kind}:{pk} {deletion}\n")
        # As lines are sorted, in which a colon follows the kind. Ids sort as their texts do.
        for kind in sorted(kinds, key=lambda name: f"{name}:")
        for pk, deletion in rows.filter(subject_kind=kind)
        .order_by("subject_id", "pk")
        .values_list("subject_id", "pk")
        .iterator()
    )


def _digest(lines: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return the counts and the digest of sorted lines, one at a time, with their kinds."""
    counts: dict[str, int] = {}
    digest = sha256()
    for kind, line in lines:
        counts[kind] = counts.get(kind, 0) + 1
        digest.update(line.encode())
    return {**counts, "sha256": digest.hexdigest()} if counts else {}
