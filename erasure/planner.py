"""What an erasure would do, counted and not touched.

A dry run, the staff's confirmation page, the API's preview and the real run render the same plan.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from audit.events import Reference
from erasure.counting import count_rows
from erasure.exceptions import SubjectNotFound
from erasure.models import LegalHold
from erasure.policies import Keep
from erasure.references import spell
from erasure.subjects import Affected, Blocker, Effect, get_kind

NOTICEABLE_ROWS, NOTICEABLE_SHARE = 10, 0.1


@dataclass(frozen=True)
class KeptRows:
    """Rows that stay as they are. ``rows`` is None where counting them would read a whole table:
    there may be some, for the table is not empty."""

    label: str
    rows: int | None
    because: str
    basis: str
    retention_days: int | None


@dataclass(frozen=True)
class HoldFacts:
    """A legal hold that stands on the subject."""

    id: UUID
    reason: str
    placed_at: datetime
    review_at: date | None


@dataclass(frozen=True)
class Plan:
    """``removed``, ``detached`` and ``anonymised`` map a model's label to a number of rows, those
    of companions included. With ``capped`` each number means "at least"."""

    subject: Reference
    removed: dict[str, int]
    detached: dict[str, int]
    anonymised: dict[str, int]
    kept: tuple[KeptRows, ...]
    capped: bool
    blockers: tuple[Blocker, ...]
    holds: tuple[HoldFacts, ...]
    affected: tuple[Affected, ...]
    effects: tuple[Effect, ...]
    companions: tuple[Reference, ...]

    @property
    def total(self) -> int:
        return sum(self.removed.values())

    @property
    def stays(self) -> list[KeptRows]:
        """What is kept and exists, or may exist, for whoever is shown the plan."""
        return [one for one in self.kept if one.rows != 0]

    @property
    def held(self) -> bool:
        return bool(self.holds)

    @cached_property
    def id(self) -> str:
        """The digest of what is material: the same rows and obstacles have the same id."""
        return plan_id(self.as_record())

    def as_record(self) -> dict[str, Any]:
        """Return what may be stored with a request: counts, codes and ids, nobody's name."""
        return {
            "subject": {"kind": self.subject.kind, "id": str(self.subject.id)},
            "removed": self.removed,
            "detached": self.detached,
            "anonymised": self.anonymised,
            "kept": sorted({one.label for one in self.kept}),
            "capped": self.capped,
            "blockers": sorted(one.code for one in self.blockers),
            "holds": sorted(str(one.id) for one in self.holds),
            "companions": sorted(str(one.id) for one in self.companions),
        }

    def as_facts(self) -> dict[str, Any]:
        """Return everything, ready for JSON, to be shown: it holds names. Store ``as_record``."""
        return {
            "id": self.id,
            "subject": {"kind": self.subject.kind, "id": spell(self.subject)},
            "removed": self.removed,
            "detached": self.detached,
            "anonymised": self.anonymised,
            "kept": [vars(one) for one in self.stays],
            "capped": self.capped,
            "blockers": [
                {"code": one.code, "text": one.text, "facts": dict(one.facts)}
                for one in self.blockers
            ],
            "holds": [
                {
                    "id": str(one.id),
                    "reason": one.reason,
                    "placed_at": one.placed_at.isoformat(),
                    "review_at": one.review_at.isoformat() if one.review_at else None,
                }
                for one in self.holds
            ],
            "affected": [
                {
                    "kind": one.subject.kind,
                    "id": spell(one.subject),
                    "name": one.name,
                    "effect": one.effect,
                }
                for one in self.affected
            ],
            "effects": [{"system": one.system, "text": one.text} for one in self.effects],
            "companions": [{"kind": one.kind, "id": spell(one)} for one in self.companions],
        }


def make_plan(subject: Reference, *, cap: int | None = None) -> Plan:
    """Return what an erasure of a subject would do now. Reads only; raises SubjectNotFound.

    All rows are counted by one statement, hence at one moment. ``cap`` bounds each count, for
    subjects whose exact numbers nobody wants to wait for.
    """
    kind = get_kind(subject.kind)
    if not kind.model._base_manager.filter(pk=kind.pk_of(subject.id)).exists():
        raise SubjectNotFound(subject.kind)
    companions = kind.companions([subject.id]).get(subject.id, [])
    family: dict[str, list[UUID]] = {subject.kind: [subject.id]}
    for one in companions:
        family.setdefault(one.kind, []).append(one.id)
    counted = count_rows(family, cap=cap, probes=True)
    return Plan(
        subject=subject,
        removed=counted.removed,
        detached=counted.detached,
        anonymised=counted.anonymised,
        kept=tuple(_describe_kept(label, fate, rows) for label, fate, rows in counted.kept),
        capped=counted.capped,
        blockers=tuple(kind.blockers([subject.id]).get(subject.id, ())),
        holds=_find_holds([subject, *companions]),
        affected=tuple(kind.affected(subject.id)),
        effects=tuple(kind.effects(subject.id)),
        companions=tuple(companions),
    )


def plan_id(record: Mapping[str, Any]) -> str:
    """Return the id of a plan, given its record."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return f"plan_{hashlib.sha256(text.encode()).hexdigest()}"


def has_drifted(before: Mapping[str, Any], now: Plan) -> list[str]:
    """Return in words how a plan has grown since somebody saw it; empty when it has not.

    ``before`` is that plan's record or its facts. A model, blocker, hold or companion that was not
    there is drift, and so is a count that grew by more than a tenth and more than ten rows. Fewer
    rows are none.
    """
    then = _read_record(before)
    current = now.as_record()
    drift: list[str] = []
    for part in ("removed", "detached", "anonymised"):
        for label, rows in current[part].items():
            planned = then[part].get(label)
            if planned is None:
                drift.append(f"{label}: {rows} rows to be {part}, none was planned")
            elif rows - planned > max(NOTICEABLE_ROWS, planned * NOTICEABLE_SHARE):
                drift.append(f"{label}: {rows} rows to be {part}, {planned} were planned")
    for part, word in (("blockers", "blocker"), ("holds", "hold"), ("companions", "companion")):
        drift += [f"new {word}: {one}" for one in current[part] if one not in then[part]]
    return drift


def _read_record(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the material parts of a plan's record or facts in one form."""
    from erasure.references import read

    def name(part: str, one: Any) -> str:
        if isinstance(one, str):
            return one
        if part == "blockers":
            return str(one["code"])
        found = read(one["id"], one["kind"]) if part == "companions" else None
        return str(found.id if found else one["id"])

    parts: Sequence[str] = ("blockers", "holds", "companions")
    return {
        **{part: plan.get(part, {}) for part in ("removed", "detached", "anonymised")},
        **{part: {name(part, one) for one in plan.get(part, ())} for part in parts},
    }


def _describe_kept(label: str, fate: Keep, rows: int | None) -> KeptRows:
    days = fate.retention.days if fate.retention else None
    return KeptRows(label, rows, fate.because, fate.basis, days)


def _find_holds(subjects: Sequence[Reference]) -> tuple[HoldFacts, ...]:
    by_kind: dict[str, list[UUID]] = {}
    for one in subjects:
        by_kind.setdefault(one.kind, []).append(one.id)
    found: list[HoldFacts] = []
    for kind, ids in by_kind.items():
        holds = LegalHold.objects.active().filter(subject_kind=kind, subject_id__in=ids)
        found += [
            HoldFacts(one.pk, one.reason, one.placed_at, one.review_at)
            for one in holds.order_by("placed_at", "pk")
        ]
    return tuple(found)
