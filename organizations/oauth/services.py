"""The end of what applications may do: by the person, by the application itself, by staff, and
with a user or an organization."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import UUIDField

from apikeys import keyformat
from audit.actors import Actor
from audit.events import Reference, record
from erasure.rights import require_staff
from erasure.subjects import lock_subject
from organizations.oauth import tokens
from organizations.oauth.exceptions import ApplicationNotFound
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken

CHANNEL = "oauth"
HELD = (Grant, RefreshToken, AccessToken)
"""What applications hold, for people or for themselves."""


def end_tokens_of_application(*, actor: Actor, application_id: UUID, now: datetime) -> int:
    """End every code and token of an application on behalf of staff; return how many access tokens
    there were. Raises RightMissing or ApplicationNotFound."""
    require_staff(actor, "oauth.change_application")
    with transaction.atomic(durable=True):
        application = lock_parties(None, application_id)
        if application is None:
            raise ApplicationNotFound(application_id)
        ended = _end_rows(HELD, "application_id", application_id)
        record_about("application.tokens_ended", actor, application, now)
    return ended.get(AccessToken._meta.label, 0)


def end_access_token(*, actor: Actor, token_id: UUID, now: datetime) -> None:
    """End one access token, and the authorization that it came from, on behalf of staff. Raises
    RightMissing or ApplicationNotFound."""
    require_staff(actor, "oauth.change_accesstoken")
    token = AccessToken.objects.filter(pk=token_id).first()
    if token is None or not end_token(token, actor=actor, now=now):
        raise ApplicationNotFound


def end_authorization(*, actor: Actor, authorization_id: UUID, now: datetime) -> bool:
    """Take back what the acting user let an application do; return whether there was anything."""
    mine = RefreshToken.objects.filter(pk=authorization_id, user_id=actor.user_id)
    authorization = mine.first() if actor.user_id else None
    return authorization is not None and remove_authorization(authorization, actor=actor, now=now)


def revoke_as_application(*, application: Application, text: str, now: datetime) -> None:
    """End a token that an application gives back (RFC 7009). One of another application, or none at
    all, is left alone without a word."""
    actor, digest = Actor.system(CHANNEL), keyformat.digest(text)
    if (pk := tokens.read_refresh_token(text)) is not None:
        mine = RefreshToken.objects.filter(pk=pk, application=application, token_checksum=digest)
        for authorization in mine:
            remove_authorization(authorization, actor=actor, now=now)
    elif tokens.is_access_token(text):
        for token in AccessToken.objects.filter(token_checksum=digest, application=application):
            end_token(token, actor=actor, now=now)


def end_reused(authorization_id: UUID, *, now: datetime) -> None:
    """End an authorization whose code or refresh token was shown a second time: somebody has a copy
    (RFC 6749, section 4.1.2, and RFC 9700, section 4.14.2)."""
    for authorization in RefreshToken.objects.filter(pk=authorization_id):
        remove_authorization(authorization, actor=Actor.system(CHANNEL), now=now)


def end_token(token: AccessToken, *, actor: Actor, now: datetime) -> bool:
    """End an access token; return whether there was anything to end. With it goes the authorization
    that it came from, whose refresh token could otherwise make the next one."""
    if token.family is not None:
        known = RefreshToken.objects.filter(pk=token.family).first()
        return known is not None and remove_authorization(known, actor=actor, now=now)
    with transaction.atomic(durable=True):
        application = lock_parties(None, token.application_id)
        is_first = bool(AccessToken.objects.filter(pk=token.pk).delete()[0])
        if is_first and application is not None:
            record_about("access_token.revoked", actor, application, now, token=str(token.pk))
    return is_first


def remove_authorization(authorization: RefreshToken, *, actor: Actor, now: datetime) -> bool:
    """Remove an authorization with its tokens, and write the event; return whether there was one,
    and nobody else was first."""
    with transaction.atomic(durable=True):
        application = lock_parties(authorization.user_id, authorization.application_id)
        is_first = bool(RefreshToken.objects.filter(pk=authorization.pk).delete()[0])
        AccessToken.objects.filter(family=authorization.pk).delete()
        if is_first and application is not None:
            record(
                "authorization.revoked",
                actor=actor,
                subject=Reference("user", authorization.user_id),
                now=now,
                organization_id=application.organization_id,
                facts={"application": str(application.pk), "authorization": str(authorization.pk)},
            )
    return is_first


def lock_parties(user_id: UUID | None, application_id: UUID) -> Application | None:
    """Lock a person and an application's organization, in the order of locks, and return the
    application; None when it is gone. Whatever issues and ends tokens does it under these locks."""
    known = Application.objects.filter(pk=application_id)
    organization_id = known.values_list("organization_id", flat=True).first()
    if user_id is not None:
        lock_subject(Reference("user", user_id))
    if organization_id is not None:
        lock_subject(Reference("organization", organization_id))
    return known.select_related("organization").first()


def end_tokens_of_user(user_id: UUID, *, beside: Sequence[Any] = ()) -> dict[str, int]:
    """End every code and token that speaks for a user, in the caller's transaction, and return how
    many rows of which model that were. A restore brings none of them back.

    ``beside`` names further models whose rows of this user end here: sessions, which are removed by
    the same statement, so that a deletion costs no more than without OAuth.
    """
    return _end_rows((*beside, *HELD), "user_id", user_id)


def end_tokens_of_organization(organization_id: UUID) -> dict[str, int]:
    """End every code, token and client secret of an organization's applications, in the caller's
    transaction, and return how many rows of which model that were. A restore brings the
    applications back, and none of these."""
    mine = Application.objects.filter(organization_id=organization_id)
    ended: Counter[str] = Counter()
    for pk in mine.values_list("pk", flat=True):
        ended.update(_end_rows(HELD, "application_id", pk))
    mine.update(client_secret="")
    return dict(ended)


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


def _end_rows(models: Sequence[Any], column: str, value: UUID) -> dict[str, int]:
    """Delete the rows of several models, on PostgreSQL with one statement, and count them."""
    quote = connection.ops.quote_name
    key = UUIDField().get_db_prep_value(value, connection)
    deletes = [
        f"DELETE FROM {quote(model._meta.db_table)} WHERE {quote(column)} = %s"  # noqa: S608
        for model in models
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            named = [f"d{n} AS ({text} RETURNING 1)" for n, text in enumerate(deletes)]
            counts = [f"(SELECT count(*) FROM d{n})" for n, _ in enumerate(deletes)]  # noqa: S608
            text = f"WITH {', '.join(named)} SELECT {', '.join(counts)}"
            cursor.execute(text, [key] * len(deletes))
            found = cursor.fetchone()
        else:
            found = [cursor.execute(text, [key]).rowcount for text in deletes]
    return {model._meta.label: n for model, n in zip(models, found, strict=True) if n}


def record_about(
    action: str, actor: Actor, application: Application, now: datetime, **facts: Any
) -> None:
    """Write an event about an application, in the caller's transaction: ids only."""
    subject = Reference("organization", application.organization_id)
    facts = {"application": str(application.pk), **facts}
    record(action, actor=actor, subject=subject, now=now, facts=facts)
