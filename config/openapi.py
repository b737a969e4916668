"""Which addresses the OpenAPI document speaks of."""

from typing import Any


def keep_documented(endpoints: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Drop catch-alls and second addresses of the same action."""

    def is_hidden(callback: Any) -> bool:
        given = getattr(callback, "initkwargs", {})
        return bool(given.get("is_catch_all") or given.get("is_alias"))

    return [endpoint for endpoint in endpoints if not is_hidden(endpoint[3])]
