"""The residual search after an erasure, and its result in the receipt.

What identifies a subject is taken before its row goes and held in memory only. What is stored of
a search are numbers, its time and what could not be searched; never an identifier.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure import receipts
from erasure.models import DeletionRequest
from erasure.needles import SHORTEST
from erasure.residue import Findings, Progress, search
from erasure.subjects import SubjectKind, get_kind

Sought = Mapping[Reference, list[str]]
"""What to look for, by the subject that it is of."""

LIMIT = 100_000
"""Places of one search that are held in memory."""

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


def record_search(
    request: DeletionRequest, findings: Findings, *, actor: Actor, now: datetime
) -> None:
    """Write the result of a residual search into a finished deletion and sign its receipt anew,
    in a transaction of its own. A later search takes the place of an earlier one.

    Raises ReceiptMissing when there is no receipt, and InvalidReceipt when the row is no longer
    what was signed: signing it would make the change look genuine.
    """
    result = describe(findings, now=now)
    with transaction.atomic(durable=True):
        locked = DeletionRequest.objects.select_for_update().get(pk=request.pk)
        receipts.forbid_changed(locked)
        locked.searched = result
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
            for row in kind.model._default_manager.filter(pk__in=pks).order_by("pk"):
                yield Reference(name, kind.id_of(row.pk)), _identify(kind, row)


def _identify(kind: SubjectKind, row: Any) -> list[str]:
    named = [text.strip() for text in kind.identifiers(row)]
    texts = [str(kind.id_of(row.pk)), *(text for text in named if len(text) >= SHORTEST)]
    return list(dict.fromkeys(texts))


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
