"""What staff do to a deletion, from its own page or from the list, once they have confirmed it."""

from collections.abc import Callable
from typing import Any

from django.utils import timezone

from erasure import holds
from erasure.deleting import restore
from erasure.desk.forms import FinalForm, PlainForm, ReasonForm, UndoForm
from erasure.desk.pages import Order
from erasure.desk.shown import show_day, show_id, show_time, tell_next, tell_requester
from erasure.desk.steps import Concern, Step, concern_of, tell_erased
from erasure.executor import erase_soon
from erasure.holds import place_hold, release_hold
from erasure.models import DeletionRequest, LegalHold
from erasure.refusals import put_into_words
from erasure.retrying import NotFailed, retry_failed
from erasure.rights import right_to_erase, right_to_restore
from erasure.subjects import SubjectKind, get_kind

put_into_words({NotFailed: "it has not failed, or not any more"})

RIGHTS: dict[str, Callable[[SubjectKind], str]] = {
    "restore": right_to_restore,
    "erase": right_to_erase,
    "retry": right_to_erase,
}
"""The steps whose permission depends on the kind of subject."""


def name_of(request: Any) -> str:
    """Return whom a request is about: the name that the page attached, or the id."""
    return getattr(request, "living", "") or show_id(request.subject_kind, request.subject_id)


def _find(order: Order) -> DeletionRequest:
    found: DeletionRequest = DeletionRequest.objects.get(pk=order.id)
    return found


def _foresee_restore(request: DeletionRequest) -> Concern:
    kind = get_kind(request.subject_kind)
    row = kind.model._default_manager.filter(pk=kind.pk_of(request.subject_id)).first()
    asked = f"Asked for on {show_time(request.requested_at)}, by {tell_requester(request)}."
    remarks = [asked]
    if row is None:
        remarks.append("It is gone already. This will be refused.")
    elif against := kind.foresee_resume(row):
        remarks.append(f"This will be refused: {against}.")
    if not request.before.get("is_active", True):
        remarks.append("It was locked before, and stays locked.")
    if taker := DeletionRequest.objects.open().filter(pk=request.cause_id).first():
        name = show_id(taker.subject_kind, taker.subject_id)
        remarks.append(f"This will be refused: it comes back with {name} only.")
    along = DeletionRequest.objects.filter(cause_id=request.pk, state="scheduled").count()
    if along:
        remarks.append(f"With it come back those who went along: {along}.")
    return Concern(request.pk, name_of(request), remarks)


def _restore(order: Order) -> str:
    request = _find(order)
    restore(
        actor=order.actor,
        subject=request.subject,
        now=order.now,
        reference=order.reference,
        deletion_id=request.pk,
    )
    return "restored."


def _foresee_erasure(request: DeletionRequest) -> Concern:
    return concern_of(request.subject, request.pk, name_of(request))


def _erase(order: Order) -> str:
    done = erase_soon(
        actor=order.actor,
        subject=_find(order).subject,
        now=order.now,
        plan_id=order.plan_id,
        planned=order.planned,
        reference=order.reference,
    )
    return tell_erased(done)


def _foresee_hold(request: DeletionRequest) -> Concern:
    remarks = [f"Without a hold: {tell_next(request, held=False, now=timezone.now())}."]
    if standing := LegalHold.objects.active().on(request.subject).count():
        remarks.append(f"Holds that stand on it already: {standing}.")
    return Concern(request.pk, name_of(request), remarks)


def _hold(order: Order) -> str:
    place_hold(
        actor=order.actor,
        subject=_find(order).subject,
        reason=order.data["reason"],
        review_at=order.data["review_at"],
        now=order.now,
    )
    return f"held, to be looked at again on {order.data['review_at']:%-d %b %Y}."


def _foresee_release(request: DeletionRequest) -> Concern:
    standing = LegalHold.objects.active().on(request.subject)
    remarks = [f"Placed on {show_time(hold.placed_at)}: {hold.reason}" for hold in standing]
    after = tell_next(request, held=False, now=timezone.now())
    return Concern(request.pk, name_of(request), [*remarks, f"What happens next: {after}."])


def _release(order: Order) -> str:
    subject = _find(order).subject
    standing = LegalHold.objects.active().on(subject).values_list("pk", flat=True)
    ended = [
        pk for pk in list(standing) if release_hold(actor=order.actor, hold_id=pk, now=order.now)
    ]
    return f"{len(ended)} hold{'s' if len(ended) != 1 else ''} released."


def _foresee_retry(request: DeletionRequest) -> Concern:
    remarks = [f"It failed with: {request.last_error}."]
    if request.retry_at:
        remarks.append(f"Without you it is tried again at {show_time(request.retry_at)}.")
    return Concern(request.pk, name_of(request), remarks)


def _retry(order: Order) -> str:
    retry_failed(actor=order.actor, deletion_id=order.id, now=order.now)
    return "the next purge tries it again."


RESTORE = Step(
    slug="restore",
    permission="",
    title="Restore",
    intro="What this deletion took comes back as it was. API keys and sign-ins that ended with it "
    "stay ended.",
    button="Restore",
    form=UndoForm,
    foresee=_foresee_restore,
    act=_restore,
)
HOLD = Step(
    slug="hold",
    permission=holds.PLACE,
    title="Place a legal hold",
    intro="Nothing is erased while a hold stands. Access stays ended.",
    button="Place hold",
    form=ReasonForm,
    foresee=_foresee_hold,
    act=_hold,
)
RELEASE = Step(
    slug="release",
    permission=holds.RELEASE,
    title="Release legal holds",
    intro="Every hold on the subject ends. Without one, what is due is erased by the next purge.",
    button="Release hold",
    form=PlainForm,
    foresee=_foresee_release,
    act=_release,
)
RETRY = Step(
    slug="retry",
    permission="",
    title="Try again",
    intro="The next purge takes it up at once.",
    button="Retry",
    form=PlainForm,
    foresee=_foresee_retry,
    act=_retry,
)
ERASE = Step(
    slug="erase",
    permission="",
    title="Erase now",
    intro="Everything listed below is removed from the database now, without waiting for the end "
    "of the grace period. Nobody can bring it back.",
    button="Erase now",
    form=FinalForm,
    foresee=_foresee_erasure,
    act=_erase,
    is_final=True,
)


def fits(request: Any, step: Step, slug: str) -> bool:
    """Whether a step makes sense for a request that lies in a view, by the view's slug."""
    now = timezone.now()
    is_open = request.state in DeletionRequest.OPEN
    fitting: dict[str, bool] = {
        "restore": request.state == "scheduled" and request.due_at > now,
        "hold": is_open and slug != "running",
        "release": is_open and bool(request.held),
        "retry": request.state == "failed" and not request.held,
        "erase": is_open and not request.held and slug != "running",
    }
    return fitting[step.slug]


def show_when(request: DeletionRequest) -> str:
    """Return the day that matters: of the erasure to come, or of the end."""
    return show_day(request.finished_at or request.due_at)
