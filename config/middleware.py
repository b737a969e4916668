"""What surrounds every request."""

import logging
import time
from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from config import logs
from contracts import ids

logger = logging.getLogger("sexton.requests")

Next = Callable[[HttpRequest], HttpResponseBase]


class RequestTrace:
    """Gives a request its id, and writes one line about it: the route, never the path."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request.request_id = ids.new_request_id()  # type: ignore[attr-defined]
        token = logs.request_id.set(request.request_id)  # type: ignore[attr-defined]
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            response.headers.setdefault("X-Request-ID", logs.request_id.get())
            if response.status_code == 204:
                # RFC 9110, section 8.6: no Content-Length in a 204.
                response.headers.pop("Content-Length", None)
            self._log(request, response, time.perf_counter() - started)
            return response
        finally:
            logs.request_id.reset(token)

    def _log(self, request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        match = request.resolver_match
        logger.info(
            "request",
            extra={
                "method": request.method,
                "route": match.route if match else None,
                "status": response.status_code,
                "ms": round(seconds * 1000, 1),
            },
        )
