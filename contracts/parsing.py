"""Reading a JSON body: one object, strictly, and never more than the limit."""

import json
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from contracts.errors import BodyTooLarge


class JSONObjectParser(BaseParser):
    media_type = "application/json"

    def parse(
        self, stream: Any, media_type: str | None = None, parser_context: Any = None
    ) -> dict[str, Any]:
        """Return the object in a body. Raises BodyTooLarge, or ParseError for anything else."""
        limit = settings.BODY_LIMIT
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise BodyTooLarge
        try:
            body = json.loads(
                raw.decode(), parse_constant=_refuse, object_pairs_hook=_without_repeats
            )
            # A lone surrogate parses, and then nothing can store it or send it back.
            json.dumps(body, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise ParseError("The body is not valid JSON.") from error
        if not isinstance(body, dict):
            raise ParseError("The body is not a JSON object.")
        return body


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers differ on which of two values counts; a deletion must not hang on that.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice (RFC 8259, section 4)")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON (RFC 8259)")


def is_confirmed(body: Any) -> bool:
    """Whether a body holds ``"confirm": true``: the boolean, nothing that merely looks like it."""
    return body.get("confirm") is True
