"""The engine that ``settings.database`` names for PostgreSQL.

Django tests a kept connection with a ``SELECT 1`` at the start of every request, a round trip that
a busy service spends over and over on connections that answered a moment ago. Here an answer is
believed for ``CONN_HEALTH_TRUSTED`` seconds. A connection that was idle for longer is tested as
ever, so a restart of the server costs nobody a request after a pause. Once one connection of the
process is found dead, none that answered before that moment is believed any more.
"""

from time import monotonic
from typing import ClassVar

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    doubted_at: ClassVar[float] = 0.0
    """When a connection of this process was last found dead."""
    health_check_done: bool
    answered_at = 0.0
    """When this connection last answered a test, or was opened."""

    def connect(self) -> None:
        super().connect()
        self.answered_at = monotonic()

    def is_usable(self) -> bool:
        usable: bool = super().is_usable()
        if usable:
            self.answered_at = monotonic()
        else:
            DatabaseWrapper.doubted_at = monotonic()
        return usable

    def close_if_health_check_failed(self) -> None:
        # Called before every statement; the answer of a request's first is remembered for the rest.
        if not self.health_check_done and self.is_trusted:
            self.health_check_done = True
        super().close_if_health_check_failed()

    @property
    def is_trusted(self) -> bool:
        """Whether the connection has answered so lately that it need not be asked again."""
        fresh: float = monotonic() - self.settings_dict.get("CONN_HEALTH_TRUSTED", 0)
        return self.answered_at > max(fresh, self.doubted_at)
