"""Idempotency-Key: the same key and the same request get the first answer again, byte for byte.

draft-ietf-httpapi-idempotency-key-header. Answers from 500 up and 429 are not kept: nothing was
done, and the client is meant to try again. Should the process die between the work and its answer,
the key is free again after a minute and the retry meets the world as it is.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from contracts.errors import (
    BodyTooLarge,
    IdempotencyKeyReused,
    IdempotentRequestRunning,
    InvalidIdempotencyKey,
)
from contracts.models import IdempotentAnswer

KEPT = timedelta(hours=24)
RUNNING = timedelta(minutes=1)
KEPT_HEADERS = ("Content-Type", "Allow", "X-Request-ID")

_printable = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Replay:
    """The first answer, as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    def respond(self) -> HttpResponse:
        response = HttpResponse(self.body, status=self.status, headers=self.headers)
        if "Content-Type" not in self.headers:
            del response["Content-Type"]
        return response


def read_key(request: Request) -> str | None:
    """Return the request's Idempotency-Key or None; raises InvalidIdempotencyKey."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _printable.fullmatch(key):
        raise InvalidIdempotencyKey
    return key


def begin(
    *, key: str, credential: str, fingerprint: str, may_start: bool, now: datetime
) -> Replay | UUID | None:
    """Return the first answer, or the id under which the answer to this request is to be kept.

    With ``may_start`` off, only look for an answer, and return None when there is none. Raises
    IdempotencyKeyReused or IdempotentRequestRunning.
    """
    scope = hashlib.sha256(f"{credential}\0{key}".encode()).hexdigest()
    known = IdempotentAnswer.objects.filter(scope=scope, created_at__gt=now - KEPT).first()
    if known is None:
        return _start(scope, fingerprint, now) if may_start else None
    if known.fingerprint != fingerprint:
        raise IdempotencyKeyReused
    if known.status is not None:
        return Replay(known.status, known.headers, bytes(known.body))
    if not may_start:
        return None
    lapsed = IdempotentAnswer.objects.filter(pk=known.pk, status=None, running_until__lte=now)
    if lapsed.update(running_until=now + RUNNING):
        return known.pk
    raise IdempotentRequestRunning


def finish(answer_id: UUID, response: HttpResponse) -> None:
    """Keep an answer, or free the key when the client is meant to try again."""
    row = IdempotentAnswer.objects.filter(pk=answer_id)
    if response.status_code >= 500 or response.status_code == 429:
        row.delete()
        return
    headers = {name: response[name] for name in KEPT_HEADERS if name in response}
    row.update(
        status=response.status_code, headers=headers, body=response.content, running_until=None
    )


def forget_old_answers(*, now: datetime) -> int:
    """Remove answers that are older than a day; return how many. A purge calls this."""
    removed, _ = old_answers(now=now).delete()
    return removed


def old_answers(*, now: datetime) -> "QuerySet[IdempotentAnswer]":
    """Return the answers that are older than a day."""
    return IdempotentAnswer.objects.filter(created_at__lte=now - KEPT)


def fingerprint_of(request: Request, *, with_body: bool) -> str:
    """Return a digest of what makes a request the same: method, path and, where the contract reads
    one, the body. Raises BodyTooLarge."""
    parts = [request.method or "", request.get_full_path()]
    digest = hashlib.sha256("\0".join(parts).encode())
    if with_body:
        body = request._request.body
        if len(body) > settings.BODY_LIMIT:
            raise BodyTooLarge
        digest.update(body)
    return digest.hexdigest()


def _start(scope: str, fingerprint: str, now: datetime) -> UUID:
    expired = Q(scope=scope, created_at__lte=now - KEPT)
    try:
        with transaction.atomic():
            IdempotentAnswer.objects.filter(expired).delete()
            answer = IdempotentAnswer.objects.create(
                scope=scope, fingerprint=fingerprint, created_at=now, running_until=now + RUNNING
            )
    except IntegrityError:
        # The same key came twice at once; the other request was first.
        raise IdempotentRequestRunning from None
    return answer.pk
