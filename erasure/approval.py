"""Whether what would happen now is what somebody looked at and approved."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from audit.events import Reference
from erasure.exceptions import PlanDrifted
from erasure.models import DeletionRequest
from erasure.planner import Plan, has_drifted, make_plan
from erasure.planner import plan_id as name_plan

UNKNOWN = "The plan that was named is not what would happen now."


def approve(subject: Reference, plan_id: str, *, record: Mapping[str, Any] | None = None) -> Plan:
    """Return the plan of this moment if it is the one that was named, or differs from it in
    nothing material.

    Without its ``record`` a plan is known by its id alone, unless the subject's deletion was
    scheduled under it: then it was written down. Raises SubjectNotFound or PlanDrifted.
    """
    plan = make_plan(subject)
    if plan.id == plan_id:
        return plan
    seen = record if record and name_plan(record) == plan_id else _find_record(subject, plan_id)
    drift = has_drifted(seen, plan) if seen and _subject_of(seen) == subject else [UNKNOWN]
    if drift:
        raise PlanDrifted(drift)
    return plan


def _find_record(subject: Reference, plan_id: str) -> Mapping[str, Any] | None:
    seen = DeletionRequest.objects.about(subject).open().filter(plan_id=plan_id).first()
    return seen.planned if seen else None


def _subject_of(record: Mapping[str, Any]) -> Reference | None:
    found = record.get("subject")
    return Reference(found["kind"], UUID(found["id"])) if found else None
