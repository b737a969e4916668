"""Lists a page at a time: ``?limit=50&cursor=cur_…``.

A cursor names the last row that was shown, so a page costs the same however far down it lies, and
rows that come or go meanwhile neither hide nor repeat others. It carries no right: each page is
asked for anew by whoever may see the list.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from rest_framework.request import Request

from contracts import ids
from contracts.errors import Fault, InvalidRequest
from contracts.schema import json_object, query

DEFAULT, MOST = 50, 100
CURSOR_PATTERN = f"^{ids.CURSOR}_{ids.SUFFIX_PATTERN}$"

PAGE = [
    query(
        "limit",
        "At most so many in one answer.",
        type="integer",
        minimum=1,
        maximum=MOST,
        default=DEFAULT,
    ),
    query("cursor", "The `next_cursor` of the answer before.", pattern=CURSOR_PATTERN),
]


class Page(NamedTuple):
    """Which part of a list is asked for: so many rows after this one, or from the beginning."""

    after: UUID | None
    limit: int


def page_of(item: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of a page of such items."""
    cursor = {"type": ["string", "null"], "pattern": CURSOR_PATTERN}
    return json_object({"data": {"type": "array", "items": item}, "next_cursor": cursor})


def read_page(request: Request) -> Page:
    """Return the page that a request asks for; raises InvalidRequest with a fault for each part
    that is wrong."""
    faults: list[Fault] = []
    limit = _read(request, "limit", _read_limit, f"A whole number from 1 to {MOST}.", faults)
    after = _read(request, "cursor", _read_cursor, "No cursor of this list.", faults)
    if faults:
        raise InvalidRequest(*faults)
    return Page(after, limit or DEFAULT)


def describe_page(
    found: tuple[Sequence[Any], UUID | None], describe: Callable[[Any], dict[str, Any]]
) -> dict[str, Any]:
    """Return a page as clients see it; ``found`` is its rows and the last one if more follow."""
    rows, last = found
    cursor = ids.encode(ids.CURSOR, last) if last else None
    return {"data": [describe(row) for row in rows], "next_cursor": cursor}


def _read(
    request: Request, name: str, parse: Callable[[str], Any], text: str, faults: list[Fault]
) -> Any:
    given = request.query_params.getlist(name)
    if not given:
        return None
    value = parse(given[0]) if len(given) == 1 else None
    if value is None:
        faults.append(Fault(["query", name], text, "invalid", given[0]))
    return value


def _read_limit(text: str) -> int | None:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 4
    return int(text) if is_number and 1 <= int(text) <= MOST else None


def _read_cursor(text: str) -> UUID | None:
    return ids.decode(ids.CURSOR, text)
