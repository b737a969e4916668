"""Serves nothing from a database that is older than its ledger."""

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from erasure import gate
from erasure.ledger import open_ledger

NOTHING_TO_SEE = 204
RETRY_AFTER = 30
LONG = 0.25
"""Seconds. A request that took so long may have waited for the lock of somebody who replaced the
tables."""


class LedgerGate:
    """Glances before a request and, unless the answer shows nothing, looks behind it: if a backup
    came in between, it is what the view has read, and then nobody gets to see that."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not open_ledger() or request.path_info in _open_paths():
            return self.get_response(request)
        if reason := gate.glance():
            return refuse(request, reason)
        started = time.perf_counter()
        response = self.get_response(request)
        took = time.perf_counter() - started
        if (not _shows_nothing(response) or took > LONG) and (reason := gate.look()):
            return refuse(request, reason)
        return response


def _shows_nothing(response: HttpResponseBase) -> bool:
    """Whether an answer holds nothing that was read, as an empty one or one whose view says so by
    the attribute ``shows_nothing``."""
    return response.status_code == NOTHING_TO_SEE or getattr(response, "shows_nothing", False)


def _open_paths() -> Any:
    """Paths that read nothing about anybody, from the setting ERASURE_GATE_OPEN."""
    return getattr(settings, "ERASURE_GATE_OPEN", ())


def refuse(request: HttpRequest, reason: str) -> HttpResponseBase:
    """Answer 503 by the function that the setting ERASURE_GATE_ANSWER names, or in plain text."""
    answer: Any = getattr(settings, "ERASURE_GATE_ANSWER", None)
    response: HttpResponseBase = (
        import_string(answer)(request, reason)
        if answer
        else HttpResponse("The service is being brought up to date.\n", "text/plain", 503)
    )
    response.headers.setdefault("Retry-After", str(RETRY_AFTER))
    response.headers.setdefault("Cache-Control", "no-store")
    return response
