"""The shape of codes, tokens and client secrets: those of API keys, each with a prefix of its own.

A refresh token also names the authorization that it belongs to, so that a stale one is told from
an unknown one although only the digest of the current one is kept.
"""

from uuid import UUID

from django.conf import settings

from apikeys import keyformat

REFRESH_PREFIX = "ort-"
SECRET_PREFIX = "ocs-"  # noqa: S105 - what a secret begins with is none
DEMO_SECRET_PREFIX = f"{SECRET_PREFIX}demo-"
ID_LENGTH = 32


def make_access_token() -> keyformat.Secret:
    return keyformat.generate(settings.OAUTH_TOKEN_PREFIX)


def make_client_secret(*, for_demo: bool = False) -> keyformat.Secret:
    return keyformat.generate(DEMO_SECRET_PREFIX if for_demo else SECRET_PREFIX)


def is_accepted_secret(text: str) -> bool:
    """Whether a client secret may be looked at: production accepts none that the demo made."""
    return not (settings.PRODUCTION and text.startswith(DEMO_SECRET_PREFIX))


def make_refresh_token(authorization_id: UUID) -> keyformat.Secret:
    return keyformat.generate(f"{REFRESH_PREFIX}{authorization_id.hex}")


def is_access_token(text: str) -> bool:
    """Whether a text could be one of our access tokens. A typo is told without a query."""
    return keyformat.is_well_formed(text, (settings.OAUTH_TOKEN_PREFIX,))


def read_refresh_token(text: str) -> UUID | None:
    """Return the authorization that a well-formed refresh token names, or None."""
    head = text[: len(REFRESH_PREFIX) + ID_LENGTH]
    if not head.startswith(REFRESH_PREFIX) or not keyformat.is_well_formed(text, (head,)):
        return None
    try:
        return UUID(hex=head.removeprefix(REFRESH_PREFIX))
    except ValueError:
        return None
