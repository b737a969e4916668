"""Sending requests as a client would, and reading answers as bytes."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from erasure.models import DeletionRequest, LegalHold
from organizations.models import Organization
from tests.factories import give_key

SCHEMAS = Path(__file__).parent.parent / "schemas"
WELL_FORMED_UNKNOWN_KEY = "sk-0000000000000000000000000000000PXf9v"


@dataclass
class Call:
    """One request: method, path, headers and, where there is one, the body as it is sent."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "application/json"

    def send(self, **more_headers: str) -> Any:
        headers = {**self.headers, **{k.replace("_", "-"): v for k, v in more_headers.items()}}
        return Client(raise_request_exception=False).generic(
            self.method, self.path, self.body, self.content_type, headers=headers
        )


def exact(body: Any) -> bytes:
    """Return a body as it must be on the wire: compact JSON."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def assert_answer(response: Any, status: int, body: bytes) -> None:
    """Compare status, media type and bytes, and require what every answer carries."""
    assert (response.status_code, response.content) == (status, body)
    assert re.fullmatch(r"req_[0-7][0-9a-hjkmnp-tv-z]{25}", response["X-Request-ID"])
    if status != 204:
        assert response["Content-Type"] == "application/json"
    if body:
        validate_answer(response)


def validate_answer(response: Any) -> None:
    """Validate an answer against what the contract's published document says of its shape."""
    path, method = response.request["PATH_INFO"], response.request["REQUEST_METHOD"]
    if (name := contract_at(path)) is None or (method == "GET" and response.status_code == 200):
        return
    schemas = json.loads((SCHEMAS / f"{name}.json").read_text())
    kind = "success" if response.status_code < 300 else "error"
    jsonschema.validate(response.json(), schemas.get(str(response.status_code), schemas[kind]))


def contract_at(path: str) -> str | None:
    """Return the name of the contract that a path belongs to."""
    prefixes = {
        r"/(api-proxy|account)": "account",
        r"/v1": "v1_user",
        r"/users": "users",
        r"/user": "user",
        r"/(api/)?organizations": "organizations",
    }
    return next((n for p, n in prefixes.items() if re.match(rf"{p}(/|$)", path)), None)


def rename_audit_table() -> None:
    """Make every deletion fail in the database, as a fault of ours would."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_auditevent RENAME TO audit_elsewhere")


def dead_credentials(owner: User | Organization) -> dict[str, str | None]:
    """Return every kind of credential that must answer 401, by what is wrong with it. The last one
    is alive until its owner is made to end."""
    now = timezone.now()
    typo = give_key(owner)
    expired = give_key(owner, expires_at=now - timedelta(seconds=1))
    revoked = give_key(owner, revoked_at=now)
    return {
        "none": None,
        "empty": "",
        "malformed": "not-a-key",
        "typo": typo[:-1] + ("a" if typo[-1] != "a" else "b"),
        "unknown": WELL_FORMED_UNKNOWN_KEY,
        "expired": expired,
        "revoked": revoked,
    }


def assert_all_refused(
    owner: User | Organization,
    send: Callable[[dict[str, str]], Any],
    check: Callable[[Any], None],
) -> None:
    """Send a request with each dead credential and hand each answer to ``check``; then end the
    owner in each way and do the same with a key that was alive until then."""
    for text in dead_credentials(owner).values():
        check(send({} if text is None else {"Authorization": f"Bearer {text}"}))
    check(send({"Authorization": "Basic dXNlcjpwYXNz"}))
    alive = give_key(owner)
    changes = [{"is_active": False}, {"is_deleted": True}]
    for change in changes:
        rows = type(owner)._default_manager.filter(pk=owner.pk)
        rows.update(**change)
        check(send({"Authorization": f"Bearer {alive}"}))
        rows.update(is_active=True, is_deleted=False)


def place_hold(kind: str, pk: UUID) -> None:
    LegalHold.objects.create(
        subject_kind=kind, subject_id=pk, reason="case", placed_at=timezone.now()
    )


def start_deletion(kind: str, pk: UUID) -> None:
    now = timezone.now()
    DeletionRequest.objects.create(
        subject_kind=kind,
        subject_id=pk,
        state="running",
        channel="test",
        requested_by_kind="system",
        requested_at=now,
        due_at=now,
        lease_until=now + timedelta(minutes=5),
    )
