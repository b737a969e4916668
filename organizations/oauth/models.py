"""What django-oauth-toolkit keeps, with keys that cascade in the database and nothing to steal.

No column can hold a code, a token or a client secret: digests only. The package's links between an
access token and a refresh token, which run in a circle, are left out: a family binds them.
"""

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import DB_CASCADE, DB_SET_NULL
from oauth2_provider.models import (
    AbstractAccessToken,
    AbstractApplication,
    AbstractDeviceGrant,
    AbstractGrant,
    AbstractIDToken,
    AbstractRefreshToken,
)
from uuid_utils.compat import uuid7

from apikeys import keyformat
from erasure.typeids import spell_id

APPLICATION = "app"
"""What the ids of applications begin with at the edge."""


def digest_field(**options: Any) -> Any:
    return models.CharField(max_length=64, editable=False, **options)


class Digest(str):
    """A digest that came from the database, and is not to be digested again."""

    __slots__ = ()


class DigestedField(models.CharField):  # type: ignore[type-arg]
    """Keeps the SHA-256 of what it is given, and finds by it: for codes that the package looks up
    as they are sent."""

    def from_db_value(self, value: str | None, *_: Any) -> Digest | None:
        return None if value is None else Digest(value)

    def get_prep_value(self, value: Any) -> Any:
        if value is None or isinstance(value, Digest):
            return value
        return keyformat.digest(str(value))


class Application(AbstractApplication):
    """A program that speaks for an organization, or for people who let it.

    ``client_id`` is the TypeID of the row. A public one, which could not keep a secret, has none.
    """

    # Of what is not served here: other ways to register, OpenID Connect, calls from web pages.
    user = hash_client_secret = skip_authorization = algorithm = None
    registration_source = cimd_expires_at = post_logout_redirect_uris = allowed_origins = None
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    client_id = models.CharField(max_length=64, unique=True, editable=False)
    client_secret = digest_field(blank=True, default="")
    organization = models.ForeignKey("organizations.Organization", DB_CASCADE, related_name="+")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, DB_SET_NULL, null=True, blank=True, related_name="+"
    )
    scopes = models.JSONField(default=list)

    objects = models.Manager["Application"]()

    class Meta(AbstractApplication.Meta):
        verbose_name = "OAuth application"
        ordering = ["-created", "-id"]

    def __str__(self) -> str:
        return self.client_id

    @property
    def is_personal(self) -> bool:
        """Whether it asks people for their consent, and does not speak for its organization."""
        return bool(self.authorization_grant_type == self.GRANT_AUTHORIZATION_CODE)

    def get_allowed_schemes(self) -> list[str]:
        # Plain http leads to the same machine only: nothing else is registered.
        return ["https", "http"]

    def is_usable(self, request: Any) -> bool:
        """Whether its organization is open for business; asked whenever the package loads one."""
        return is_open(self.organization)


def is_open(organization: Any) -> bool:
    """Whether an organization, or a person by themselves, is there to be spoken for."""
    if not organization.is_active or organization.is_deleted:
        return False
    return getattr(organization, "archived_at", None) is None


def is_present(person: Any) -> bool:
    """Whether a person is there to be spoken for. Not when the organization that manages them is
    deleted: where it manages many, they end one by one, and their access with it at once."""
    people = type(person)._base_manager.filter(pk=person.pk)
    is_leaving = people.filter(managed_membership__organization__is_deleted=True)
    return is_open(person) and not is_leaving.exists()


def spell_application(pk: Any) -> str:
    return spell_id(APPLICATION, pk)


class Grant(AbstractGrant):
    """An authorization code, between a person's consent and the application's call for tokens.

    ``used_for`` is the authorization that came of it: who sends the code a second time ends that.
    """

    nonce = claims = resource = None
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    code = DigestedField(max_length=64, unique=True, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, DB_CASCADE, related_name="+")
    application = models.ForeignKey(Application, DB_CASCADE, related_name="grants")
    used_for = models.UUIDField(null=True, blank=True, editable=False)

    class Meta(AbstractGrant.Meta):
        verbose_name = "authorization code"
        indexes = [models.Index(fields=["expires"], name="oauth_grants_by_expiry")]

    def __str__(self) -> str:
        return f"authorization code {self.pk}"


class RefreshToken(AbstractRefreshToken):
    """A person's authorization of an application: what it may do, and its current refresh token.

    Ends by being deleted, with the access tokens of its family. ``application_name`` is what the
    person was shown.
    """

    token = token_family = access_token = resource = revoked = None
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, DB_CASCADE, related_name="+")
    application = models.ForeignKey(Application, DB_CASCADE, related_name="authorizations")
    application_name = models.CharField(max_length=100)
    scope = models.TextField(blank=True)
    token_checksum = digest_field()
    expires = models.DateTimeField()

    class Meta:
        verbose_name = "authorization"
        verbose_name_plural = "applications that have access"
        ordering = ["-created", "-id"]
        indexes = [models.Index(fields=["expires"], name="authorizations_by_expiry")]

    def __str__(self) -> str:
        return f"authorization {self.pk}"


class AccessToken(AbstractAccessToken):
    """Speaks for a person, or without one for the application's own organization.

    ``family`` is the authorization that a person's token came from. No foreign key: a row on which
    others hang would cost each erasure another lock.
    """

    source_refresh_token = token = id_token = resource = None
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    token_checksum = digest_field(unique=True)
    application = models.ForeignKey(Application, DB_CASCADE, related_name="access_tokens")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, DB_CASCADE, null=True, blank=True, related_name="+"
    )
    family = models.UUIDField(null=True, blank=True, editable=False)

    class Meta(AbstractAccessToken.Meta):
        verbose_name = "access token"
        ordering = ["-created", "-id"]
        indexes = [
            models.Index(fields=["expires"], name="access_tokens_by_expiry"),
            models.Index(fields=["family"], name="access_tokens_by_family"),
        ]

    def __str__(self) -> str:
        return f"access token {self.pk}"


class IDToken(AbstractIDToken):
    """Of OpenID Connect, which is not served: the package wants the table, and nothing writes."""

    user = application = None
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    def __str__(self) -> str:
        return f"ID token {self.pk}"


class DeviceGrant(AbstractDeviceGrant):
    """Of the device flow, which is not served: the package wants the table, and nothing writes."""

    user = None
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    def __str__(self) -> str:
        return f"device grant {self.pk}"
