"""What staff do to deleted accounts, once they have confirmed it."""

from typing import Any

from accounts.models import User
from audit.events import Reference
from erasure.deleting import restore
from erasure.desk.forms import FinalForm, UndoForm
from erasure.desk.pages import Order
from erasure.desk.shown import label_subject, show_time, tell_requester
from erasure.desk.steps import Concern, Step, concern_of, tell_erased
from erasure.executor import erase_soon
from erasure.models import DeletionRequest
from erasure.subjects import get_kind


def label_user(user: Any) -> str:
    """Return how a user is offered for choosing and named on a confirmation page."""
    return label_subject("user", user)


def _foresee_erasure(user: User) -> Concern:
    return concern_of(Reference("user", user.pk), user.pk, label_user(user))


def _foresee_restore(user: User) -> Concern:
    deletion = DeletionRequest.objects.about(Reference("user", user.pk)).open().first()
    remarks = [f"Deleted on {show_time(user.deleted_at)}, by {tell_requester(deletion)}."]
    if deletion and not deletion.before.get("is_active", True):
        remarks.append("The account was locked before, and stays locked.")
    if against := get_kind("user").foresee_resume(user):
        remarks.append(f"This will be refused: {against}.")
    return Concern(user.pk, label_user(user), remarks)


def _restore(order: Order) -> str:
    restore(
        actor=order.actor,
        subject=Reference("user", order.id),
        now=order.now,
        reference=order.reference,
    )
    return "restored."


def _erase(order: Order) -> str:
    done = erase_soon(
        actor=order.actor,
        subject=Reference("user", order.id),
        now=order.now,
        plan_id=order.plan_id,
        planned=order.planned,
        reference=order.reference,
    )
    return tell_erased(done)


RESTORE = Step(
    slug="restore",
    permission="accounts.restore_user",
    title="Restore accounts",
    intro="The accounts come back as they were, with everything that belongs to them. API keys and "
    "sign-ins that ended with the deletion stay ended.",
    button="Restore",
    form=UndoForm,
    foresee=_foresee_restore,
    act=_restore,
)
ERASE = Step(
    slug="erase",
    permission="accounts.erase_user",
    title="Erase accounts now",
    intro="The accounts and everything listed below are removed from the database now, without "
    "waiting for the end of the grace period. Nobody can bring them back.",
    button="Erase now",
    form=FinalForm,
    foresee=_foresee_erasure,
    act=_erase,
    is_final=True,
)
