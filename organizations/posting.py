"""The mail of an invitation. It leaves after the commit, by a worker, and its token is made when it
is written: neither address nor token ever stands in a queue.

A mail that cannot be sent undoes no invitation: it is logged and recorded, and the sweep tries
again for as long as the invitation holds.
"""

import hashlib
import logging
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.mail import mailers
from django.tasks import task
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference, record
from erasure.engines import wake, wake_up
from erasure.notices import Notice, sends_mail
from erasure.stopping import is_stopping
from organizations.models import Invitation

logger = logging.getLogger("sexton.notices")

AT_ONCE = 500
"""Mails of one sweep at most."""


def ask_for_mail(invitation_id: UUID) -> None:
    """Have an invitation mailed when the caller's transaction has committed."""
    if sends_mail():
        wake(send_invitation, str(invitation_id), urgent=True)


@wake_up
@task()
def send_invitation(invitation_id: str) -> bool:
    """Mail an invitation, of which the queue knows the id only; return whether it went out."""
    return post(UUID(invitation_id), now=timezone.now())


def unsent(now: datetime) -> Any:
    """Return the invitations that hold and whose mail is not on its way."""
    rows = Invitation.objects.filter(sent_at=None, expires_at__gt=now)
    return rows.filter(organization__is_deleted=False, organization__archived_at=None)


def post_unsent(now: datetime) -> int:
    """Mail the invitations whose mail got lost, some hundred at once; return how many went out."""
    if not sends_mail():
        return 0
    waiting = list(unsent(now).order_by("created_at").values_list("pk", flat=True)[:AT_ONCE])
    return sum(not is_stopping() and post(pk, now=now) for pk in waiting)


def post(invitation_id: UUID, *, now: datetime) -> bool:
    """Mail one invitation with a token of its own; return whether it went out.

    ``sent_at`` and the token's digest are set first and by one guarded UPDATE, so that of two
    workers one sends. When the mail cannot be sent ``sent_at`` is cleared again.
    """
    token = secrets.token_urlsafe(32)
    mine = unsent(now).filter(pk=invitation_id)
    fresh = hashlib.sha256(token.encode()).hexdigest()
    if not mine.update(sent_at=now, token_digest=fresh):
        return False
    # A crash here leaves the invitation without its mail: inviting again sends another one.
    rows = Invitation.objects.select_related("organization", "invited_by")
    if (invitation := rows.filter(pk=invitation_id, token_digest=fresh).first()) is None:
        return False
    try:
        mailers["default"].send_messages([compose(invitation, token)])
    except Exception as error:  # noqa: BLE001 - whatever a backend raises, the invitation stands
        _note_failure(invitation, error, now)
        return False
    return True


def compose(invitation: Invitation, token: str) -> Notice:
    """Return the mail of an invitation."""
    inviter: Any = invitation.invited_by
    context = {
        "organization": invitation.organization.name,
        "inviter": inviter.get_full_name() if inviter and not inviter.is_deleted else "",
        "role": invitation.role,
        "article": "a" if invitation.role == "member" else "an",
        "expires_at": invitation.expires_at,
        "url": invitation_url(token),
        "token": token,
    }
    title = render_to_string("organizations/mail/invitation.subject.txt", context)
    return Notice(
        subject=" ".join(title.split()),
        body=render_to_string("organizations/mail/invitation.txt", context),
        to=[invitation.email],
        headers={"Auto-Submitted": "auto-generated"},
    )


def invitation_url(token: str) -> str:
    """Return where an invitation is accepted: the setting INVITATION_URL with its ``{token}``
    filled in, or the page that this service has for it."""
    if pattern := getattr(settings, "INVITATION_URL", ""):
        return str(pattern).replace("{token}", token)
    return f"{settings.ERASURE_BASE_URL.rstrip('/')}{reverse('invitation', args=[token])}"


def _note_failure(invitation: Invitation, error: Exception, now: datetime) -> None:
    Invitation.objects.filter(pk=invitation.pk, sent_at=now).update(sent_at=None)
    # Not the error's text: a mail server quotes the address.
    facts = {"invitation": str(invitation.pk), "error": type(error).__name__}
    logger.error("an invitation could not be sent", extra=facts)
    record(
        "notice.failed",
        actor=Actor.system("notices"),
        subject=Reference("organization", invitation.organization_id),
        now=timezone.now(),
        organization_id=invitation.organization_id,
        facts={"invitation": str(invitation.pk), "notice": "invitation"},
        outcome="failed",
    )
