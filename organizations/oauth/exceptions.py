"""Why work on applications and tokens is refused."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID


class OAuthError(Exception):
    """A change to an application or a token that cannot be made. Nothing was changed."""


@dataclass
class ApplicationNotFound(OAuthError):
    """No such application, or none that the actor may see."""

    application_id: UUID | None = None


@dataclass
class RedirectRefused(OAuthError):
    """An address to which no code may be sent: neither https nor the same machine, or with a
    fragment, a wildcard or a password in it. Empty: an application that asks people has none."""

    uri: str


@dataclass
class ScopesNotDelegable(OAuthError):
    """Scopes that an application of this kind cannot hold, or none at all."""

    scopes: Iterable[str]


@dataclass
class SecretNotKept(OAuthError):
    """A public application has no secret, and one without a secret cannot speak for itself."""


@dataclass
class NotIssued(OAuthError):
    """No code or token is issued: the person, the application or its organization has ended or is
    closed, or what was shown for it is spent."""

    reason: str
