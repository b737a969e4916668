from collections.abc import Iterator
from typing import Any

import pytest

from tests.webhooks.receiver import Receiver, listening


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A server on this machine, and the leave to send to it."""
    settings.WEBHOOKS_ALLOW_LOOPBACK = True
    with listening() as server:
        yield server


@pytest.fixture(autouse=True)
def _quiet_tasks(settings: Any) -> None:
    """Tasks wait as rows of the database: a test runs what it wants to be run."""
    settings.TASKS = {
        "default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": [], "OPTIONS": {}}
    }
