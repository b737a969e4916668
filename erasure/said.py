"""What the pages behind mailed links say: every state of a deletion, in plain words."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.apps import apps
from django.utils import timezone
from django.utils.formats import date_format

from erasure import links
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from erasure.progress import next_step
from erasure.requests import find_taker
from erasure.subjects import SubjectKind, get_kind

ROW_CAP = 1000
"""Rows of a model that a page counts at most, so that it answers at once."""


@dataclass(frozen=True)
class Said:
    """What a page says: a title, paragraphs, facts, and whether it offers to restore."""

    title: str
    paragraphs: list[str]
    status: int = 200
    facts: list[tuple[str, str]] = field(default_factory=list)
    can_restore: bool = False
    receipt: str = ""


INVALID = Said(
    "This link is not valid",
    ["It may have been cut off in the message. Copy all of it, or use the newest message."],
    404,
)
NO_RECEIPT = "A receipt is written when the erasure is finished."
STAYS_DEAD = "Sign-ins and API keys that ended with the deletion stay ended."


def describe_restore(deletion: Any, now: datetime) -> Said:
    """Say what the link can do now. Asked before a restore, and after one that was refused."""
    kind = get_kind(deletion.subject_kind)
    noun = kind.noun or str(kind.model._meta.verbose_name)
    if deletion.state == DeletionRequest.State.CANCELLED:
        return _say_restored(deletion, noun)
    if deletion.state == DeletionRequest.State.COMPLETED:
        when = _show_time(deletion.finished_at)
        text = f"The {noun} was erased for ever on {when}. Nobody can bring it back."
        return Said(f"The {noun} is erased", [text], 410)
    if deletion.state != DeletionRequest.State.SCHEDULED:
        text = "The erasure has begun, and what it has removed cannot be brought back."
        return Said(f"The {noun} is being erased", [text], 410)
    if deletion.due_at <= now:
        return _say_expired(deletion, noun)
    if (taker := find_taker(deletion)) is not None:
        return _say_taken_along(deletion, taker, noun)
    row = _row_of(kind, deletion)
    if row is None:
        return Said(f"The {noun} is gone", ["There is nothing left to restore."], 410)
    if hindrance := kind.foresee_resume(row):
        return _say_hindered(noun, hindrance)
    return Said(
        title=f"Restore this {noun}?",
        paragraphs=[
            f"It was deleted on {_show_time(deletion.requested_at)} and will be erased for ever "
            f"on {_show_time(deletion.due_at)}.",
            f"If you restore it, everything comes back as it was. {STAYS_DEAD}",
        ],
        facts=[(noun.capitalize(), kind.label(row)), *_foresee(deletion)],
        can_restore=True,
    )


def _foresee(deletion: DeletionRequest) -> list[tuple[str, str]]:
    """Say what comes back, counted up to a cap so that the page answers at once."""
    plan = make_plan(deletion.subject, cap=ROW_CAP)
    rows = ", ".join(f"{count} {_name_rows(label, count)}" for label, count in plan.removed.items())
    facts = [("Comes back", f"at least {rows}" if plan.capped else rows)]
    # What was deleted along with the subject without being part of it: a leaver's organization.
    scheduled = DeletionRequest.objects.filter(
        cause_id=deletion.pk, state=DeletionRequest.State.SCHEDULED
    )
    part = [one.id for one in plan.companions]
    kinds = Counter(scheduled.exclude(subject_id__in=part).values_list("subject_kind", flat=True))
    along = ", ".join(
        f"{count} {_name_rows(get_kind(kind).model_label, count)}" for kind, count in kinds.items()
    )
    return [*facts, ("And with it", along)] if along else facts


def _name_rows(label: str, count: int) -> str:
    options = apps.get_model(label)._meta
    return str(options.verbose_name if count == 1 else options.verbose_name_plural)


def explain_refusal(deletion: Any, now: datetime) -> Said:
    """Say why a restore was refused, from what the database holds by now."""
    deletion = DeletionRequest.objects.with_hold().get(pk=deletion.pk)
    said = describe_restore(deletion, now)
    if not said.can_restore:
        return said
    # Nothing that could be foreseen: somebody took a name between the look and the write.
    kind = get_kind(deletion.subject_kind)
    noun = kind.noun or str(kind.model._meta.verbose_name)
    return _say_hindered(noun, "Somebody else bears its name by now")


def _say_restored(deletion: DeletionRequest, noun: str) -> Said:
    when = _show_time(deletion.finished_at)
    text = f"The {noun} was restored on {when}, and nothing will be erased. {STAYS_DEAD}"
    paragraphs = [text]
    newer = DeletionRequest.objects.about(deletion.subject).open()
    if newer.filter(generation__gt=deletion.generation).exists():
        paragraphs = [
            text.replace(", and nothing will be erased", ""),
            "It was deleted again since. Use the link in the newest message.",
        ]
    return Said(f"The {noun} is restored", paragraphs)


def _say_expired(deletion: Any, noun: str) -> Said:
    paragraphs = [
        f"The {noun} could be restored until {_show_time(deletion.due_at)}. Now its data is due "
        "to be erased."
    ]
    if deletion.held:
        paragraphs = [
            f"The {noun} could be restored until {_show_time(deletion.due_at)}. A legal hold keeps "
            "its data from being erased for now; it does not open the account again.",
            "If you need the data, write to us.",
        ]
    return Said("The time to restore is over", paragraphs, 410)


def _say_taken_along(deletion: DeletionRequest, taker: DeletionRequest, noun: str) -> Said:
    other = get_kind(taker.subject_kind)
    name = other.noun or str(other.model._meta.verbose_name)
    text = (
        f"It was deleted along with the {name} that it belongs to. When that is restored, before "
        f"{_show_time(taker.due_at)}, the {noun} comes back with it."
    )
    return Said(f"The {noun} cannot be restored alone", [text], 409)


def _say_hindered(noun: str, hindrance: str) -> Said:
    return Said(
        f"The {noun} cannot be restored as it is",
        [
            f"{hindrance.rstrip('.')}.",
            "Nothing was changed. Write to us before the time to restore is over, and we will "
            "find a way.",
        ],
        409,
    )


def tell_progress(deletion: Any, now: datetime) -> Said:
    kind = get_kind(deletion.subject_kind)
    noun = kind.noun or str(kind.model._meta.verbose_name)
    step, at = next_step(deletion, held=deletion.held, now=now)
    told = {
        "nothing": "Nothing more will happen.",
        "running": "It is being erased right now.",
        "held": "A legal hold keeps the data for now. The erasure follows when it ends.",
        "erase": "The data is erased by the next run."
        if at and at <= now
        else f"The data is erased for ever on {_show_time(at)}.",
        "retry": "An attempt failed. It is tried again by itself.",
    }[step]
    title = {
        "completed": f"The {noun} is erased",
        "cancelled": f"The {noun} is restored",
    }.get(deletion.state, f"The {noun} is deleted")
    facts = [
        ("Deletion", links.spell_deletion(deletion.pk)),
        ("Asked for", _show_time(deletion.requested_at)),
        ("State", str(deletion.get_state_display()).lower()),
    ]
    if deletion.finished_at:
        facts.append(("Ended", _show_time(deletion.finished_at)))
    if deletion.counts:
        facts.append(("Rows removed", str(sum(deletion.counts.values()))))
    is_signed = deletion.state == DeletionRequest.State.COMPLETED and bool(deletion.signature)
    return Said(title, [told], facts=facts, receipt="signed" if is_signed else "")


def _row_of(kind: SubjectKind, deletion: DeletionRequest) -> Any:
    rows = kind.model._default_manager.filter(pk=kind.pk_of(deletion.subject_id))
    return rows.first()


def _show_time(value: datetime | None) -> str:
    return date_format(timezone.localtime(value), "j F Y, H:i e") if value else "-"
