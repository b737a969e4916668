"""From a request's headers to whom it speaks for."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from apikeys.verification import VerifiedKey, verify_key
from audit.actors import Actor, Origin

BEARER = "Authorization"
KEY_HEADER = "X-API-Key"


class KeyAuthentication(BaseAuthentication):
    """Reads an API key from the headers that a contract accepts, the first one present winning; and
    where the contract takes them, an OAuth access token from Authorization."""

    def __init__(self, headers: Sequence[str], *, takes_tokens: bool = False) -> None:
        self.headers, self.takes_tokens = headers, takes_tokens

    def authenticate(self, request: Request) -> tuple[VerifiedKey, VerifiedKey] | None:
        """Return the verified key, or None without a credential; AuthenticationFailed if it does
        not hold."""
        if (text := read_credential(request, self.headers)) is None:
            return None
        key = verify_key(text, now=timezone.now())
        if key is None and self.takes_tokens and BEARER in request.headers:
            key = _verify_token(text)
        if key is None:
            raise AuthenticationFailed
        return key, key

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def _verify_token(text: str) -> VerifiedKey | None:
    """Ask whoever the setting TOKEN_VERIFIER names: what issues tokens stands above this room."""
    verify: Any = import_string(settings.TOKEN_VERIFIER)
    token: VerifiedKey | None = verify(text, now=timezone.now())
    return token


def read_credential(request: Request, headers: Sequence[str]) -> str | None:
    """Return the text of the credential that a request carries, valid or not; None for none."""
    for header in headers:
        if (value := request.headers.get(header)) is None:
            continue
        if header != BEARER:
            return value.strip()
        # RFC 9110, section 11.1: the scheme's name is case-insensitive.
        scheme, _, text = value.partition(" ")
        return text.strip() if scheme.lower() == "bearer" else ""
    return None


def actor_of(request: Request, channel: str) -> Actor:
    """Return the actor that an authenticated request stands for."""
    key = key_of(request)
    is_user = key.user_id is not None
    return Actor(
        kind="user" if is_user else "organization",
        id=key.user_id if is_user else key.organization_id,
        channel=channel,
        request_id=request_id_of(request),
        person_id=key.user_id if is_user else key.created_by_id,
        credential_id=key.id,
        origin=Origin(
            address=client_address(request), user_agent=request.headers.get("User-Agent", "")[:255]
        ),
    )


def key_of(request: Request) -> VerifiedKey:
    """Return the key that an authenticated request came with."""
    key: Any = request.auth
    assert isinstance(key, VerifiedKey)  # noqa: S101 - for the type checker; the frame saw to it
    return key


def request_id_of(request: Any) -> str:
    return str(getattr(request, "request_id", ""))


def client_address(request: Request) -> str:
    """Return the client's address, reading X-Forwarded-For only as far as our own proxies wrote it
    (the setting NUM_PROXIES)."""
    return BaseThrottle().get_ident(request) or ""
