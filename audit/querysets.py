from collections.abc import Iterable
from typing import Any, Never

from django.db import models


class AppendOnlyError(TypeError):
    """Somebody tried to change or remove an audit event."""


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """Refuses what an append-only table must not see. Reading and inserting work as usual."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[Any]:
        events = list(objs)
        for event in events:
            event.vouch()
        return super().bulk_create(events, *args, **kwargs)

    def update(self, **kwargs: Any) -> Never:
        raise AppendOnlyError("Audit events are never updated.")

    def delete(self) -> Never:
        raise AppendOnlyError("Audit events are never deleted.")
