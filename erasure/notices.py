"""Mails to the subjects of deletions: when one is asked for, before the erasure, at its end, and
when it is taken back.

A mail leaves after the commit of what it tells. That it cannot be sent never undoes or stops a
deletion; it is logged, and told by an event ``notice.failed`` in the deletion's story.

An address is read when the mail is written and is stored nowhere, not in a queue either. The last
mail tells people whose rows are gone by then: ``gather`` takes their addresses into memory before,
and should the process die between the commit and the mail, there is no mail rather than an address
that outlives its erasure.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.policy import default as default_policy
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, mailers
from django.db import transaction
from django.db.models import F
from django.tasks import task
from django.template.loader import render_to_string
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference, record
from erasure import links
from erasure.engines import wake, wake_up
from erasure.models import DeletionRequest
from erasure.requests import find_taker
from erasure.subjects import get_kind

logger = logging.getLogger("sexton.notices")

REQUESTED = "requested"
WARNING = "warning"
RESTORED = "restored"
ERASED = "erased"

APT = {
    REQUESTED: DeletionRequest.State.SCHEDULED,
    WARNING: DeletionRequest.State.SCHEDULED,
    RESTORED: DeletionRequest.State.CANCELLED,
}
"""The state in which a notice is still true. One that comes late is not sent."""

_silent = "django.core.mail.backends.dummy.EmailBackend"


class Notice(EmailMessage):
    """A mail whose links stay in one piece, where the default would break them at 78 letters."""

    def message(self, *, policy: Any = default_policy) -> Any:
        return super().message(policy=(policy or default_policy).clone(max_line_length=500))


@dataclass(frozen=True, slots=True)
class Addressees:
    """Whom to tell of an erasure, and how they know what was erased. In memory only."""

    label: str
    addresses: tuple[str, ...]

    @property
    def channels(self) -> list[str]:
        """What ``told`` of the request and the receipt say: by which way, never to whom."""
        return ["e-mail"] if self.addresses else []


def tell_requested(request: DeletionRequest) -> None:
    """Tell the subject, after the caller's commit, that a deletion was asked for: what happens
    when, and the link that takes it back."""
    _send_later(REQUESTED, request)


def tell_restored(request: DeletionRequest) -> None:
    """Tell the subject, after the caller's commit, that its deletion was taken back."""
    _send_later(RESTORED, request)


def gather(kind: str, instances: Iterable[Any]) -> dict[UUID, Addressees]:
    """Return whom to tell of the erasure of these rows, by the subject's id, before they go.

    Empty where no mail is sent at all, so that a purge reads nothing for it.
    """
    if not sends_mail():
        return {}
    known = get_kind(kind)
    found = {
        known.id_of(row.pk): Addressees(known.label(row), tuple(known.addresses(row)))
        for row in instances
    }
    return {pk: whom for pk, whom in found.items() if whom.addresses}


def tell_erased(requests: Iterable[DeletionRequest], whom: Mapping[UUID, Addressees]) -> None:
    """Tell those whom ``gather`` found, after the caller's commit, that the erasure is done."""
    told = [(it, whom[it.subject_id]) for it in requests if it.subject_id in whom]
    if told:
        transaction.on_commit(partial(_send_erased, told), robust=True)


def find_unwarned(*, now: datetime) -> Iterable[DeletionRequest]:
    """Return the deletions whose subjects are to be warned now, that of the nearest erasure first.

    Nobody is warned of an erasure that a legal hold stops, and nobody twice within a grace period
    that is not longer than the warning's own time.
    """
    days = warning_time()
    waiting = DeletionRequest.objects.with_hold().filter(
        state=DeletionRequest.State.SCHEDULED,
        warned_at=None,
        held=False,
        due_at__gt=now,
        due_at__lte=now + days,
        requested_at__lt=F("due_at") - days,
    )
    found: Iterable[DeletionRequest] = waiting.order_by("due_at", "pk").iterator(chunk_size=500)
    return found


def warn(request: DeletionRequest, *, now: datetime | None = None) -> bool:
    """Warn a subject that its erasure is near; return whether a mail went out.

    ``warned_at`` is set first and by one guarded UPDATE, so that of two sweeps one sends. When the
    mail cannot be sent it is cleared again and the next sweep tries once more.
    """
    now = now or timezone.now()
    mine = DeletionRequest.objects.filter(pk=request.pk, generation=request.generation)
    if not mine.filter(state=APT[WARNING], warned_at=None, due_at__gt=now).update(warned_at=now):
        return False
    # A crash here leaves the subject unwarned: one mail less rather than the same one each time.
    if _send(WARNING, request.pk):
        return True
    mine.filter(warned_at=now).update(warned_at=None)
    return False


