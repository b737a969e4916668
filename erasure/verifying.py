"""The residual search after an erasure, and its result in the receipt.

What identifies a subject is taken before its row goes and held in memory only. What is stored of
a search are numbers, its time and what could not be searched; never an identifier.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure import receipts
from erasure.models import DeletionRequest
from erasure.needles import SHORTEST
from erasure.residue import Findings, Hit, Progress, search
from erasure.signing import InvalidReceipt
from erasure.subjects import SubjectKind, get_kind

logger = logging.getLogger("sexton.erasure")

Sought = Mapping[Reference, list[str]]
"""What to look for, by the subject that it is of."""

LIMIT = 100_000
"""Places of one search that are held in memory."""

LISTED = 100
"""Hits that a run lists; it counts them all."""

TOGETHER = 100
"""Results that one transaction writes."""

PAGE = 500
"""Ids in one query; SQLite takes no more than some thousand values."""


def take_identifiers(subject: Reference) -> Sought:
    """Return what a search is to look for after the erasure of a subject and its companions."""
    companions = get_kind(subject.kind).companions([subject.id]).get(subject.id, ())
    return dict(_take([subject, *companions]))


def search_erased(
    sought: Sought,
    *,
    actor: Actor,
    since: datetime,
    now: datetime,
    on_progress: Progress | None = None,
) -> Findings:
    """Search once for all subjects that were erased since a moment, let each one's receipt state
    its own part, and return the whole.

    A subject that was not erased is not searched for: it is there by right. Raises InvalidReceipt
    or ReceiptMissing.
    """
    requests = _find_requests(sought, since)
    needles = [text for subject in requests for text in sought[subject]]
    found = search(needles, limit=LIMIT, on_progress=on_progress)
    first = 0
    for subject, request in requests.items():
        number = len(sought[subject])
        record_search(request, found.about(first, number), actor=actor, now=now)
        first += number
    return found


@dataclass
class Residue:
    """What the searches of one run found. ``left`` counts the hits by deletion, and ``listed`` are
    the first of them; ``missed`` is the number of subjects that were not searched for."""

    subjects: int = 0
    identifiers: int = 0
    hits: int = 0
    left: dict[UUID, int] = field(default_factory=dict)
    listed: list[tuple[UUID, Hit]] = field(default_factory=list)
    not_searched: list[str] = field(default_factory=list)
    missed: int = 0

    def take(self, deletion_id: UUID, found: Findings) -> None:
        """Count what was found of one subject."""
        self.subjects += 1
        self.identifiers += found.identifiers
        if found:
            self.hits += len(found)
            self.left[deletion_id] = len(found)
            room = max(LISTED - len(self.listed), 0)
            self.listed += [(deletion_id, hit) for hit in found.hits[:room]]
        self.not_searched = list(dict.fromkeys([*self.not_searched, *not_searched(found)]))


def search_batch(
    sought: Mapping[UUID, Sequence[str]],
    residue: Residue,
    *,
    actor: Actor,
    now: datetime,
    on_progress: Progress | None = None,
) -> None:
    """Search in one pass for the subjects of many finished deletions, let each one's receipt state
    its own part, and add it to ``residue``.

    One whose receipt is no longer genuine keeps what it says, and is counted as missed.
    """
    needles = [text for texts in sought.values() for text in texts]
    found = search(needles, limit=LIMIT, on_progress=on_progress)
    parts: dict[UUID, Findings] = {}
    first = 0
    for deletion_id, texts in sought.items():
        parts[deletion_id] = found.about(first, len(texts))
        first += len(texts)
    ids = sorted(parts)
    for start in range(0, len(ids), TOGETHER):
        some = ids[start : start + TOGETHER]
        written: list[UUID] = []
        with transaction.atomic(durable=True):
            rows = DeletionRequest.objects.select_for_update().filter(pk__in=some)
            for row in rows.order_by("pk"):
                try:
                    _write_result(row, parts[row.pk], actor=actor, now=now)
                except (receipts.ReceiptMissing, InvalidReceipt):
                    logger.warning("a receipt is not genuine", extra={"deletion": str(row.pk)})
                else:
                    written.append(row.pk)
        for deletion_id in written:
            residue.take(deletion_id, parts[deletion_id])
        residue.missed += len(some) - len(written)


def record_search(
    request: DeletionRequest, findings: Findings, *, actor: Actor, now: datetime
) -> None:
    """Write the result of a residual search into a finished deletion and sign its receipt anew,
    in a transaction of its own. A later search takes the place of an earlier one.

    Raises ReceiptMissing when there is no receipt, and InvalidReceipt when the row is no longer
    what was signed: signing it would make the change look genuine.
    """
    with transaction.atomic(durable=True):
        locked = DeletionRequest.objects.select_for_update().get(pk=request.pk)
        _write_result(locked, findings, actor=actor, now=now)


def _write_result(
    locked: DeletionRequest, findings: Findings, *, actor: Actor, now: datetime
) -> None:
    receipts.forbid_changed(locked)
    locked.searched = result = describe(findings, now=now)
    locked.save(update_fields=["searched"])
    receipts.sign_again(locked)
    record(
        f"{locked.subject_kind}.searched",
        actor=actor,
        subject=locked.subject,
        now=now,
        organization_id=locked.organization_id,
        facts={
            "deletion": str(locked.pk),
            "identifiers": result["identifiers"],
            "hits": result["hits"],
            "not_searched": len(result["not_searched"]),
        },
        outcome="failed" if findings else "done",
    )


def describe(findings: Findings, *, now: datetime) -> dict[str, Any]:
    """Return what a receipt says of a search."""
    return {
        "at": now.isoformat(),
        "identifiers": findings.identifiers,
        "hits": len(findings),
        "not_searched": not_searched(findings),
    }


def not_searched(findings: Findings) -> list[str]:
    """Return in words what a search did not look into."""
    cut = ["whatever comes after the hits that a search lists at most"] if findings.is_cut else []
    return [*dict.fromkeys(findings.unsearched), *cut]


def _take(subjects: Iterable[Reference]) -> Iterable[tuple[Reference, list[str]]]:
    by_kind: dict[str, list[Reference]] = {}
    for one in subjects:
        by_kind.setdefault(one.kind, []).append(one)
    for name, family in by_kind.items():
        kind = get_kind(name)
        for start in range(0, len(family), PAGE):
            pks = [kind.pk_of(one.id) for one in family[start : start + PAGE]]
            rows = kind.model._default_manager.filter(pk__in=pks).order_by("pk")
            for pk, texts in identify(kind, list(rows)).items():
                yield Reference(name, pk), list(texts)


def identify(kind: SubjectKind, rows: Sequence[Any]) -> dict[UUID, tuple[str, ...]]:
    """Return what to look for of each of these subjects once they are gone, by id: the id itself
    and what their kind names."""
    found = {}
    for row, named in zip(rows, kind.identify(rows), strict=True):
        stripped = (text.strip() for text in named)
        texts = [str(kind.id_of(row.pk)), *(one for one in stripped if len(one) >= SHORTEST)]
        found[kind.id_of(row.pk)] = tuple(dict.fromkeys(texts))
    return found


def _find_requests(sought: Sought, since: datetime) -> dict[Reference, DeletionRequest]:
    """Return the deletions by which subjects were erased since a moment, those without left out."""
    ids = [one.id for one in sought]
    found: dict[Reference, DeletionRequest] = {}
    for start in range(0, len(ids), PAGE):
        rows = DeletionRequest.objects.filter(
            subject_id__in=ids[start : start + PAGE],
            state=DeletionRequest.State.COMPLETED,
            finished_at__gte=since,
        )
        found |= {row.subject: row for row in rows.order_by("finished_at")}
    return {subject: found[subject] for subject in sought if subject in found}
