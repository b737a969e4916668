"""What staff do to organizations, once they have confirmed it."""

from audit.events import Reference
from erasure.deleting import restore
from erasure.desk.forms import FinalForm, UndoForm
from erasure.desk.pages import Order
from erasure.desk.shown import label_subject, show_time, tell_requester
from erasure.desk.steps import Concern, Step, concern_of, tell_erased
from erasure.executor import erase_soon
from erasure.models import DeletionRequest
from erasure.subjects import get_kind
from organizations.models import Organization


def _foresee_teardown(organization: Organization) -> Concern:
    subject = Reference("organization", organization.pk)
    name = label_subject("organization", organization)
    return concern_of(subject, organization.pk, name)


def _foresee_restore(organization: Organization) -> Concern:
    about = Reference("organization", organization.pk)
    deletion = DeletionRequest.objects.about(about).open().first()
    remarks = [f"Deleted on {show_time(organization.deleted_at)}, by {tell_requester(deletion)}."]
    if against := get_kind("organization").foresee_resume(organization):
        remarks.append(f"This will be refused: {against}.")
    return Concern(organization.pk, label_subject("organization", organization), remarks)


def _tear_down(order: Order) -> str:
    done = erase_soon(
        actor=order.actor,
        subject=Reference("organization", order.id),
        now=order.now,
        plan_id=order.plan_id,
        planned=order.planned,
        reference=order.reference,
    )
    return tell_erased(done, "torn down")


def _restore(order: Order) -> str:
    restore(
        actor=order.actor,
        subject=Reference("organization", order.id),
        now=order.now,
        reference=order.reference,
    )
    return "restored."


RESTORE = Step(
    slug="restore",
    permission="organizations.restore_organization",
    title="Restore organizations",
    intro="The organizations come back as they were, with their members and with the managed users "
    "that went along. API keys that ended with the deletion stay ended.",
    button="Restore",
    form=UndoForm,
    foresee=_foresee_restore,
    act=_restore,
)
TEARDOWN = Step(
    slug="teardown",
    permission="organizations.teardown_organization",
    title="Tear down organizations",
    intro="The organizations and everything listed below are removed from the database now. "
    "Members keep their own accounts. Nobody can bring the organizations back.",
    button="Tear down",
    form=FinalForm,
    foresee=_foresee_teardown,
    act=_tear_down,
    is_final=True,
)
