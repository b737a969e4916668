"""What the staff's pages share: who acts, what a search term names, columns and filters."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin

from audit.actors import Actor, Origin
from erasure.desk.shown import known_prefixes, show_time
from erasure.people import person_of
from erasure.subjects import get_kind
from erasure.typeids import read_id, read_uuid

if TYPE_CHECKING:
    AnyAdmin = admin.ModelAdmin[Any]
else:
    AnyAdmin = admin.ModelAdmin

CHANNEL = "admin"


def actor_of(request: Any) -> Actor:
    """Return the signed-in member of staff as the actor of a service call."""
    person = person_of(request.user)
    agent = request.headers.get("User-Agent", "")[:255]
    return Actor(
        kind=person.kind,
        id=person.id,
        channel=CHANNEL,
        request_id=getattr(request, "request_id", ""),
        person_id=person.id,
        origin=Origin(address=client_address(request), user_agent=agent),
    )


def may_see(user: Any, kind: str) -> bool:
    """Whether a member of staff may see who a kind's subjects are, beside their ids."""
    known = get_kind(kind)
    options = known.model._meta
    own = f"{options.app_label}.view_{options.model_name}"
    return bool(user.has_perm(known.view_permission or own))


def client_address(request: Any) -> str:
    """Return the client's address, reading X-Forwarded-For only as far as our own proxies wrote it
    (the setting NUM_PROXIES)."""
    near = str(request.META.get("REMOTE_ADDR") or "")
    proxies = getattr(settings, "NUM_PROXIES", 0) or 0
    written = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if not (proxies and written):
        return near
    hops = [hop.strip() for hop in written.split(",")]
    return str(hops[-min(proxies, len(hops))])


def find_id(text: str) -> UUID | None:
    """Return the id that a search term spells: a typed one such as ``usr_…``, or a plain UUID."""
    text = text.strip()
    for prefix in known_prefixes():
        if (found := read_id(prefix, text)) is not None:
            return found
    return read_uuid(text)


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
