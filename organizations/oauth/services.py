"""The end of what applications may do: by the person, by the application itself, by staff, and
with a user or an organization."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from apikeys import keyformat
from audit.actors import Actor
from audit.events import Reference, record
from erasure.rights import require_staff
from erasure.subjects import lock_subject
from organizations.oauth import tokens
from organizations.oauth.exceptions import ApplicationNotFound
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken

CHANNEL = "oauth"


def end_tokens_of_application(*, actor: Actor, application_id: UUID, now: datetime) -> int:
    """End every code and token of an application on behalf of staff; return how many access tokens
    there were. Raises RightMissing or ApplicationNotFound."""
    require_staff(actor, "oauth.change_application")
    with transaction.atomic(durable=True):
        known = Application.objects.filter(pk=application_id)
        owner = known.values_list("organization_id", flat=True).first()
        # No token is issued while the organization is locked.
        is_locked = owner and lock_subject(Reference("organization", owner)) is not None
        application = known.first() if is_locked else None
        if application is None:
            raise ApplicationNotFound(application_id)
        ended = _end_tokens("application_id", application_id)
        record_about("application.tokens_ended", actor, application, now)
    return ended


def end_access_token(*, actor: Actor, token_id: UUID, now: datetime) -> None:
    """End one access token, and the authorization that it came from, on behalf of staff. Raises
    RightMissing or ApplicationNotFound."""
    require_staff(actor, "oauth.change_accesstoken")
    with transaction.atomic(durable=True):
        token = AccessToken.objects.filter(pk=token_id).select_related("application").first()
        if token is None:
            raise ApplicationNotFound
        end_token(actor=actor, token=token, now=now)


def end_authorization(*, actor: Actor, authorization_id: UUID, now: datetime) -> bool:
    """Take back what the acting user let an application do; return whether there was anything."""
    with transaction.atomic(durable=True):
        mine = RefreshToken.objects.filter(pk=authorization_id, user_id=actor.user_id)
        authorization = mine.select_related("application").first()
        if authorization is None or actor.user_id is None:
            return False
        remove_authorization(authorization, actor=actor, now=now)
    return True


def end_token(*, actor: Actor, token: AccessToken, now: datetime) -> None:
    """End an access token in the caller's transaction. With it goes the authorization, whose
    refresh token could otherwise make the next one."""
    if token.authorization_id is not None:
        for one in RefreshToken.objects.filter(pk=token.authorization_id):
            remove_authorization(one, actor=actor, now=now)
    elif AccessToken.objects.filter(pk=token.pk).delete()[0]:
        record_about("access_token.revoked", actor, token.application, now, token=str(token.pk))


def remove_authorization(authorization: RefreshToken, *, actor: Actor, now: datetime) -> None:
    """Remove an authorization with its tokens in the caller's transaction, and write the event
    unless somebody else was first."""
    known = RefreshToken.objects.filter(pk=authorization.pk)
    if known.delete()[0]:
        application = authorization.application
        record(
            "authorization.revoked",
            actor=actor,
            subject=Reference("user", authorization.user_id),
            now=now,
            organization_id=application.organization_id,
            facts={"application": str(application.pk), "authorization": str(authorization.pk)},
        )


def revoke_as_application(*, application: Application, text: str, now: datetime) -> None:
    """End a token that an application gives back (RFC 7009). One of another application, or none at
    all, is left alone without a word."""
    with transaction.atomic(durable=True):
        actor = Actor.system(CHANNEL)
        if (pk := tokens.read_refresh_token(text)) is not None:
            digest = keyformat.digest(text)
            mine = RefreshToken.objects.filter(pk=pk, application=application)
            current = mine.filter(token_checksum=digest)
            for authorization in current.select_related("application"):
                remove_authorization(authorization, actor=actor, now=now)
        elif tokens.is_access_token(text):
            digest = keyformat.digest(text)
            held = AccessToken.objects.filter(token_checksum=digest, application=application)
            for token in held.select_related("application"):
                end_token(actor=actor, token=token, now=now)


def end_reused(authorization_id: UUID, *, now: datetime) -> None:
    """End an authorization whose code or refresh token was shown a second time: somebody has a copy
    (RFC 6749, section 4.1.2, and RFC 9700, section 4.14.2)."""
    with transaction.atomic(durable=True):
        known = RefreshToken.objects.filter(pk=authorization_id).select_related("application")
        for authorization in known:
            remove_authorization(authorization, actor=Actor.system(CHANNEL), now=now)


def end_tokens_of_user(user_id: UUID) -> None:
    """End every code and token that speaks for a user, in the caller's transaction. A restore
    brings none of them back."""
    _end_rows((Grant, RefreshToken), "user_id", user_id)


def end_tokens_of_organization(organization_id: UUID) -> None:
    """End every code, token and client secret of an organization's applications, in the caller's
    transaction. A restore brings the applications back, and none of these."""
    for pk in Application.objects.filter(organization_id=organization_id).values_list(
        "pk", flat=True
    ):
        _end_tokens("application_id", pk)
    Application.objects.filter(organization_id=organization_id).update(client_secret="")


@dataclass(frozen=True, slots=True)
class AuthorizationFacts:
    """What a person let an application do, as the person is told."""

    id: UUID
    application: str
    organization: str
    scopes: list[str]
    granted_at: datetime
    last_used_at: datetime


def list_authorizations(*, user_id: UUID, now: datetime) -> list[AuthorizationFacts]:
    """Return the applications that may act for a user at this moment, newest first."""
    mine = RefreshToken.objects.filter(user_id=user_id, expires__gt=now)
    return [
        AuthorizationFacts(
            id=one.pk,
            application=one.application_name,
            organization=one.application.organization.name,
            scopes=one.scope.split(),
            granted_at=one.created,
            last_used_at=one.updated,
        )
        for one in mine.select_related("application__organization")
    ]


def _end_tokens(column: str, pk: UUID) -> int:
    ended: int = AccessToken.objects.filter(**{column: pk}).count()
    _end_rows((Grant, RefreshToken, AccessToken), column, pk)
    return ended


def _end_rows(models: Sequence[Any], column: str, value: UUID) -> None:
    """Delete the rows of several models, on PostgreSQL with one statement."""
    quote = connection.ops.quote_name
    key = models[0]._meta.pk.get_db_prep_value(value, connection)
    deletes = [
        f"DELETE FROM {quote(model._meta.db_table)} WHERE {quote(column)} = %s"  # noqa: S608
        for model in models
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            *first, last = deletes
            ahead = ", ".join(f"d{number} AS ({text})" for number, text in enumerate(first))
            cursor.execute(f"WITH {ahead} {last}", [key] * len(deletes))
        else:
            for text in deletes:
                cursor.execute(text, [key])


def record_about(
    action: str, actor: Actor, application: Application, now: datetime, **facts: Any
) -> None:
    """Write an event about an application, in the caller's transaction: ids only."""
    subject = Reference("organization", application.organization_id)
    facts = {"application": str(application.pk), **facts}
    record(action, actor=actor, subject=subject, now=now, facts=facts)
