"""What an engine of background work runs. A task is only a wake-up: run twice, late or never, it
changes nothing, for what there is to do stands in the deletion requests."""

import logging
import time
from itertools import batched
from uuid import UUID

from django.tasks import task
from django.utils import timezone

from audit.actors import Actor
from erasure import gate
from erasure.bulk import carry_out
from erasure.engines import wake, wake_up
from erasure.purging import BATCH, purge_due, search_for, searches_by_default
from erasure.stopping import is_stopping
from erasure.verifying import Residue
from erasure.working import GAVE_WAY, carry_on

logger = logging.getLogger("sexton.erasure")

BUDGET = 60.0
"""Seconds after which a purge gives way to other tasks, such as mails, and asks for another."""


NAMED = 20
"""Deletions that one line of the log names."""


class PurgeFailed(Exception):
    """A purge that broke off. Says the error's type only: a database's message, which a task's row
    would keep, may quote a person's data."""


@wake_up
@task
def purge() -> dict[str, int]:
    """Erase what is due; return how many subjects were erased and how many failed, and of how many
    something is left, if that was searched for."""
    until = time.monotonic() + BUDGET
    try:
        # One process: more hands are more workers.
        report = purge_due(
            actor=Actor.system("purge"),
            clock=timezone.now,
            jobs=1,
            gives_way=lambda: is_stopping() or time.monotonic() > until,
        )
    except Exception as error:
        logger.exception("purge failed")
        raise PurgeFailed(type(error).__name__) from None
    if report.stopped == GAVE_WAY:
        wake(purge)
    return {"erased": report.erased, "failed": len(report.failed), **_tell(report.residue)}


@wake_up
@task
def drain(deletion_id: str) -> dict[str, int]:
    """Go on with the erasure of one large subject; return whether it was finished, and whether it
    failed. The purge would come to it as well: this comes at once."""
    until = time.monotonic() + BUDGET
    if gate.look():
        return {"erased": 0, "failed": 0}
    actor = Actor.system("purge")
    residue = Residue() if searches_by_default() else None
    try:
        done = carry_on(
            UUID(deletion_id),
            actor=actor,
            clock=timezone.now,
            gives_way=lambda: is_stopping() or time.monotonic() > until,
            searches=residue is not None,
        )
    except Exception as error:
        logger.exception("a drain failed")
        raise PurgeFailed(type(error).__name__) from None
    if done.stopped == GAVE_WAY:
        wake(drain, deletion_id)
    if residue is not None:
        for some in batched(done.erased, BATCH):
            sought = {it.request_id: it.identifiers for it in some}
            search_for(sought, residue, actor=actor, now=timezone.now())
    return {"erased": done.number, "failed": len(done.failed), **_tell(residue)}


@wake_up
@task
def hand_over(bulk_id: str) -> dict[str, int]:
    """Make the rest of an approved bulk erasure due; return how many that were."""
    done = carry_out(bulk_id=UUID(bulk_id), clock=timezone.now)
    return {"handed_over": done.handed_over, "refused": len(done.refused)}


def _tell(residue: Residue | None) -> dict[str, int]:
    """Return what a search found, none at all if there was none; what is left is an error."""
    if residue is None:
        return {}
    if residue.left:
        named = [str(pk) for pk in list(residue.left)[:NAMED]]
        extra = {"subjects": len(residue.left), "hits": residue.hits, "deletions": named}
        logger.error("something is left of whoever was erased", extra=extra)
    return {"searched": residue.subjects, "left": len(residue.left)}
