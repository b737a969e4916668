"""Who else was told of an erasure: recipients to whom the data had been disclosed (Art. 19 GDPR).

Other rooms tell them. Here stands what became of it: a line in the request and in its receipt,
which is signed anew when an acknowledgement or a final failure arrives; and, for staff, how far
each recipient is.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from audit.actors import Actor
from audit.events import record
from erasure import receipts
from erasure.models import DeletionRequest
from erasure.signing import InvalidReceipt

logger = logging.getLogger("sexton.erasure")


@dataclass(frozen=True, slots=True)
class Recipient:
    """How far one recipient is: ``state`` is ``waiting``, ``acknowledged`` or ``failed``, ``at``
    the moment of it, ``text`` what staff read."""

    name: str
    state: str
    at: datetime | None
    text: str


ACKNOWLEDGED = ": acknowledged"
"""How a line says it, after the recipient's name."""

Notifier = Callable[[DeletionRequest], list[Recipient]]

_notifiers: dict[str, Notifier] = {}


def register_notifier(name: str, notifier: Notifier) -> None:
    """Make known who can say which recipients are told of a deletion."""
    _notifiers[name] = notifier


def recipients_of(request: DeletionRequest) -> list[Recipient]:
    """Return everybody who is told of a deletion beside its subject, and how far that is."""
    return [one for name in sorted(_notifiers) for one in _notifiers[name](request)]


def write_told(
    deletion_id: UUID, line: str, *, recipient: str, succeeded: bool, actor: Actor, now: datetime
) -> bool:
    """Write into a finished deletion that a recipient acknowledged it or could not be told, sign
    its receipt anew and record it, in the caller's transaction. Return whether that was done.

    ``line`` names the recipient by ``recipient``, its id, and takes the place of what was said of
    it before; an acknowledgement stays. Nothing is done when there is no such receipt any more, or
    when the row is not what was signed: signing it would make the change look genuine.
    """
    locked = DeletionRequest.objects.select_for_update().filter(pk=deletion_id).first()
    if locked is None or locked.state != DeletionRequest.State.COMPLETED:
        return False
    before = [one for one in locked.told if recipient in one]
    if any(ACKNOWLEDGED in one for one in before):
        return False
    try:
        receipts.forbid_changed(locked)
    except (receipts.ReceiptMissing, InvalidReceipt) as error:
        logger.error(
            "a receipt cannot say who was told",
            extra={"deletion": str(deletion_id), "error": type(error).__name__},
        )
        return False
    locked.told = [*(one for one in locked.told if one not in before), line]
    locked.save(update_fields=["told"])
    receipts.sign_again(locked)
    record(
        "recipient.told",
        actor=actor,
        subject=locked.subject,
        now=now,
        organization_id=locked.organization_id,
        facts={"deletion": str(locked.pk), "recipient": recipient},
        outcome="done" if succeeded else "failed",
    )
    return True
