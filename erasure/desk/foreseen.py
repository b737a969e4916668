"""A plan in words: what the confirmation pages say would go, lose a link, stay, or stand against
it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.core import signing

from erasure.desk.shown import group_kept, name_model, name_rows, show_id, show_number, show_time
from erasure.planner import KeptRows, Plan, plan_id

Counted = Sequence[tuple[str, str]]


class Seen(NamedTuple):
    """The plan that a page had shown, as its hidden field brings it back."""

    plan_id: str
    record: Mapping[str, Any] | None


SALT = "erasure.desk.plan"


def pack_plan(plan: Plan) -> str:
    """Return a plan's record as a page carries it: signed, for it decides what is drift."""
    return signing.dumps(plan.as_record(), salt=SALT, compress=True)


def unpack_plan(text: str) -> Seen:
    """Return what ``pack_plan`` has packed. Anything else is an id of which nobody has the plan."""
    try:
        record = signing.loads(text, salt=SALT)
    except signing.BadSignature:
        return Seen(text, None)
    return Seen(plan_id(record), record)


@dataclass(frozen=True)
class Foreseen:
    """``total`` and every count are texts already: with "at least" where counting stopped early."""

    plan_id: str
    packed: str
    total: str
    is_one: bool
    removed: Counted
    detached: Counted
    anonymised: Counted
    kept: Sequence[tuple[str, str]]
    against: Sequence[str]
    holds: Sequence[str]
    also: Sequence[str]

    @property
    def is_stopped(self) -> bool:
        return bool(self.against or self.holds)


def foresee(plan: Plan) -> Foreseen:
    """Return what staff read about a plan before they decide."""
    least = "at least " if plan.capped else ""
    return Foreseen(
        plan_id=plan.id,
        packed=pack_plan(plan),
        total=f"{least}{show_number(plan.total)}",
        is_one=plan.total == 1,
        removed=_count(plan.removed, least),
        detached=_count(plan.detached, least),
        anonymised=_count(plan.anonymised, least),
        kept=group_kept((_name_kept(rows), tell_grounds(rows)) for rows in plan.stays),
        against=[blocker.text for blocker in plan.blockers],
        holds=[
            f"{hold.reason} (since {show_time(hold.placed_at)}"
            + (f", to be looked at on {hold.review_at:%-d %b %Y})" if hold.review_at else ")")
            for hold in plan.holds
        ],
        also=[
            *(f"{name_it(one.kind, one.id)} goes along" for one in _unnamed(plan)),
            *(
                f"{it.name} ({show_id(it.subject.kind, it.subject.id)}) {it.effect}"
                for it in plan.affected
            ),
            *(f"{it.system}: {it.text}" for it in plan.effects),
        ],
    )


def tell_grounds(rows: KeptRows | Any) -> str:
    """Return why rows are kept, on which ground, and for how long."""
    days = rows.retention_days
    span = f"for {days} days" if days is not None else "for good: it names nobody any more"
    return f"{rows.because.rstrip('.')}. {rows.basis}, {span}"


def name_it(kind: str, value: Any) -> str:
    text = show_id(kind, value)
    return text if text.startswith(f"{kind} ") else f"{kind} {text}"


def _unnamed(plan: Plan) -> list[Any]:
    """Those who go along and are not among the affected, whom a name stands beside."""
    named = {one.subject for one in plan.affected}
    return [one for one in plan.companions if one not in named]


def _name_kept(rows: KeptRows) -> str:
    name = name_model(rows.label, rows.rows if rows.rows is not None else 2)
    return f"{name}, if any" if rows.rows is None else f"{show_number(rows.rows)} {name}"


def _count(counts: Any, least: str) -> Counted:
    return [(name, f"{least}{show_number(count)}") for name, count in name_rows(counts)]
