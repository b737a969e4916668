"""Structured logs: one JSON object a line, with the request's id and without secrets or e-mails."""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from pythonjsonlogger.json import JsonFormatter as BaseJsonFormatter

request_id: ContextVar[str] = ContextVar("request_id", default="")

# Every repetition is bounded: a long text costs time in proportion to its length, not its square.
_secrets = re.compile(
    r"""(?xi)
    (?P<mail> [\w.!#$%&'*+/=?^`{|}~-]{1,64} (?:@|%40) [\w-]+(?:\.[\w-]+)+ )
    | (?P<bearer> \bbearer\s+ )[\w.~+/=-]+
    | (?P<url> \b\w{1,32}://[^\s:/@]{0,128}: )[^\s@]{1,256}(?=@)
    | \b[\w-]{0,32}?[a-z0-9][-_](?:demo-)?[0-9A-Za-z]{36}\b
    """
)


# Nothing above matches a text without one of these. Most lines hold none, and this is far cheaper.
_suspect = re.compile(r"(?i)@|%40|bearer|[0-9a-z]{36}")


def scrub(text: str) -> str:
    """Return a text without e-mail addresses, API keys, bearer tokens and passwords in URLs."""

    def mask(match: re.Match[str]) -> str:
        kept = match["bearer"] or match["url"] or ""
        return f"{kept}{'[e-mail]' if match['mail'] else '[secret]'}"

    return _secrets.sub(mask, text) if _suspect.search(text) else text


def _scrub_all(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {scrub(str(key)): _scrub_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub_all(item) for item in value]
    return scrub(str(value))


class JsonFormatter(BaseJsonFormatter):
    def __init__(self) -> None:
        super().__init__(
            "{asctime}{levelname}{name}{message}",
            style="{",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )

    def format(self, record: logging.LogRecord) -> str:
        if current := request_id.get():
            record.request_id = current
        return super().format(record)

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Before it becomes JSON: the n of an escaped newline is no part of an address after it.
        scrubbed: dict[str, Any] = _scrub_all(super().process_log_record(log_data))
        return scrubbed


class Pathless(logging.Filter):
    """Keeps the exceptions among Django's own lines about requests, without the path they quote."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = "unhandled exception", ()
        return record.exc_info is not None
