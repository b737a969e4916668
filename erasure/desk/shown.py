"""How ids, moments, counts and states read on the staff's pages. Words only: nothing is changed."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.apps import apps
from django.utils import timezone
from django.utils.formats import date_format

from audit.events import Reference
from erasure.models import DeletionRequest
from erasure.people import name_of_users
from erasure.references import spell
from erasure.subjects import get_kind, kind_names, managing_kind
from erasure.typeids import read_uuid, spell_id
from erasure.watching import headway_of

DELETION = "deletion"
DELETION_PREFIX = "del"

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_fact_kinds: dict[str, str] = {}
_prefixes: dict[str, str] = {DELETION: DELETION_PREFIX}


def spell_kind(kind: str, prefix: str) -> None:
    """Have ids of something that is no subject, such as a key, read with a prefix of their own."""
    _prefixes[kind] = prefix


def known_prefixes() -> list[str]:
    """Return every prefix that an id may have on the staff's pages."""
    subjects = [get_kind(name).prefix for name in kind_names()]
    return [prefix for prefix in (*subjects, *_prefixes.values()) if prefix]


def spell_fact(name: str, kind: str) -> None:
    """Have the fact of this name in audit events read as the id of a subject of this kind."""
    _fact_kinds[name] = kind


def show_id(kind: str, value: UUID | None) -> str:
    """Return how staff read an id: ``usr_…`` where the kind has a prefix, else kind and id."""
    if value is None:
        return kind
    if kind in _prefixes:
        return spell_id(_prefixes[kind], value)
    is_typed = kind in kind_names() and get_kind(kind).prefix
    return spell(Reference(kind, value)) if is_typed else f"{kind} {value}"


def show_person(value: UUID | None) -> str:
    """Return how staff read the id of a person who acted; a dash for nobody."""
    return show_id(name_of_users(), value) if value else "-"


def show_manager(value: UUID) -> str:
    """Return how staff read the id of a subject that manages others."""
    return show_id(managing_kind() or "subject", value)


def label_subject(kind: str, row: Any) -> str:
    """Return how a living subject is offered for choosing and named on a confirmation page."""
    known = get_kind(kind)
    return f"{known.label(row)} ({spell(Reference(kind, known.id_of(row.pk)))})"


def show_deletion(value: UUID) -> str:
    """Return the id of a deletion request as clients see it, ``del_…``."""
    return show_id(DELETION, value)


def speak_ids(text: str) -> str:
    """Return a text that quotes subjects by kind and plain id, with typed ids in their place."""
    quoted = rf"\b({'|'.join(map(re.escape, kind_names()))}) ({_UUID})"
    return re.sub(quoted, lambda match: show_id(match[1], UUID(match[2])), text)


def show_time(value: datetime | None) -> str:
    return date_format(timezone.localtime(value), "j M Y, H:i") if value else "-"


def show_day(value: datetime) -> str:
    return date_format(timezone.localtime(value), "j M Y")


def show_number(value: int) -> str:
    """Return a number with a thin space between its thousands."""
    return f"{value:,}".replace(",", "\u2009")


def show_span(span: timedelta) -> str:
    """Return how long something has taken or will take, in the largest whole unit."""
    minutes = int(span.total_seconds()) // 60
    for size, unit in ((1440, "day"), (60, "hour")):
        if minutes >= size:
            number = minutes // size
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{minutes} minute{'s' if minutes != 1 else ''}"


