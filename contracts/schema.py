"""Documents a contract's action from the tables that it answers with, so the two cannot drift."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)

from contracts import ids
from contracts.base import ErrorTable
from contracts.errors import InvalidRequest, Problem, Refusal

SAMPLE_TIME = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
SAMPLE_ID = UUID("019bc1a2-5c00-7000-8000-000000000001")
SAMPLE_TRACE = ids.encode(ids.REQUEST, SAMPLE_ID)

BODY = "x-request-body"
JSON = dict[str, Any]
View = TypeVar("View", bound=Callable[..., Any])


def json_object(properties: Mapping[str, JSON], *optional: str) -> JSON:
    """Return the JSON schema of an object whose properties are all required but ``optional``."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def header(name: str, description: str, *, required: bool = False, **schema: Any) -> Any:
    """Return the documentation of a request header."""
    return OpenApiParameter(
        name,
        {"type": "string", **schema},
        OpenApiParameter.HEADER,
        required=required,
        description=description,
    )


def query(name: str, description: str, **schema: Any) -> Any:
    """Return the documentation of an optional part of the query."""
    return OpenApiParameter(
        name, {"type": "string", **schema}, OpenApiParameter.QUERY, description=description
    )


def path(name: str, description: str, **schema: Any) -> Any:
    """Return the documentation of a part of the path."""
    return OpenApiParameter(
        name, {"type": "string", **schema}, OpenApiParameter.PATH, description=description
    )


IDEMPOTENCY = """

Honours the request header `Idempotency-Key` (1 to 255 printable ASCII characters, a new one for
each new request): for a day, the same request with the same key gets the first answer again, byte
for byte; another request with it is refused with 422."""


def operation(
    operation_id: str,
    *,
    summary: str,
    description: str,
    tag: str,
    success: Mapping[int | tuple[int, str], tuple[JSON | None, str, Any]],
    errors: ErrorTable,
    error_schema: JSON,
    envelope: Any,
    parameters: Sequence[Any] = (),
    body: JSON | None = None,
    body_required: bool = True,
    auth: Any = ({"bearerAuth": []}, {"apiKeyHeader": []}),
    idempotent: bool = True,
    leave_out: Sequence[type[Exception]] = (),
) -> Callable[[View], View]:
    """Return the decorator that documents an action.

    ``success`` maps a status, or a status and a media type, to its schema, description and
    example. ``leave_out`` names exceptions of a shared table that this action cannot raise.
    """
    responses: dict[Any, Any] = {}
    for status, (schema, text, example) in success.items():
        examples = [OpenApiExample(text, value=example)] if example is not None else []
        responses[status] = OpenApiResponse(schema, text, examples)
    for status, refusals in _by_status(errors, leave_out).items():
        examples = [_example(refusal, kind, envelope) for kind, refusal in refusals]
        distinct = {repr(example.value): example for example in examples}
        text = "; ".join(dict.fromkeys(refusal.text for _, refusal in refusals))
        responses[status] = OpenApiResponse(error_schema, text, list(distinct.values()))
    decorate: Callable[[View], View] = extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description + (IDEMPOTENCY if idempotent else ""),
        tags=[tag],
        parameters=list(parameters),
        request=None,
        responses=responses,
        auth=list(auth),
        # drf-spectacular gives DELETE no body, though RFC 9110 leaves that to the server.
        extensions={BODY: {"schema": body, "required": body_required}} if body else None,
    )
    return decorate


def _by_status(
    errors: ErrorTable, leave_out: Sequence[type[Exception]]
) -> dict[int, list[tuple[type[Exception], Refusal]]]:
    grouped: dict[int, list[tuple[type[Exception], Refusal]]] = defaultdict(list)
    for kind, refusal in errors.items():
        if kind not in leave_out:
            grouped[refusal.status].append((kind, refusal))
    return dict(sorted(grouped.items()))


def _example(refusal: Refusal, kind: type[Exception], envelope: Any) -> OpenApiExample:
    error = InvalidRequest() if kind is InvalidRequest else Exception()
    value = envelope(Problem(refusal, error, SAMPLE_TRACE, SAMPLE_TIME))
    return OpenApiExample(refusal.code or refusal.text, value=value)


def complete(result: JSON, **_: Any) -> JSON:
    """Say of every answer which headers it carries, and of every body whether it is required."""
    for methods in result["paths"].values():
        for described in methods.values():
            if body := described.pop(BODY, None):
                content = {"application/json": {"schema": body["schema"]}}
                described["requestBody"] = {"required": body["required"], "content": content}
            for status, response in described.get("responses", {}).items():
                response["headers"] = _headers(status)
    return result


def _headers(status: str) -> JSON:
    headers: JSON = {
        "X-Request-ID": {
            "description": "Names this request in the audit log.",
            "schema": {"type": "string", "pattern": f"^req_{ids.SUFFIX_PATTERN}$"},
        }
    }
    if status == "401":
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    if status == "405":
        headers["Allow"] = {"schema": {"type": "string"}}
    if status == "429":
        headers["Retry-After"] = {"schema": {"type": "integer", "minimum": 1}}
    return headers
