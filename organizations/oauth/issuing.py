"""Writing codes and tokens: only while the person, the application and its organization live.

Lock order: the person, then the organization, then its children. Whether they live is read under
these locks, which every deletion takes as well, so that nothing is born to anybody who is being
deleted: what is issued before a deletion ends with it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from uuid_utils.compat import uuid7

from apikeys import keyformat
from audit.actors import Actor
from audit.events import Reference, record
from organizations.oauth import tokens
from organizations.oauth.exceptions import NotIssued
from organizations.oauth.models import (
    AccessToken,
    Application,
    Grant,
    RefreshToken,
    is_open,
    is_present,
)
from organizations.oauth.services import end_reused, lock_parties


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """What is sent to the application, once, and kept nowhere."""

    access_token: str
    refresh_token: str = ""


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person has agreed to, and what the application must show for it."""

    scopes: Sequence[str]
    redirect_uri: str
    code_challenge: str
    code_challenge_method: str


def write_code(
    *, actor: Actor, application_id: UUID, code: str, consent: Consent, now: datetime
) -> None:
    """Keep an authorization code, at the consent of the acting user. Raises NotIssued."""
    with transaction.atomic(durable=True):
        application = _lock(actor.user_id, application_id)
        Grant.objects.create(
            code=code,
            user_id=actor.user_id,
            application=application,
            expires=now + settings.OAUTH_CODE_LIFETIME,
            redirect_uri=consent.redirect_uri,
            scope=" ".join(consent.scopes),
            code_challenge=consent.code_challenge,
            code_challenge_method=consent.code_challenge_method,
        )
        record(
            "authorization.granted",
            actor=actor,
            subject=Reference("user", actor.user_id or application.pk),
            now=now,
            organization_id=application.organization_id,
            facts={"application": str(application.pk), "scopes": list(consent.scopes)},
            keep_details=True,
        )


def exchange_code(*, application_id: UUID, code: str, scope: str, now: datetime) -> IssuedTokens:
    """Spend a code and issue the tokens that it stands for.

    Raises NotIssued; for a code that was spent before, after ending what came of it.
    """
    grant = Grant.objects.filter(code=code, application_id=application_id).first()
    if grant is None:
        raise NotIssued("the code is unknown")
    pk = uuid7()
    with _ending_reuse(grant, now), transaction.atomic(durable=True):
        application = _lock(grant.user_id, application_id)
        unspent = Grant.objects.filter(pk=grant.pk, used_for=None, expires__gt=now)
        if not unspent.update(used_for=pk):
            raise NotIssued("the code is spent")
        refresh = tokens.make_refresh_token(pk)
        authorization = RefreshToken.objects.create(
            id=pk,
            user_id=grant.user_id,
            application=application,
            application_name=application.name[:100],
            scope=grant.scope,
            token_checksum=refresh.digest,
            expires=now + settings.OAUTH_IDLE_LIFETIME,
        )
        access = _write_access_token(application.pk, scope, now, authorization)
    return IssuedTokens(access, refresh.text)


def refresh_tokens(
    *, authorization_id: UUID, refresh_token: str, scope: str, now: datetime
) -> IssuedTokens:
    """Replace an authorization's tokens by new ones. Raises NotIssued."""
    known = RefreshToken.objects.filter(pk=authorization_id)
    authorization = known.first()
    if authorization is None:
        raise NotIssued("the authorization has ended")
    with transaction.atomic(durable=True):
        application = _lock(authorization.user_id, authorization.application_id)
        refresh = tokens.make_refresh_token(authorization_id)
        current = known.filter(token_checksum=keyformat.digest(refresh_token), expires__gt=now)
        # Two at once with the same token: the second one comes too late and gets nothing.
        if not current.update(
            token_checksum=refresh.digest, expires=now + settings.OAUTH_IDLE_LIFETIME, updated=now
        ):
            raise NotIssued("the refresh token is spent")
        AccessToken.objects.filter(family=authorization_id).delete()
        access = _write_access_token(application.pk, scope, now, authorization)
    return IssuedTokens(access, refresh.text)


def issue_to_application(*, application_id: UUID, scope: str, now: datetime) -> IssuedTokens:
    """Issue a token that speaks for the application's organization. Raises NotIssued."""
    with transaction.atomic(durable=True):
        application = _lock(None, application_id)
        return IssuedTokens(_write_access_token(application.pk, scope, now))


def find_authorization(
    refresh_token: str, *, application_id: UUID, now: datetime
) -> RefreshToken | None:
    """Return the authorization that an application's refresh token is good for at this moment. A
    stale token ends the authorization, and with it whatever the other bearer holds."""
    if (pk := tokens.read_refresh_token(refresh_token)) is None:
        return None
    known = RefreshToken.objects.filter(pk=pk, application_id=application_id)
    found: RefreshToken | None = known.select_related("user").first()
    if found is None or found.expires <= now:
        return None
    if found.token_checksum != keyformat.digest(refresh_token):
        end_reused(found.pk, now=now)
        return None
    return found


@contextmanager
def _ending_reuse(grant: Grant, now: datetime) -> Iterator[None]:
    try:
        yield
    except NotIssued:
        spent = Grant.objects.filter(pk=grant.pk).values_list("used_for", flat=True).first()
        if spent is not None:
            end_reused(spent, now=now)
        raise


def _lock(user_id: UUID | None, application_id: UUID) -> Application:
    """Lock the person and the organization, and return the application if all three live."""
    application = lock_parties(user_id, application_id)
    if application is None or not is_open(application.organization):
        raise NotIssued("the application has ended, or its organization is closed")
    people = get_user_model()._default_manager.filter(pk=user_id)
    if user_id is not None and not any(map(is_present, people)):
        raise NotIssued("the person's account has ended")
    return application


def _write_access_token(
    application_id: UUID, scope: str, now: datetime, authorization: RefreshToken | None = None
) -> str:
    secret = tokens.make_access_token()
    AccessToken.objects.create(
        token_checksum=secret.digest,
        application_id=application_id,
        user_id=authorization.user_id if authorization else None,
        family=authorization.pk if authorization else None,
        expires=now + settings.OAUTH_TOKEN_LIFETIME,
        scope=scope,
    )
    return secret.text
