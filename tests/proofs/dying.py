"""Delivers webhooks, and dies at a chosen point as SIGKILL would have it. A process of its own.

python -m tests.proofs.dying claimed|sent|recording|recorded
"""

import os
import signal
import sys
from typing import Any

import django


def die(*args: Any, **kwargs: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def main(point: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    django.setup()
    from django.utils import timezone

    from organizations.webhooks import delivering

    once: dict[str, Any] = {
        "claimed": ("_send_one", die),
        "sent": ("record_answer", die),
        "recording": ("_end", die),
    }
    if point in once:
        name, replacement = once[point]
        setattr(delivering, name, replacement)
    delivering.deliver_due(clock=timezone.now)
    if point == "recorded":
        die()


if __name__ == "__main__":
    main(sys.argv[1])
