"""Protocol faults, and the words that a dialect has for a refusal."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from rest_framework.exceptions import APIException


class Refusal(NamedTuple):
    """One line of a contract's ERRORS: what a client reads when an exception is raised."""

    status: int
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Everything an envelope may show: the refusal, the exception behind it, trace id and time."""

    refusal: Refusal
    error: Exception
    trace_id: str
    at: datetime


class BodyTooLarge(APIException):
    status_code = 413
    default_detail = "Request body too large."


class UnknownPath(APIException):
    status_code = 404
    default_detail = "Not found."


class HostNotServed(APIException):
    """The Host header names none of the hosts that this service answers for."""

    status_code = 400
    default_detail = "Host not served."


class ConfirmationMissing(APIException):
    """The body does not say ``"confirm": true``."""

    status_code = 400
    default_detail = "Confirmation required."


class VersionMissing(APIException):
    """The version header is missing or names a version that is not served."""

    status_code = 400
    default_detail = "Unsupported version."


class InvalidIdempotencyKey(APIException):
    status_code = 400
    default_detail = "Idempotency-Key must be 1 to 255 printable ASCII characters."


class IdempotencyKeyReused(APIException):
    """The same Idempotency-Key came with another request."""

    status_code = 422
    default_detail = "This Idempotency-Key was used for another request."


class IdempotentRequestRunning(APIException):
    """The first request with this Idempotency-Key has not been answered yet."""

    status_code = 409
    default_detail = "The first request with this Idempotency-Key is still running."


@dataclass
class Fault:
    """One thing wrong with one part of a request."""

    loc: Sequence[str | int]
    msg: str
    type: str
    input: Any = None
    ctx: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        parts = {"loc": self.loc, "msg": self.msg, "type": self.type, "input": self.input}
        return {**parts, "ctx": self.ctx} if self.ctx else parts


class InvalidRequest(APIException):
    """Parts of a request that do not fit, one fault for each."""

    status_code = 422
    default_detail = "Invalid request."

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(fault.msg for fault in faults))
        self.faults = faults