def warning_time() -> timedelta:
    """Return how long before an erasure its subject is warned."""
    return timedelta(days=getattr(settings, "ERASURE_WARNING_DAYS", 3))


def sends_mail() -> bool:
    """Whether mail goes anywhere; with the dummy backend, or none at all, it does not."""
    configured = getattr(settings, "MAILERS", {}).get("default")
    return configured is not None and configured.get("BACKEND") != _silent


@wake_up
@task()
def send_notice(notice: str, deletion_id: str) -> bool:
    """Send one notice, of which the queue knows its name and the deletion's id only."""
    return _send(notice, UUID(deletion_id))


def _send_later(notice: str, request: DeletionRequest) -> None:
    if sends_mail():
        wake(send_notice, notice, str(request.pk), urgent=True)


def _send(notice: str, deletion_id: UUID) -> bool:
    """Write a notice from what the database holds now, and send it; return whether it went out."""
    request = DeletionRequest.objects.filter(pk=deletion_id, state=APT[notice]).first()
    if request is None:
        return False
    kind = get_kind(request.subject_kind)
    row = kind.model._default_manager.filter(pk=kind.pk_of(request.subject_id)).first()
    if row is None:
        return False
    whom = Addressees(kind.label(row), tuple(kind.addresses(row)))
    return _deliver(notice, [(request, whom)])


def _send_erased(told: list[tuple[DeletionRequest, Addressees]]) -> None:
    _deliver(ERASED, told)


def _deliver(notice: str, told: list[tuple[DeletionRequest, Addressees]]) -> bool:
    """Send one mail to each address, all over one connection; return whether all went out. One
    that fails does not stop the others."""
    written = [
        (request, message) for request, whom in told for message in compose(notice, request, whom)
    ]
    if not written:
        return False
    failed: dict[UUID, DeletionRequest] = {}
    mailer = None
    for request, message in written:
        try:
            if mailer is None:
                mailer = mailers["default"]
                mailer.open()
            mailer.send_messages([message])
        except Exception as error:  # noqa: BLE001 - whatever a backend raises, the deletion stands
            # Not the error's text: a mail server quotes the address.
            logger.error(
                "a notice could not be sent",
                extra={
                    "notice": notice,
                    "deletion": str(request.pk),
                    "error": type(error).__name__,
                },
            )
            failed[request.pk] = request
    if mailer is not None:
        mailer.close()
    for request in failed.values():
        _record_failure(notice, request)
    return not failed


def _record_failure(notice: str, request: DeletionRequest) -> None:
    record(
        "notice.failed",
        actor=Actor.system("notices"),
        subject=Reference(request.subject_kind, request.subject_id),
        now=timezone.now(),
        organization_id=request.organization_id,
        facts={"deletion": str(request.pk), "notice": notice},
        outcome="failed",
    )


def compose(notice: str, request: DeletionRequest, whom: Addressees) -> list[EmailMessage]:
    """Return a notice as mails, one to each address, so that nobody learns of the others."""
    kind = get_kind(request.subject_kind)
    went_along = notice in APT and find_taker(request) is not None
    context = {
        "noun": kind.noun or kind.model._meta.verbose_name,
        "label": whom.label,
        "deletion": links.spell_deletion(request.pk),
        "request": request,
        "is_own": request.requested_by_id == request.subject_id,
        # Whoever was taken along comes back with the deletion that took them, by its link.
        "restore_url": "" if went_along else links.restore_url(request),
        "went_along": went_along,
        "status_url": links.status_url(request),
        "rows": sum(request.counts.values()),
        "is_warned": request.due_at - request.requested_at > warning_time(),
    }
    title = render_to_string(f"erasure/mail/{notice}.subject.txt", context)
    body = render_to_string(f"erasure/mail/{notice}.txt", context)
    return [
        Notice(
            subject=" ".join(title.split()),
            body=body,
            to=[address],
            headers={"Auto-Submitted": "auto-generated"},
        )
        for address in whom.addresses
    ]
