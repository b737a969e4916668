"""What the staff's pages share: who acts, and how ids, dates, refusals and next steps read."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.apps import apps
from django.contrib import admin
from django.utils import timezone
from django.utils.formats import date_format

from accounts.exceptions import NameTaken, Oneself, SomebodyElse
from apikeys.exceptions import (
    ApiKeyNotFound,
    ExpiryInThePast,
    OrganizationNotRun,
    ScopesNotGrantable,
)
from audit.actors import Actor, Origin
from audit.events import Reference
from contracts import ids
from contracts.authentication import client_address
from erasure.exceptions import (
    ActorGone,
    DeletionInProgress,
    GraceExpired,
    NotRestorable,
    RightMissing,
    SubjectNotFound,
    UnderLegalHold,
)
from erasure.models import DeletionRequest
from organizations.exceptions import NotOrganizationOwner, SlugTaken, SoleOwner

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyAdmin = admin.ModelAdmin

CHANNEL = "admin"

# How the models of users name their rows: ids of the wire are not known down there.
_PLAIN_USER = re.compile(
    r"\b(?:user|deleted account) ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)


def actor_of(request: Any) -> Actor:
    """Return the signed-in member of staff as the actor of a service call."""
    return Actor(
        kind="user",
        id=request.user.pk,
        channel=CHANNEL,
        request_id=getattr(request, "request_id", ""),
        person_id=request.user.pk,
        origin=Origin(
            address=client_address(request), user_agent=request.headers.get("User-Agent", "")[:255]
        ),
    )


def show_id(kind: str, value: UUID | None) -> str:
    """Return how staff read an id: ``usr_…`` for users, the plain id with its kind for others."""
    if value is None:
        return kind
    return ids.encode(ids.USER, value) if kind == "user" else f"{kind} {value}"


def speak_ids(text: str) -> str:
    """Return a text that quotes users by their plain ids with ``usr_…`` ids in their place."""
    return _PLAIN_USER.sub(lambda match: ids.encode(ids.USER, UUID(match[1])), text)


def label_user(user: Any) -> str:
    """Return how a user is offered for choosing and named on a confirmation page."""
    return f"{user.username} ({show_id('user', user.pk)})"


def find_id(text: str) -> UUID | None:
    """Return the id that a search term spells: a ``usr_…`` or ``key_…`` id, or a plain UUID."""
    text = text.strip()
    typed = ids.decode(ids.USER, text) or ids.decode(ids.KEY, text)
    return typed or ids.decode_uuid(text)


def find_subject(text: str) -> Reference | None:
    """Return the subject that an id points at: a plain UUID is looked for in every kind."""
    text = text.strip()
    if (user_id := ids.decode(ids.USER, text)) is not None:
        return Reference("user", user_id)
    if (plain := ids.decode_uuid(text)) is None:
        return None
    is_user = apps.get_model("accounts.User")._default_manager.filter(pk=plain).exists()
    return Reference("user" if is_user else "organization", plain)


def show_time(value: datetime | None) -> str:
    return date_format(timezone.localtime(value), "j M Y, H:i") if value else "-"


def date_column(field: str, label: str) -> Any:
    """Return a column, or a read-only field, that shows a moment in the form all pages use."""

    @admin.display(description=label, ordering=field)
    def column(row: Any) -> str:
        return show_time(getattr(row, field))

    column.__name__ = field
    return column


def titled(field: str, title: str, kind: type[admin.FieldListFilter]) -> Any:
    """Return a filter on a field under a title that reads better than the field's name."""

    class Titled(kind):  # type: ignore[valid-type,misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.title = title

    return field, Titled


def by_time(field: str, title: str) -> Any:
    return titled(field, title, admin.DateFieldListFilter)


def by_flag(field: str, title: str) -> Any:
    return titled(field, title, admin.BooleanFieldListFilter)


