"""Structured logs: one JSON object a line, with the request's id and without secrets or e-mails."""

import logging
import re
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter as BaseJsonFormatter

request_id: ContextVar[str] = ContextVar("request_id", default="")

_secrets = re.compile(
    r"""(?xi)
    (?P<mail> [\w.!#$%&'*+/=?^`{|}~-]+ (?:@|%40) [\w-]+(?:\.[\w-]+)+ )
    | (?P<bearer> \bbearer\s+ )[\w.~+/=-]+
    | (?P<url> \b\w+://[^\s:/@]+: )[^\s@]+(?=@)
    | \b[\w-]*?[a-z0-9]-(?:demo-)?[0-9A-Za-z]{36}\b
    """
)


def scrub(text: str) -> str:
    """Return a text without e-mail addresses, API keys, bearer tokens and passwords in URLs."""

    def mask(match: re.Match[str]) -> str:
        kept = match["bearer"] or match["url"] or ""
        return f"{kept}{'[e-mail]' if match['mail'] else '[secret]'}"

    return _secrets.sub(mask, text)


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
        return scrub(super().format(record))


class Pathless(logging.Filter):
    """Keeps the exceptions among Django's own lines about requests, without the path they quote."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = "unhandled exception", ()
        return record.exc_info is not None