def name_rows(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return counts by model with each model's plain name instead of its label."""
    return [(name_model(label, count), count) for label, count in counts.items()]


def tell_rows(counts: Mapping[str, int]) -> str:
    """Return counts by model as one line, such as ``1 user, 2 API keys``."""
    return ", ".join(f"{count} {name}" for name, count in name_rows(counts)) or "nothing"


def tell_facts(facts: Mapping[str, Any]) -> str:
    """Return an event's facts as one line."""
    return "; ".join(f"{name}: {_tell_fact(name, value)}" for name, value in sorted(facts.items()))


def _tell_fact(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return tell_rows(value)
    if name in _fact_kinds and (found := read_uuid(str(value))):
        return show_id(_fact_kinds[name], found)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def name_model(label: str, count: int) -> str:
    """Return a model's plain name, for one row or for several."""
    try:
        options = apps.get_model(label)._meta
    except (LookupError, ValueError):
        # An old request may count rows of a model that is gone.
        return label
    return str(options.verbose_name if count == 1 else options.verbose_name_plural)


def tell_kept(kept: Iterable[Any]) -> tuple[tuple[str, str], ...]:
    """Return what stays and why, as pairs, from a plan's or a receipt's list of what is kept."""
    told = []
    for one in kept:
        if not isinstance(one, Mapping):
            told.append((name_model(str(one), 2), "stays, as its policy says"))
            continue
        rows, days = one.get("rows"), one.get("retention_days")
        label = str(one.get("label") or rows)
        # A plan counts the rows; a receipt's statement, made for many, only names them.
        rows = rows if isinstance(rows, int) else None
        name = name_model(label, 2 if rows is None else rows)
        number = "" if rows is None else f"{show_number(rows)} "
        span = f"for {days} days" if days is not None else "for good: it names nobody any more"
        because = str(one.get("because", "")).rstrip(".")
        told.append((f"{number}{name}", f"{because}. {one.get('basis', '')}, {span}"))
    return tuple(group_kept(told))


def group_kept(kept: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return names and the reason they share, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for name, why in kept:
        by_reason.setdefault(why, []).append(name)
    return [(", ".join(names), why) for why, names in by_reason.items()]


def tell_verdict(request: DeletionRequest, *, held: bool, now: datetime) -> str:
    """Return the one sentence at the top of a deletion's page."""
    if request.finished_at is None:
        return tell_next(request, held=held, now=now)
    done = "erased" if request.state == DeletionRequest.State.COMPLETED else "restored"
    return f"{done} on {show_time(request.finished_at)}"


def tell_requester(request: DeletionRequest | None) -> str:
    """Return by whom a deletion was asked for."""
    if request is None:
        return "-"
    kind, requester = request.requested_by_kind, request.requested_by_id
    if (kind, requester) == (request.subject_kind, request.subject_id):
        return f"the {kind}"
    return show_id(kind, requester)


def tell_headway(request: DeletionRequest, *, now: datetime) -> str:
    """Return how far a large erasure is, how fast it goes and when it should end, to follow
    "being erased"; empty for a small one."""
    going = headway_of(request, now=now)
    if going is None:
        return ""
    if not going.expected:
        return f": {show_number(going.ahead)} that go along are gone"
    done, expected = show_number(going.done), show_number(going.expected)
    told = f": {going.share:.0%}, {done} of about {expected} rows"
    if going.ends_at is None:
        return told
    rate = show_number(round(going.rate))
    return f"{told}, {rate} rows a second, until about {show_time(going.ends_at)}"


def tell_next(request: DeletionRequest | None, *, held: bool, now: datetime) -> str:
    """Return what happens next to a deleted subject, given its latest deletion request."""
    if request is None:
        return "nothing: no deletion is open"
    if request.state not in DeletionRequest.OPEN:
        return "nothing"
    if request.is_leased(now):
        return f"being erased now{tell_headway(request, now=now)}"
    if held:
        return "on legal hold: stays until the hold is released"
    if request.state == DeletionRequest.State.RUNNING:
        return f"waits for a worker{tell_headway(request, now=now)}"
    if request.state == DeletionRequest.State.FAILED:
        retry = f", next try at {show_time(request.retry_at)}" if request.retry_at else ""
        return f"failed: {request.last_error}{retry}"
    if request.due_at <= now:
        return "due: erased by the next purge"
    days = (timezone.localtime(request.due_at).date() - timezone.localtime(now).date()).days
    return f"erased on {show_day(request.due_at)}, {_tell_days(days)}"


def _tell_days(days: int) -> str:
    return {0: "later today", 1: "tomorrow"}.get(days, f"in {days} days")
