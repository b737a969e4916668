"""Sealing as a task. Only a wake-up: run twice, late or never, it changes nothing but when."""

from dataclasses import asdict
from typing import Any

from django.tasks import task
from django.utils import timezone

from audit.publishing import publish
from audit.sealing import BATCH, seal

AT_ONCE = 20 * BATCH
"""Events that one run seals at most, so that other work gets its turn."""


def seal_and_publish() -> dict[str, Any]:
    """Seal what is committed and hand the checkpoint out; return what was done."""
    now = timezone.now()
    sealed = seal(now=now, limit=AT_ONCE)
    return {**asdict(sealed), "unpublished": sorted(publish(now=now))}


@task
def seal_audit_log() -> dict[str, Any]:
    """The same, for an engine of background work."""
    return seal_and_publish()
