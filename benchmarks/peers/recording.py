"""The statements of one request, recorded so that they can be sent again for another user.

A recorded parameter becomes a slot: a constant, or something that differs from request to request
(the user, the key, a new id, the time). Whatever ours executes, the raw peer therefore executes
too, without anybody keeping a list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Json, Jsonb

Values = dict[str, Any]
Slot = Callable[[Values], Any]


@dataclass
class Recorder:
    """An execute wrapper of Django's that turns what passes through it into steps."""

    known: dict[Any, str]
    """Value to the name under which it is known: ``user``, ``key``, ``digest``, ``request_id``."""
    in_transaction: Callable[[], bool]
    seen: list[tuple[str, Any, bool]] = field(default_factory=list)

    def __call__(
        self, execute: Any, statement: str, parameters: Any, many: bool, context: Any
    ) -> Any:
        if many:
            raise TypeError("executemany cannot be replayed")
        self.seen.append((statement, parameters, self.in_transaction()))
        return execute(statement, parameters, many, context)

    def steps(self) -> list[dict[str, Any]]:
        """Return what was seen as JSON: the text, whether in a transaction, and the slots."""
        self.started: datetime | None = None
        return [
            {"sql": text, "atomic": atomic, "slots": [self._slot(value) for value in values or ()]}
            for text, values, atomic in self.seen
        ]

    def _slot(self, value: Any) -> list[Any]:
        if isinstance(value, list | tuple):
            return ["list", [self._slot(item) for item in value]]
        if isinstance(value, Json | Jsonb):
            return ["json", self._slot(value.obj)]
        if isinstance(value, dict):
            return ["dict", {name: self._slot(item) for name, item in value.items()}]
        if isinstance(value, datetime):
            self.started = self.started or value
            apart = (value - self.started).total_seconds()
            # Two looks at the clock in one request count as one.
            return ["time", round(apart)]
        if isinstance(value, UUID):
            return ["value", self._name(value)]
        if isinstance(value, str):
            return self._text(str(value))
        if value is None or isinstance(value, bool | float):
            return ["constant", value]
        if isinstance(value, int):
            return ["constant", int(value)]
        raise TypeError(f"{type(value).__name__} cannot be replayed")

    def _text(self, value: str) -> list[Any]:
        if value in self.known:
            return ["value", self.known[value]]
        try:
            return ["text", self._name(UUID(value))]
        except ValueError:
            return ["constant", value]

    def _name(self, value: UUID) -> str:
        return self.known.setdefault(value, f"new-{len(self.known)}")


def build(slot: list[Any]) -> Slot:
    """Return the function that fills a slot from the values of one request."""
    kind, what = slot
    if kind == "constant":
        return lambda values: what
    if kind == "value":
        return lambda values: values[what]
    if kind == "text":
        return lambda values: str(values[what])
    if kind == "time":
        apart = timedelta(seconds=what)
        return lambda values: values["now"] + apart
    if kind == "json":
        inner = build(what)
        return lambda values: Jsonb(inner(values))
    if kind == "dict":
        parts = {name: build(item) for name, item in what.items()}
        return lambda values: {name: part(values) for name, part in parts.items()}
    items = [build(item) for item in what]
    return lambda values: [item(values) for item in items]


def new_names(slot: Any) -> set[str]:
    """Return the names of the new ids that a slot asks for."""
    if isinstance(slot, str):
        return {slot} if slot.startswith("new-") else set()
    if isinstance(slot, dict):
        slot = list(slot.values())
    return set().union(*map(new_names, slot)) if isinstance(slot, list) else set()


def values_of_request(names: set[str]) -> Values:
    return {"now": datetime.now(UTC), "request_id": f"req_{uuid4().hex[:26]}"} | {
        name: uuid4() for name in names
    }
