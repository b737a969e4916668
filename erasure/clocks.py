"""The sweep: finds what ought to have happened and sees to it that it does.

It wakes the purge for whatever is due or has outlived its lease, takes up the tasks of killed
workers, tells people that their erasure is near, removes what has outlived its retention, and
notes that it ran, for a sweep that stays away is what nobody notices. Each step is safe to repeat
and to be killed in; two sweeps at once do no harm.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.db.models import Q

from audit.sealing import count_unsealed
from audit.tasks import seal_and_publish, seal_audit_log
from erasure import ended, retention, taskrows, totals
from erasure.bulk import carry_on
from erasure.chores import all_chores, all_errands
from erasure.engines import is_behind, wake, wake_up
from erasure.files import remove_noted
from erasure.models import DeletionRequest, DoomedFile, Heartbeat
from erasure.notices import find_unwarned, warn
from erasure.settling import settle_intents
from erasure.stopping import is_stopping
from erasure.tasks import purge

logger = logging.getLogger("sexton.erasure")

# The audit log knows nothing of ours, so it is declared here.
wake_up(seal_audit_log)

SWEPT = "sweep"
BEGUN = "sweep.begun"

SHARE = 500
"""So many due subjects are worth a worker of their own."""

WAKE_UPS = 16
"""At most so many purges are asked for at once."""

WARNINGS = 500
"""Mails of one sweep at most: a slow mail server must not keep a sweep from its end."""

Facts = dict[str, int]


@dataclass
class Sweep:
    """What a sweep did, or would do, by step; and the steps that failed, with the error's type."""

    executed: bool
    done: dict[str, Facts] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_facts(self) -> dict[str, Any]:
        return {"executed": self.executed, **self.done, "failed": self.failed}


def sweep_every() -> timedelta:
    """Return the time between two sweeps: the setting ERASURE_SWEEP_EVERY, five minutes."""
    every: timedelta = getattr(settings, "ERASURE_SWEEP_EVERY", timedelta(minutes=5))
    return every


def sweep(*, now: datetime, execute: bool) -> Sweep:
    """Run every step, or only count what each would do.

    A step that fails stops no other. The heartbeat is written at the end, whatever failed, and
    names the failures; a sweep that was asked to end writes none. A database that is older than
    its ledger is left alone until it has been brought up to date: it shows people who are erased.
    """
    result = Sweep(executed=execute)
    if is_behind():
        result.failed["ledger"] = "DatabaseBehind"
        return result
    for name, step in STEPS.items():
        if is_stopping():
            return result
        try:
            result.done[name] = step(now, execute)
        except Exception as error:
            logger.exception("a step of the sweep failed", extra={"step": name})
            result.failed[name] = type(error).__name__
    if execute:
        # Not update_or_create, which reads the last one first: it may be none that can be read.
        facts = {**result.done, "failed": result.failed}
        Heartbeat.objects.bulk_create(
            [Heartbeat(name=SWEPT, at=now, facts=facts)],
            update_conflicts=True,
            unique_fields=["name"],
            update_fields=["at", "facts"],
        )
    return result


def claim_sweep(*, now: datetime, every: timedelta) -> bool:
    """Take the turn to sweep; of many workers one gets it in each interval.

    One that is killed in its turn is replaced an interval later.
    """
    longest_ago = datetime(1, 1, 2, tzinfo=UTC)
    Heartbeat.objects.bulk_create([Heartbeat(name=BEGUN, at=longest_ago)], ignore_conflicts=True)
    # A turn in the future nobody has taken. For those whose clocks differ a little it is none.
    is_free = Q(at__lte=now - every) | Q(at__gt=now + every)
    return bool(Heartbeat.objects.filter(is_free, name=BEGUN).update(at=now))


def wake_purge(now: datetime, execute: bool) -> Facts:
    """Ask for as many purges as there are shares of due subjects, less those that wait already."""
    due = DeletionRequest.objects.due(now).count()
    stalled = DeletionRequest.objects.stalled(now).count()
    shares = min(-(-due // SHARE), WAKE_UPS)
    missing = max(shares - taskrows.count_ready(purge.module_path), 0)
    if execute:
        for _ in range(missing):
            wake(purge)
    return {"due": due, "stalled": stalled, "woken": missing}


def tend_tasks(now: datetime, execute: bool) -> Facts:
    """Take up the wake-ups of killed workers, give up what other tasks left running, and remove the
    rows of finished ones."""
    if not execute:
        return {
            "revived": taskrows.count_stuck(now),
            "lost": taskrows.count_lost(now),
            "removed": taskrows.count_finished(now),
        }
    return {
        "revived": taskrows.revive_stuck(now),
        "lost": taskrows.fail_lost(now),
        "removed": taskrows.remove_finished(now),
    }


def add_up(now: datetime, execute: bool) -> Facts:
    """Take finished erasures into the sum, before retention removes their requests."""
    return {"subjects": totals.roll_up(now)} if execute else {}


def settle_ledger(now: datetime, execute: bool) -> Facts:
    """Write the end of intents whose worker died between the ledger and the database."""
    return settle_intents(now=now) if execute else {}


def remove_files(now: datetime, execute: bool) -> Facts:
    """Remove the stored files of rows that are gone."""
    return {"removed": remove_noted() if execute else DoomedFile.objects.count()}


def warn_subjects(now: datetime, execute: bool) -> Facts:
    """Tell people that their erasure is near, some hundred of them in one sweep."""
    near = islice(find_unwarned(now=now), WARNINGS)
    if not execute:
        return {"warned": sum(1 for _ in near)}
    return {"warned": sum(not is_stopping() and warn(request, now=now) for request in near)}


def seal_log(now: datetime, execute: bool) -> Facts:
    """Seal the audit log and publish its checkpoint. A worker does so more often between sweeps."""
    if not execute:
        return {"sealed": count_unsealed()}
    done = seal_and_publish()
    return {"sealed": done["events"], "unpublished": len(done["unpublished"])}


def enforce_retention(now: datetime, execute: bool) -> Facts:
    rest = ended.forget_ended(now=now, execute=execute)
    done = retention.enforce(now=now, execute=execute)
    return {label: done.get(label, 0) + rest.get(label, 0) for label in {**done, **rest}}


def do_chores(now: datetime, execute: bool) -> Facts:
    """Remove what other rooms have no more use for."""
    return {it.name: it.remove(now) if execute else it.count(now) for it in all_chores()}


def run_errands(now: datetime, execute: bool) -> Facts:
    """See to what is due in other rooms. One that fails keeps none of the others waiting."""
    done: Facts = {}
    errors: list[Exception] = []
    for errand in all_errands():
        try:
            done[errand.name] = errand.see_to(now) if execute else errand.due(now)
        except Exception as error:  # noqa: BLE001 - raised below, when all had their turn
            errors.append(error)
    if errors:
        raise errors[0]
    return done


STEPS: Mapping[str, Callable[[datetime, bool], Facts]] = {
    "tasks": tend_tasks,
    "bulks": carry_on,
    "purge": wake_purge,
    "ledger": settle_ledger,
    "files": remove_files,
    "warnings": warn_subjects,
    "totals": add_up,
    # Before events go whose retention is over: only what is sealed may go.
    "audit": seal_log,
    "retention": enforce_retention,
    "errands": run_errands,
    "chores": do_chores,
}
