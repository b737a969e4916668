"""Whether erasure is looked after: named findings for a readiness page.

``red`` means that promises are being broken and somebody must come; a ``warning`` is for reading.
The texts hold no personal data and no staff's reason, since anybody may read the page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Max
from django.utils.timesince import timesince

from audit.models import AuditEvent
from audit.publishing import count_behind
from audit.sealing import read_sizes
from erasure import gate
from erasure.clocks import SWEPT, sweep_every
from erasure.models import DeletionRequest, Heartbeat, Pause


@dataclass(frozen=True)
class Finding:
    """``ok``, or what is wrong in words; ``red`` when requests should not be sent here."""

    text: str = "ok"
    red: bool = False


def check_sweep(now: datetime) -> Finding:
    """Red when nothing has swept for two intervals although there is something to sweep for.

    Before the first sweep the time counts from the first deletion that was ever asked for, and not
    from before the last migration, so a young database is well. Where no sweep is expected
    (ERASURE_SWEEP_EXPECTED), it only warns.
    """
    last = Heartbeat.objects.filter(name=SWEPT).first()
    since = last.at if last else _first_need()
    expected: bool = getattr(settings, "ERASURE_SWEEP_EXPECTED", True)
    if since is not None and now - since > 2 * sweep_every():
        age = timesince(since, now).replace("\xa0", " ")
        told = f"last swept {age} ago" if last else "nothing has swept yet"
        text = f"{told}: run manage.py worker"
        return Finding(text, red=True) if expected else Finding(f"warning: {text}")
    if last and last.facts.get("failed"):
        return Finding(f"warning: steps that failed: {', '.join(sorted(last.facts['failed']))}")
    return Finding()


def check_ledger(now: datetime) -> Finding:
    """Red while the database is older than its ledger, or nobody can tell."""
    reason = gate.look()
    return Finding(reason, red=True) if reason else Finding()


def check_pauses(now: datetime) -> Finding:
    """Warn while a brake is on: it was put on with a reason, and is easily forgotten."""
    standing = Pause.objects.standing()
    if standing.filter(organization_id=None).exists():
        return Finding("warning: every erasure is paused")
    if organizations := standing.count():
        return Finding(f"warning: organizations whose erasures are paused: {organizations}")
    return Finding()


def check_audit(now: datetime) -> Finding:
    """Warn while events wait for their seal or cannot get it, or a checkpoint does not get out."""
    head, newest = read_sizes()
    if head != newest:
        text = "nothing of the audit log can be sealed: run manage.py verify_audit_log"
        return Finding(f"warning: {text}")
    waiting = AuditEvent.objects.filter(sealed_seq=None, id__lt=_first_id(now - 2 * sweep_every()))
    if getattr(settings, "ERASURE_SWEEP_EXPECTED", True) and waiting.exists():
        return Finding("warning: events of the audit log wait to be sealed")
    if count_behind():
        return Finding("warning: a checkpoint of the audit log was not published")
    return Finding()


def register_alarm(name: str, look: Callable[[datetime], str]) -> None:
    """Make a check of another room known: ``look`` returns what is wrong, in words without
    personal data, or nothing when all is well. What is wrong turns readiness red."""
    _alarms[name] = look


def find_alarms(now: datetime) -> dict[str, str]:
    """Return what other rooms find wrong at this moment, by name; all that is well is left out."""
    found = {name: look(now) for name, look in sorted(_alarms.items())}
    return {name: text for name, text in found.items() if text}


_alarms: dict[str, Callable[[datetime], str]] = {}

CHECKS: Mapping[str, Callable[[datetime], Finding]] = {
    "ledger": check_ledger,
    "sweep": check_sweep,
    "pauses": check_pauses,
    "audit": check_audit,
}


def find(now: datetime) -> dict[str, Finding]:
    """Return every finding by the name of its check."""
    alarms = find_alarms(now)
    return {name: check(now) for name, check in CHECKS.items()} | {
        name: Finding(alarms[name], red=True) if name in alarms else Finding()
        for name in sorted(_alarms)
    }


def _first_id(at: datetime) -> UUID:
    """Return the least key that can have been made at a time: keys begin with milliseconds."""
    return UUID(int=int(at.timestamp() * 1000) << 80)


def _first_need() -> datetime | None:
    """Return since when there has been something to sweep for; None while there is nothing.

    Never before this room's tables were last migrated: whoever installs or upgrades has the same
    two intervals to start a worker.
    """
    # Keys are made in the order of time, so the first key is the first request.
    first: datetime | None = (
        DeletionRequest.objects.order_by("pk").values_list("requested_at", flat=True).first()
    )
    applied = MigrationRecorder(connection).migration_qs.filter(app="erasure")
    migrated: datetime | None = applied.aggregate(at=Max("applied"))["at"]
    return max(first, migrated) if first and migrated else first
