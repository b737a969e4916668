"""Whether what would happen now is what somebody looked at and approved."""

from audit.events import Reference
from erasure.exceptions import PlanDrifted
from erasure.models import DeletionRequest
from erasure.planner import Plan, has_drifted, make_plan

UNKNOWN = "The plan that was named is not what would happen now."


def approve(subject: Reference, plan_id: str) -> Plan:
    """Return the plan of this moment if it is the one that was named, or differs from it in
    nothing material.

    A plan is known by its id alone, unless the subject's deletion was scheduled under it: then it
    was written down, and the two are compared. Raises SubjectNotFound or PlanDrifted.
    """
    plan = make_plan(subject)
    if plan.id == plan_id:
        return plan
    seen = DeletionRequest.objects.about(subject).open().filter(plan_id=plan_id).first()
    drift = has_drifted(seen.planned, plan) if seen and seen.planned else [UNKNOWN]
    if drift:
        raise PlanDrifted(drift)
    return plan
