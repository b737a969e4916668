"""The application for WSGI servers: ``granian --interface wsgi config.wsgi:application``."""

import os
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def measure_bodies(serve: Application) -> Application:
    """Give a body that arrives in chunks a length, without which Django reads nothing of it.

    At most one byte more than the limit is read; the limit itself is enforced where it belongs.
    """

    def measured(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
        return serve(environ, start_response)

    return measured


application = measure_bodies(get_wsgi_application())
