"""How a further process of a purge begins. Imports nothing of Django's before it is set up, since
this is what the new process reads first."""

from typing import Any


def start(settings: str, database: dict[str, Any]) -> None:
    """Set Django up, on the very database that the parent uses."""
    import os

    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    import django

    django.setup()
    from django.db import connections

    # Set-up may have made a connection object already, though nobody has connected.
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = database
