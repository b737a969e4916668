"""Rows that outlive their subject for a time, under ``Keep(retention=…)``, and go when it is over.

The time counts from the erasure, which the subject's completed deletion request dates. A row may
name several subjects: an event its subject and who did it. It belongs to the first of its kept
links, in the order of the policy, that is set; that subject's time is the row's time.

Of the audit log nothing goes by a request that has no genuine receipt.

Requests are gone through in the order in which they finished, and a mark says how far, so that a
sweep does not look again at erasures whose rows are gone already.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.core.checks import CheckMessage, Error, register
from django.db import models, transaction
from django.db.models import Q

from audit.forgetting import find_forgettable, forbid_damage, forget_events
from audit.models import AuditEvent
from audit.rows import PLACE, Row
from audit.spoiled import HasId
from audit.statements import Among
from erasure.models import DeletionRequest
from erasure.outlived import KeyMissing, cutoff_of, find_outlived, read_mark, set_mark
from erasure.policies import Delete, Keep, Loose, Policy, all_policies
from erasure.stopping import is_stopping
from erasure.subjects import get_kind, kind_names

ROWS = 1000
BUDGET = 60.0


@dataclass(frozen=True)
class Rule:
    """One kept link: rows of a model whose ``field`` names a subject of ``kind``."""

    policy: Policy
    field: str
    kind: str
    kind_field: str
    retention: timedelta

    @property
    def name(self) -> str:
        return f"{self.policy.label}.{self.field}:{self.kind}"

    @property
    def model(self) -> type[models.Model]:
        return self.policy.model


def find_rules() -> list[Rule]:
    """Return every retention that a sweep enforces. Deletion requests come last, since they date
    the erasure for all others."""
    rules = [rule for policy in all_policies() for rule in _rules_of(policy)]
    return sorted(rules, key=lambda rule: rule.model is DeletionRequest)


@register()
def check_retention(**options: Any) -> Sequence[CheckMessage]:
    """Refuse a retention that nobody can enforce, or that outlives what dates it."""
    return [
        Error(
            f"The retention of {name} cannot be enforced.",
            hint="Once the subject is gone only its key finds the row: link it by the key.",
            id="erasure.E091",
        )
        for name in find_unenforceable()
    ] + [
        Error(
            f"{name} is kept for longer than the deletion request that dates its erasure.",
            hint="Keep deletion requests for as long as anything else: ERASURE_RECORDS_KEPT.",
            id="erasure.E092",
        )
        for name in find_undated()
    ]


def find_unenforceable() -> list[str]:
    """Return the kept links, in words, whose retention no sweep can enforce: once the subject is
    gone, only its key still finds the row."""
    return [
        f"{policy.label}.{loose.field}"
        for policy in all_policies()
        for loose in policy.loose
        if _retention(loose.fate) is not None and not _is_by_key(loose) and not _ends(loose.fate)
    ]


def find_undated() -> list[str]:
    """Return the kept links whose retention is longer than that of the requests that date it."""
    rules = find_rules()
    dated = [rule.retention for rule in rules if rule.model is DeletionRequest]
    return [rule.name for rule in rules if dated and rule.retention > min(dated)]


def enforce(*, now: datetime, execute: bool) -> dict[str, int]:
    """Remove what has outlived its retention, or only count it; return rows by model.

    Each transaction removes at most a thousand rows. What is not done after a minute, or when the
    process is asked to end, is left for the next sweep, as is what a crash cut off: the mark moves
    only after the rows. A rule that fails keeps none of the others waiting: KeyMissing, the log's
    DamagedTree and whatever else is raised when all had their turn. But as long as a rule cannot go
    by the requests they stay, for they alone say what is due.
    """
    counts: dict[str, int] = defaultdict(int)
    until = time.monotonic() + BUDGET
    errors: list[Exception] = []
    for rule in find_rules():
        # Up to where a key is missing all others have gone; how far they are else is not known.
        is_held = any(not isinstance(error, KeyMissing) for error in errors)
        if is_held and rule.model is DeletionRequest:
            continue
        try:
            cutoff = cutoff_of(rule.retention, now)
            # The log goes by requests; so of one that nobody can check yet, both stay.
            needs: Any = {AuditEvent: "receipt", DeletionRequest: "key"}.get(rule.model, "nothing")
            since = read_mark(rule.name, cutoff)
            for ids, mark in find_outlived(rule.kind, since, cutoff, needs=needs):
                if rows := _clear(rule, ids, execute=execute):
                    counts[rule.policy.label] += rows
                if execute:
                    set_mark(rule.name, mark, cutoff, now)
                if execute and _is_over(until):
                    break
        except Exception as error:  # noqa: BLE001 - raised below, when all had their turn
            errors.append(error)
        if execute and _is_over(until):
            break
    if errors:
        raise errors[0]
    return dict(counts)


def _is_over(until: float) -> bool:
    return is_stopping() or time.monotonic() > until


def _clear(rule: Rule, by_kind: dict[str, list[UUID]], *, execute: bool) -> int:
    rows = 0
    for kind, ids in by_kind.items():
        kept = _kept_rows(rule, kind, ids)
        if not execute:
            rows += kept.count()
            continue
        if rule.model is AuditEvent:
            # Those that the log refuses to seal stay: whoever verifies it hears of them.
            events = find_forgettable(kept)
            rows += _remove_all(events, partial(forget_events, is_due=_due(rule, kind, ids)))
            if events.exists():
                forbid_damage()
        else:
            rows += _remove_all(kept, partial(_delete, rule.model))
    return rows


def _due(rule: Rule, kind: str, ids: Sequence[UUID]) -> Callable[[Row], bool]:
    """Return whether an event belongs to these subjects by this link: what ``_kept_rows`` asks."""
    theirs = set(map(str, ids))

    def is_due(row: Row) -> bool:
        said = row.values[PLACE[rule.field]] in theirs
        is_kind = not rule.kind_field or row.values[PLACE[rule.kind_field]] == kind
        return said and is_kind and not any(row.values[PLACE[it]] for it in _earlier(rule))

    return is_due


def _remove_all(kept: Any, remove: Callable[[list[Any]], int]) -> int:
    """Remove rows, as many in a transaction as may be; return how many went. Events that are not
    what was sealed stay."""
    rows = 0
    refused = list[Any]()
    if isinstance(kept.model._meta.pk, models.UUIDField):
        kept = kept.filter(HasId("pk"))
    while chunk := list(_without(kept, refused).order_by().values_list("pk", flat=True)[:ROWS]):
        with transaction.atomic(durable=True):
            removed = remove(chunk)
        if removed < len(chunk):
            refused += kept.filter(pk__in=chunk).values_list("pk", flat=True)
        rows += removed
    return rows


def _without(rows: Any, refused: Sequence[Any]) -> Any:
    return rows.exclude(Among("pk", refused)) if refused else rows


def _kept_rows(rule: Rule, kind: str, ids: list[UUID]) -> Any:
    """Return the rows that belong to these subjects by this link and by no earlier one."""
    column = rule.model._meta.get_field(rule.field)
    values: list[Any] = ids
    if kind in kind_names() and not isinstance(column, models.UUIDField):
        values = [get_kind(kind).pk_of(one) for one in ids]
    # Not the model's own manager: an append-only table refuses every other removal.
    rows: Any = models.QuerySet(rule.model).filter(**{f"{rule.field}__in": values})
    if rule.kind_field:
        rows = rows.filter(**{rule.kind_field: kind})
    for field in _earlier(rule):
        unset = Q(**{f"{field}__isnull": True})
        if isinstance(rule.model._meta.get_field(field), models.CharField | models.TextField):
            unset |= Q(**{field: ""})
        rows = rows.filter(unset)
    return rows


def _earlier(rule: Rule) -> list[str]:
    """Return the fields that, when set, make the row another subject's: kept links that stand
    before this one, and links with which the row is deleted."""
    fields: list[str] = []
    for other in _rules_of(rule.policy):
        if other.field == rule.field:
            break
        fields.append(other.field)
    fields += [name for name, fate in rule.policy.links.items() if isinstance(fate, Delete)]
    fields += [
        loose.field
        for loose in rule.policy.loose
        if isinstance(loose.fate, Delete) and _is_by_key(loose)
    ]
    return [field for field in fields if field != rule.field]


def _delete(model: type[models.Model], keys: list[Any]) -> int:
    return models.QuerySet(model).filter(pk__in=keys).delete()[0]


def _rules_of(policy: Policy) -> Iterator[Rule]:
    kinds = {get_kind(name).model: name for name in kind_names()}
    for name, fate in policy.links.items():
        kind = kinds.get(policy.model._meta.get_field(name).related_model)  # type: ignore[arg-type]
        if kind and (kept := _retention(fate)) is not None and not _ends(fate):
            yield Rule(policy, name, kind, "", kept)
    for loose in policy.loose:
        kept = None if _ends(loose.fate) else _retention(loose.fate)
        if _is_by_key(loose) and kept is not None:
            yield Rule(policy, loose.field, loose.kind, loose.kind_field, kept)


def _is_by_key(loose: Loose) -> bool:
    """Whether the subject's key alone finds the rows: all that is left of it afterwards."""
    return loose.to == "pk" and not (loose.match or loose.where or loose.quoted)


def _retention(fate: Any) -> timedelta | None:
    return fate.retention if isinstance(fate, Keep) else None


def _ends(fate: Any) -> bool:
    """Whether the row's own end starts the time, and no erasure: ``erasure.ended`` sees to it."""
    return isinstance(fate, Keep) and bool(fate.since)
