"""What an application is told about a token of its own (RFC 7662)."""

from datetime import datetime
from typing import Any

from oauthlib.common import Request as OAuthRequest

from apikeys import keyformat
from erasure.typeids import spell_id
from organizations.oauth import tokens
from organizations.oauth.models import AccessToken, Application, RefreshToken, is_present

INACTIVE: dict[str, Any] = {"active": False}


def authenticate_application(core: Any, request: Any) -> Application | None:
    """Return the application that proved who it is by its secret, or None."""
    uri, method, body, headers = core._extract_params(request)
    asked = OAuthRequest(uri, method, body, headers)
    is_known = core.server.request_validator.authenticate_client(asked)
    return asked.client if is_known else None


def describe_token(*, application: Application, text: str, now: datetime) -> dict[str, Any]:
    """Return what an application is told about a token. One of another application, and one that
    does not hold, are told alike: ``{"active": false}``."""
    if tokens.is_access_token(text):
        digest = keyformat.digest(text)
        held = AccessToken.objects.filter(token_checksum=digest, application=application)
        found = held.select_related("user").first()
        return _describe(found, application, now, token_type="Bearer")  # noqa: S106
    if (pk := tokens.read_refresh_token(text)) is None:
        return INACTIVE
    digest = keyformat.digest(text)
    known = RefreshToken.objects.filter(pk=pk, token_checksum=digest, application=application)
    authorization = known.select_related("user").first()
    return _describe(authorization, application, now)


def _describe(row: Any, application: Application, now: datetime, **more: str) -> dict[str, Any]:
    person = row.user if row else None
    if row is None or row.expires <= now or not (person is None or is_present(person)):
        return INACTIVE
    subject = spell_id("usr", person.pk) if person else str(application.organization_id)
    return {
        "active": True,
        "scope": row.scope,
        "client_id": application.client_id,
        "sub": subject,
        "iat": int(row.created.timestamp()),
        "exp": int(row.expires.timestamp()),
        **more,
    }
