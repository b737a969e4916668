"""``manage.py check`` says when no receipt could be signed, before the first erasure does."""

from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from erasure.signing import signing_key


def check_key(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that there is a key, and that it is one."""
    try:
        signing_key()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="erasure.E020")]
    return []
