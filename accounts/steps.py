"""What staff do to deleted accounts, once they have confirmed it."""

from datetime import datetime
from uuid import UUID

from accounts.forms import CaseForm, FinalForm
from accounts.models import User
from accounts.services import erase_user_as_operator, restore_user
from accounts.staff import label_user, show_time, tell_requester, tell_rows
from accounts.staffpages import Concern, Step, concern_of
from audit.actors import Actor
from audit.events import Reference
from erasure.executor import preview
from erasure.models import DeletionRequest


def _foresee_erasure(user: User) -> Concern:
    plan = preview(Reference("user", user.pk))
    return concern_of(plan, user.pk, label_user(user))


def _foresee_restore(user: User) -> Concern:
    deletion = DeletionRequest.objects.about(Reference("user", user.pk)).open().first()
    remarks = [f"Deleted on {show_time(user.deleted_at)}, by {tell_requester(deletion)}."]
    if deletion and not deletion.before.get("is_active", True):
        remarks.append("The account was locked before, and stays locked.")
    return Concern(user.pk, label_user(user), remarks)


def _restore(actor: Actor, pk: UUID, reference: str, now: datetime) -> str:
    restore_user(actor=actor, user_id=pk, now=now, reference=reference)
    return "restored."


def _erase(actor: Actor, pk: UUID, reference: str, now: datetime) -> str:
    done = erase_user_as_operator(
        actor=actor, user_id=pk, now=now, reference=reference, only_deleted=True
    )
    return f"erased for ever: {tell_rows(done.counts)}."


RESTORE = Step(
    slug="restore",
    permission="accounts.restore_user",
    title="Restore accounts",
    intro="The accounts come back as they were, with everything that belongs to them. API keys and "
    "sign-ins that ended with the deletion stay ended.",
    button="Restore",
    form=CaseForm,
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
