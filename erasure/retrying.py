"""Another attempt at an erasure that failed, without the wait that its failure set."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit.actors import Actor
from audit.events import record
from erasure.engines import wake_purge
from erasure.models import DeletionRequest
from erasure.rights import require_staff, right_to_erase
from erasure.subjects import get_kind, lock_subject


class NotFailed(Exception):
    """The erasure has not failed, or no longer: there is nothing to try again."""


def retry_failed(*, actor: Actor, deletion_id: UUID, now: datetime) -> None:
    """Let the next purge try a failed erasure again. Raises RightMissing or NotFailed."""
    known = DeletionRequest.objects.filter(pk=deletion_id).first()
    if known is None:
        raise NotFailed
    require_staff(actor, right_to_erase(get_kind(known.subject_kind)))
    with transaction.atomic(durable=True):
        lock_subject(known.subject)
        request = DeletionRequest.objects.select_for_update().get(pk=deletion_id)
        if request.state != DeletionRequest.State.FAILED:
            raise NotFailed
        request.retry_at = None
        request.save(update_fields=["retry_at"])
        facts = {"deletion": str(deletion_id), "attempts": request.attempts}
        wake_purge()
        record("deletion.retried", actor=actor, subject=known.subject, now=now, facts=facts)
