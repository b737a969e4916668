"""Signatures after Standard Webhooks, made by its own library."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from organizations.webhooks.models import Endpoint
from organizations.webhooks.sealing import unseal

PREFIX = "whsec_"
MESSAGE = "msg"
BYTES = 32


def make_secret() -> str:
    """Return a new secret, in the form that every verifier of Standard Webhooks takes."""
    return PREFIX + base64.b64encode(secrets.token_bytes(BYTES)).decode()


def secrets_of(endpoint: Endpoint, *, now: datetime) -> list[str]:
    """Return what signs for an endpoint at a moment: its secret, and the former one for as long as
    a rotation gives it."""
    known = [unseal(endpoint.secret)]
    until = endpoint.former_until
    if endpoint.former_secret and until is not None and until > now:
        known.append(unseal(endpoint.former_secret))
    return known


def sign(message_id: str, payload: str, secrets: Sequence[str], *, now: datetime) -> dict[str, str]:
    """Return the headers that prove where a message comes from, one signature for each secret."""
    # The library reads the clock's digits as UTC, whatever zone they carry.
    at = now.astimezone(UTC).replace(microsecond=0)
    signatures = [Webhook(one).sign(message_id, at, payload) for one in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
