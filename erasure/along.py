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
    lines = sorted(f"{subject.kind}:{subject.id} {deletion}\n" for subject, deletion in erased)
    if not lines:
        return {}
    counts: dict[str, int] = {}
    for line in lines:
        kind = line.partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
    return {**counts, "sha256": sha256("".join(lines).encode()).hexdigest()}


def read_along(deletion_id: UUID) -> dict[str, Any]:
    """Return the same of the finished deletions that name this one as their cause."""
    rows = DeletionRequest.objects.filter(
        cause_id=deletion_id, state=DeletionRequest.State.COMPLETED
    )
    found = rows.order_by().values_list("subject_kind", "subject_id", "pk").iterator()
    return tell_along((Reference(kind, pk), deletion) for kind, pk, deletion in found)
