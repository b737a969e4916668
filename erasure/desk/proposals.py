"""What a bulk erasure would take, for the page that proposes it and the page that decides on it:
exactly whom it is about, row for row."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from audit.events import Reference
from erasure.bulk import BULK_LIMIT
from erasure.closure import closure_of
from erasure.counting import count_rows
from erasure.desk.forms import ProposalForm
from erasure.desk.shown import label_subject, name_rows, show_id, show_number, show_span
from erasure.desk.staff import actor_of, may_see
from erasure.foureyes import count_ordered, threshold, window
from erasure.models import LegalHold
from erasure.references import read
from erasure.subjects import get_kind, kind_names

if TYPE_CHECKING:
    from erasure.desk.pages import StaffAdmin


@dataclass(frozen=True)
class Line:
    """One subject of a bulk. ``against`` says what stops it; ``is_gone`` that nothing is left."""

    subject: Reference
    name: str
    rows: str
    against: Sequence[str]
    is_gone: bool


@dataclass(frozen=True)
class Sum:
    """What a whole bulk would take. ``digest`` tells whether it is still what a page showed."""

    lines: Sequence[Line]
    rows: Sequence[tuple[str, str]]
    total: int
    stopped: int
    digest: str

    @property
    def shown_total(self) -> str:
        return show_number(self.total)


def ask_to_propose(
    admin: "StaffAdmin",
    request: HttpRequest,
    subjects: Sequence[Reference],
    form: forms.Form | None = None,
) -> HttpResponse:
    """Return the page that shows exactly what a proposal is about. Nothing happens yet."""
    if not 0 < len(subjects) <= BULK_LIMIT:
        text = f"Choose between 1 and {BULK_LIMIT} of the list. Nothing was done."
        admin.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(admin.list_url())
    done = count_ordered(actor_of(request).person_id, timezone.now())
    return admin.render_form(
        request,
        form or ProposalForm(),
        "erasure/desk/propose.html",
        title=f"Propose to erase {len(subjects)} subject{'' if len(subjects) == 1 else 's'}",
        threshold=threshold(),
        done=done,
        window=show_span(window()),
        sum=add_up(request.user, subjects),
        action=reverse("admin:erasure_bulkerasure_propose", current_app=admin.admin_site.name),
        back=admin.list_url(),
        button="Propose",
    )


def add_up(user: Any, subjects: Sequence[Reference]) -> Sum:
    """Return what a bulk would take, counted now, in a number of queries that does not grow with
    it."""
    names = name_subjects(user, subjects)
    rows, against, living = _look(subjects)
    family = _family(living)
    removed = count_rows(family).removed if family else {}
    lines = [
        Line(
            subject=subject,
            name=names.get(subject) or show_id(subject.kind, subject.id),
            rows=show_number(rows.get(subject, 0)),
            against=against.get(subject, ()),
            is_gone=subject not in living,
        )
        for subject in subjects
    ]
    return Sum(
        lines=lines,
        rows=[(name, show_number(count)) for name, count in name_rows(removed)],
        total=sum(removed.values()),
        stopped=sum(bool(line.against) for line in lines),
        digest=_digest(removed, against),
    )


def _look(
    subjects: Sequence[Reference],
) -> tuple[dict[Reference, int], dict[Reference, list[str]], set[Reference]]:
    """Return rows, obstacles and the living among subjects; those who go along count with the
    subject that takes them."""
    rows: dict[Reference, int] = defaultdict(int)
    against: dict[Reference, list[str]] = defaultdict(list)
    living: set[Reference] = set()
    for name, ids in _by_kind(subjects).items():
        kind = get_kind(name)
        found = kind.model._default_manager.filter(pk__in=[kind.pk_of(one) for one in ids])
        here = [kind.id_of(pk) for pk in found.values_list("pk", flat=True)]
        living |= {Reference(name, one) for one in here}
        for one, blockers in kind.blockers(here).items():
            against[Reference(name, one)] += [blocker.text for blocker in blockers]
        taker = {Reference(name, one): Reference(name, one) for one in here}
        for one, companions in kind.companions(here).items():
            taker |= dict.fromkeys(companions, Reference(name, one))
        for kin, members in _by_kind(list(taker)).items():
            for one, counts in closure_of(kin).count(members).removed.items():
                rows[taker[Reference(kin, one)]] += sum(counts.values())
            holds = LegalHold.objects.active().filter(subject_kind=kin, subject_id__in=members)
            for hold in holds:
                text = f"on legal hold: {hold.reason}"
                against[taker[Reference(kin, hold.subject_id)]].append(text)
    return rows, against, living


def _family(living: set[Reference]) -> dict[str, list[UUID]]:
    """Return the living by kind, with those who go along with them."""
    everybody = set(living)
    for name, ids in _by_kind(list(living)).items():
        for companions in get_kind(name).companions(ids).values():
            everybody |= set(companions)
    return _by_kind(sorted(everybody, key=lambda one: (one.kind, one.id)))


def _digest(removed: Mapping[str, int], against: Mapping[Reference, Sequence[str]]) -> str:
    stopped = sorted(f"{one.kind}:{one.id}" for one, texts in against.items() if texts)
    text = json.dumps([sorted(removed.items()), stopped])
    return hashlib.sha256(text.encode()).hexdigest()


def _by_kind(subjects: Sequence[Reference]) -> dict[str, list[UUID]]:
    found: dict[str, list[UUID]] = {}
    for subject in subjects:
        if subject.kind in kind_names():
            found.setdefault(subject.kind, []).append(subject.id)
    return found


def name_subjects(user: Any, subjects: Sequence[Reference]) -> dict[Reference, str]:
    """Return the names of those subjects that still exist and whose kind this member of staff may
    see, one query for each kind."""
    names: dict[Reference, str] = {}
    for name, ids in _by_kind(subjects).items():
        if not may_see(user, name):
            continue
        kind = get_kind(name)
        for row in kind.model._default_manager.filter(pk__in=[kind.pk_of(one) for one in ids]):
            names[Reference(name, kind.id_of(row.pk))] = label_subject(name, row)
    return names


def read_subjects(given: Sequence[str]) -> list[Reference]:
    """Return the subjects that a page's hidden fields name, each as ``kind:id``."""
    found = []
    for text in given:
        kind, _, plain = text.partition(":")
        if kind in kind_names() and (subject := read(plain, kind)):
            found.append(subject)
    return list(dict.fromkeys(found))
