"""One deletion told in order, from its request row and what the audit log says. Reads nothing
itself: whoever calls it brings the rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils.text import capfirst

from audit.models import AuditEvent
from erasure.desk.shown import (
    name_rows,
    show_day,
    show_deletion,
    show_id,
    show_manager,
    show_number,
    show_span,
    show_time,
    tell_facts,
    tell_kept,
    tell_next,
    tell_requester,
)
from erasure.models import DeletionRequest, LegalHold
from erasure.notified import Recipient

Rows = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Chapter:
    """Something that happened, or, without a time, lies ahead.

    ``order`` settles what comes first among chapters of the same moment.
    """

    at: datetime | None
    title: str
    lines: tuple[str, ...] = ()
    rows: Rows = ()
    kept: Rows = ()
    tone: str = ""
    order: int = 5


@dataclass(frozen=True)
class Sources:
    """Everything that a story is told from."""

    request: DeletionRequest
    events: Sequence[AuditEvent] = ()
    holds: Sequence[LegalHold] = ()
    statement: Mapping[str, Any] = field(default_factory=dict)
    backups_until: datetime | None = None
    paused: str = ""
    recipients: Sequence[Recipient] = ()


def tell_story(sources: Sources, *, now: datetime) -> list[Chapter]:
    """Return the chapters in order: what happened, and what comes next as the last one."""
    happened = [
        *_asked(sources),
        *_planned(sources.request),
        *_access(sources),
        *_holds(sources),
        *_warned(sources.request),
        *_tried(sources.request),
        *_other_events(sources),
        *_ended(sources),
        *_recipients(sources),
    ]
    told = sorted(happened, key=lambda it: (it.at or now, it.order))
    return [*told, _next(sources, now)]


def _asked(sources: Sources) -> Iterable[Chapter]:
    request = sources.request
    who = tell_requester(request)
    lines = [f"By {who}, through {request.channel}."]
    if request.reference and request.reference != _case_of_end(sources):
        lines.append(f"Case {request.reference}.")
    if request.cause_id:
        lines.append(f"It came with another decision: {show_deletion(request.cause_id)}.")
    if request.organization_id:
        lines.append(f"The subject was managed by {show_manager(request.organization_id)}.")
    if request.generation > 1:
        lines.append(f"It is deletion number {request.generation} of this subject.")
    yield Chapter(request.requested_at, "The deletion was asked for", tuple(lines), order=0)


def _planned(request: DeletionRequest) -> Iterable[Chapter]:
    planned = request.planned or {}
    if not planned and not request.plan_id:
        return
    lines = [f"Plan {request.plan_id[:17]}…"] if request.plan_id else []
    lines += [f"Stood against it then: {text}." for text in _texts(planned.get("blockers"))]
    yield Chapter(
        request.requested_at,
        "What would go was looked at",
        tuple(lines),
        rows=_count(planned.get("removed") or {}),
        kept=tell_kept(planned.get("kept") or ()),
        order=1,
    )


def _access(sources: Sources) -> Iterable[Chapter]:
    request = sources.request
    for event in sources.events:
        if event.action != f"{request.subject_kind}.deleted":
            continue
        lines = ["Access ended in the same moment: sign-ins and keys are dead, the data waits."]
        if more := _leave(event.facts, "deletion", "reference", "plan"):
            lines.append(capfirst(tell_facts(more)) + ".")
        yield Chapter(event.at, "Access was taken away", tuple(lines), order=2)


def _holds(sources: Sources) -> Iterable[Chapter]:
    for hold in sources.holds:
        lines = [f"{hold.reason.rstrip('.')}.", *_by(hold.placed_by_id)]
        if hold.review_at:
            lines.append(f"To be looked at again on {hold.review_at:%-d %b %Y}.")
        yield Chapter(
            hold.placed_at,
            "A legal hold was placed",
            tuple(lines),
            tone="held",
        )
        if hold.released_at:
            who = tuple(_by(hold.released_by_id))
            yield Chapter(hold.released_at, "The legal hold was released", who)


def _warned(request: DeletionRequest) -> Iterable[Chapter]:
    if request.warned_at:
        yield Chapter(request.warned_at, "The subject was told that the erasure is near")


def _tried(request: DeletionRequest) -> Iterable[Chapter]:
    """The last failure. Earlier ones are events of the audit log, where the engine writes them."""
    if request.state != DeletionRequest.State.FAILED or not request.attempts:
        return
    times = "attempt" if request.attempts == 1 else "attempts"
    yield Chapter(
        None,
        f"{request.attempts} {times} failed",
        (f"The last one ended with: {request.last_error or 'no reason is recorded'}.",),
        tone="bad",
    )


def _other_events(sources: Sources) -> Iterable[Chapter]:
    kind = sources.request.subject_kind
    told = {f"{kind}.deleted", f"{kind}.erased", f"{kind}.restored", "hold.placed", "hold.released"}
    for event in sources.events:
        if event.action in told:
            continue
        who = show_id(event.actor_kind, event.actor_id)
        title = _title_of(event.action)
        facts = _leave(event.facts, "deletion", "pause", "bulk")
        lines = [f"By {who}, through {event.channel}."]
        if facts:
            lines.append(capfirst(tell_facts(facts)) + ".")
        tone = "" if event.outcome == "done" else "bad"
        yield Chapter(event.at, capfirst(title), tuple(lines), tone=tone)


TITLES = {
    "deletion.brought_forward": "the erasure was brought forward",
    "deletion.retried": "another attempt was asked for",
    "pause.placed": "its erasure was paused",
    "pause.released": "the pause was released",
    "notice.failed": "a mail could not be sent",
}


def _title_of(action: str) -> str:
    if action.endswith(".exported"):
        return "a copy of the data was made"
    if action.endswith(".searched"):
        return "leftovers were searched for"
    return TITLES.get(action) or action.replace(".", ": ").replace("_", " ")


def _ended(sources: Sources) -> Iterable[Chapter]:
    request = sources.request
    if request.finished_at is None:
        return
    event = _end_of(sources)
    lines = []
    if event:
        lines.append(f"By {show_id(event.actor_kind, event.actor_id)}, through {event.channel}.")
    if case := _case_of_end(sources):
        lines.append(f"Case {case}.")
    if request.state == DeletionRequest.State.CANCELLED:
        yield Chapter(
            request.finished_at,
            "The deletion was taken back",
            (*lines, "Everything that it took came back. Keys and sign-ins stay dead."),
            tone="good",
            order=9,
        )
        return
    yield _erased(sources, lines)


def _recipients(sources: Sources) -> Iterable[Chapter]:
    """Whom the data had been disclosed to, and what they answered. GDPR Art. 19."""
    told = sources.recipients
    if not told or sources.request.finished_at is None:
        return
    failed = [one for one in told if one.state == "failed"]
    waiting = [one for one in told if one.state == "waiting"]
    title = "Every recipient acknowledged the erasure"
    if failed:
        title = "A recipient could not be told of the erasure"
    elif waiting:
        title = "Recipients are being told of the erasure"
    yield Chapter(
        sources.request.finished_at,
        title,
        tuple(f"{one.name}: {one.text}." for one in told),
        tone="bad" if failed else "" if waiting else "good",
        order=10,
    )


def _end_of(sources: Sources) -> AuditEvent | None:
    ends = (".erased", ".restored")
    return next((event for event in sources.events if event.action.endswith(ends)), None)


def _case_of_end(sources: Sources) -> str:
    """The case under which it was brought to its end; the request keeps that one, too, when
    nobody named another before."""
    event = _end_of(sources)
    return str(event.facts.get("reference", "")) if event else ""


def _erased(sources: Sources, lines: list[str]) -> Chapter:
    request = sources.request
    total = sum(request.counts.values())
    if request.attempts > 1:
        lines.append(f"It took {request.attempts} attempts.")
    rows = "rows" if total != 1 else "row"
    lines.append(f"{show_number(total)} {rows} removed, as the database counted them.")
    # Recipients have a chapter of their own, for as long as the history of telling them is kept.
    names = tuple(f"{one.name}:" for one in sources.recipients)
    lines += [f"Told: {one}." for one in _told(request.told) if not one.startswith(names)]
    if request.signature:
        lines.append("A signed receipt states all this.")
    return Chapter(
        request.finished_at,
        "The data was erased",
        tuple(lines),
        rows=_count(request.counts),
        kept=tell_kept(sources.statement.get("kept") or ()),
        tone="good",
        order=9,
    )


def _next(sources: Sources, now: datetime) -> Chapter:
    request = sources.request
    if request.state == DeletionRequest.State.COMPLETED:
        until = sources.backups_until
        if until is None:
            return Chapter(None, "Nothing: it is done", tone="ahead")
        if until <= now:
            line = f"Backups were free of it from {show_day(until)} on."
            return Chapter(None, "Nothing: it is done", (line,), tone="ahead")
        line = f"Backups may hold the data until {show_day(until)}; then none does."
        return Chapter(None, "Backups run out", (line,), tone="ahead")
    if request.state == DeletionRequest.State.CANCELLED:
        return Chapter(None, "Nothing: the subject is back", tone="ahead")
    held = any(hold.released_at is None for hold in sources.holds)
    lines = [capfirst(tell_next(request, held=held, now=now)) + "."]
    if request.due_at > now:
        lines.append(f"Until {show_time(request.due_at)} it can be restored.")
    elif not held and not request.is_leased(now):
        lines.append(f"It has been due for {show_span(now - request.due_at)}.")
    if sources.paused:
        lines.append(f"Erasure is paused: {sources.paused.rstrip('.')}.")
    return Chapter(None, "What comes next", tuple(lines), tone="ahead")


def _count(counts: Mapping[str, int]) -> Rows:
    return tuple((name, show_number(count)) for name, count in name_rows(counts))


def _by(person: UUID | None) -> list[str]:
    return [f"By {show_id('user', person)}."] if person else []


def _leave(facts: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name not in names}


def _texts(given: Any) -> list[str]:
    return [
        str(one.get("text", one)) if isinstance(one, Mapping) else str(one) for one in given or ()
    ]


def _told(given: Any) -> list[str]:
    return [tell_facts(one) if isinstance(one, Mapping) else str(one) for one in given or ()]