def name_rows(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return counts by model with each model's plain name instead of its label."""
    return [(_name_model(label, count), count) for label, count in counts.items()]


def tell_rows(counts: Mapping[str, int]) -> str:
    """Return counts by model as one line, such as ``1 user, 2 API keys``."""
    return ", ".join(f"{count} {name}" for name, count in name_rows(counts)) or "nothing"


def tell_facts(facts: Mapping[str, Any]) -> str:
    """Return an event's facts as one line."""
    return "; ".join(f"{name}: {_tell_fact(name, value)}" for name, value in sorted(facts.items()))


def _tell_fact(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return tell_rows(value)
    if name == "member" and (user_id := ids.decode_uuid(str(value))):
        return show_id("user", user_id)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _name_model(label: str, count: int) -> str:
    try:
        options = apps.get_model(label)._meta
    except LookupError:
        # An old request may count rows of a model that is gone.
        return label
    return str(options.verbose_name if count == 1 else options.verbose_name_plural)


def tell_requester(request: DeletionRequest | None) -> str:
    """Return by whom a deletion was asked for."""
    if request is None:
        return "-"
    kind, requester = request.requested_by_kind, request.requested_by_id
    if (kind, requester) == (request.subject_kind, request.subject_id):
        return f"the {kind}"
    return show_id(kind, requester)


def tell_next(request: DeletionRequest | None, *, held: bool, now: datetime) -> str:
    """Return what happens next to a deleted subject, given its open deletion request."""
    if request is None:
        return "nothing: no deletion is open"
    if request.is_leased(now):
        return "being erased now"
    if held:
        return "on legal hold: stays until the hold is released"
    if request.state == DeletionRequest.State.RUNNING:
        return "stalled: taken up by the next purge"
    if request.state == DeletionRequest.State.FAILED:
        retry = f", next try at {show_time(request.retry_at)}" if request.retry_at else ""
        return f"failed: {request.last_error}{retry}"
    if request.due_at <= now:
        return "due: erased by the next purge"
    return f"erased on {date_format(timezone.localtime(request.due_at), 'j M Y')}, " + _tell_days(
        (timezone.localtime(request.due_at).date() - timezone.localtime(now).date()).days
    )


def _tell_days(days: int) -> str:
    return {0: "later today", 1: "tomorrow"}.get(days, f"in {days} days")


def explain(error: Exception) -> str:
    """Return a refusal in plain words, for the member of staff who ran into it."""
    told = EXPLANATIONS.get(type(error), type(error).__name__)
    return f"nothing was done: {told(error) if callable(told) else told}."


EXPLANATIONS: dict[type[Exception], str | Callable[[Any], str]] = {
    SoleOwner: lambda error: (
        "it would leave without an owner: " + ", ".join(it.name for it in error.organizations)
    ),
    Oneself: "this is your own account",
    SomebodyElse: "this is somebody else's account",
    RightMissing: lambda error: f"you lack the permission {error.right}",
    SubjectNotFound: lambda error: f"there is no such {error.kind} any more",
    ActorGone: "its owner is deleted or inactive",
    UnderLegalHold: "a legal hold forbids it. Release the hold first",
    DeletionInProgress: "another deletion of it is running. Try again in a moment",
    NotOrganizationOwner: "only an owner may do this",
    NotRestorable: "there is no scheduled deletion to undo",
    GraceExpired: lambda error: f"the time to restore it ended on {show_time(error.due_at)}",
    NameTaken: lambda error: (
        "somebody else bears its " + ("e-mail address" if error.field == "email" else error.field)
    ),
    SlugTaken: "another organization bears its slug",
    ApiKeyNotFound: "there is no such key any more",
    OrganizationNotRun: "the organization is deleted or inactive",
    ScopesNotGrantable: lambda error: (
        "an owner of this kind cannot hold " + ", ".join(error.scopes)
    ),
    ExpiryInThePast: "the expiry lies in the past",
}
