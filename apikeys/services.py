"""Issuing, naming and revoking keys."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Q, When

from apikeys import keyformat, scopes
from apikeys.exceptions import (
    ApiKeyNotFound,
    ExpiryInThePast,
    OwnerArchived,
    ScopesNotGrantable,
)
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.events import Reference, record
from audit.statements import update
from erasure.exceptions import ActorGone
from erasure.rights import require_staff
from erasure.subjects import lock_subject


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What may be told about a key at any time: everything but its secret."""

    id: UUID
    name: str
    hint: str
    scopes: list[str]
    organization_id: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which exists nowhere else from here on."""

    key: KeyFacts
    secret: str


def create_own_key(
    *,
    actor: Actor,
    name: str,
    wanted: Iterable[str] | None,
    held: frozenset[str],
    expires_at: datetime | None,
    now: datetime,
) -> IssuedKey:
    """Create a key for the acting user. It never holds a scope that the caller's key (``held``)
    lacks; without ``wanted`` it holds the personal scopes among them.

    Raises ScopesNotGrantable, ExpiryInThePast or ActorGone.
    """
    asked = frozenset(wanted) if wanted is not None else held & scopes.PERSONAL
    if extra := asked - held:
        raise ScopesNotGrantable(sorted(extra))
    if actor.user_id is None:
        raise ActorGone(actor.id)
    with transaction.atomic(durable=True):
        owner = Reference("user", actor.user_id)
        return issue_key(
            actor=actor, owner=owner, name=name, wanted=asked, expires_at=expires_at, now=now
        )


def issue_key(
    *,
    actor: Actor,
    owner: Reference,
    name: str,
    wanted: Iterable[str],
    expires_at: datetime | None,
    now: datetime,
    secret: keyformat.Secret | None = None,
) -> IssuedKey:
    """Write a key for a user or an organization, in the caller's transaction, and the event of it.

    The owner's row is locked and must live, so that no key is born to an account that is being
    deleted. Raises ScopesNotGrantable, ExpiryInThePast, ActorGone or OwnerArchived.
    """
    row = lock_subject(owner)
    if row is None or row.is_deleted or not row.is_active:
        raise ActorGone(owner.id)
    if getattr(row, "archived_at", None):
        raise OwnerArchived(owner.id)
    granted = frozenset(wanted)
    if extra := granted - _grantable(owner, row):
        raise ScopesNotGrantable(sorted(extra))
    if expires_at is not None and expires_at <= now:
        raise ExpiryInThePast
    secret = secret or keyformat.generate(settings.API_KEY_PREFIX)
    key = ApiKey.objects.create(
        name=name,
        digest=secret.digest,
        hint=secret.hint,
        user_id=owner.id if owner.kind == "user" else None,
        organization_id=owner.id if owner.kind == "organization" else None,
        created_by_id=actor.person_id,
        scopes=sorted(granted),
        created_at=now,
        expires_at=expires_at,
    )
    facts = {"key": str(key.pk), "scopes": key.scopes}
    record("api_key.created", actor=actor, subject=owner, now=now, facts=facts)
    return IssuedKey(key=_facts(key), secret=secret.text)


def grant_key(
    *,
    actor: Actor,
    owner: Reference,
    name: str,
    wanted: Iterable[str],
    expires_at: datetime | None,
    now: datetime,
) -> IssuedKey:
    """Issue a key in a transaction of its own, at an operator's command. Raises what
    ``issue_key`` raises."""
    with transaction.atomic(durable=True):
        return issue_key(
            actor=actor, owner=owner, name=name, wanted=wanted, expires_at=expires_at, now=now
        )


def list_keys(*, actor: Actor, administered: Iterable[UUID] = ()) -> list[KeyFacts]:
    """Return the actor's own keys, and those of the organizations named, newest first."""
    return [_facts(key) for key in ApiKey.objects.filter(_within(actor, administered))]


def rename_key(
    *, actor: Actor, key_id: UUID, name: str, now: datetime, administered: Iterable[UUID] = ()
) -> KeyFacts:
    """Give a key another name; raises ApiKeyNotFound or OwnerArchived."""
    with transaction.atomic(durable=True):
        key = _lock_key(actor, key_id, administered)
        if key.organization is not None and key.organization.archived_at is not None:
            raise OwnerArchived(key.organization_id)
        key.name = name
        key.save(update_fields=["name"])
        _record(key, "api_key.renamed", actor, now)
        return _facts(key)


def revoke_key(
    *, actor: Actor, key_id: UUID, now: datetime, administered: Iterable[UUID] = ()
) -> KeyFacts:
    """End a key from this commit on; raises ApiKeyNotFound, for one that has ended too."""
    with transaction.atomic(durable=True):
        return _revoke(_lock_key(actor, key_id, administered), actor, now)


def revoke_any_key(*, actor: Actor, key_id: UUID, now: datetime) -> KeyFacts:
    """End any key, on behalf of staff or the system; raises RightMissing or ApiKeyNotFound."""
    require_staff(actor, "apikeys.change_apikey")
    with transaction.atomic(durable=True):
        key = ApiKey.objects.select_for_update().filter(pk=key_id).first()
        if key is None:
            raise ApiKeyNotFound(key_id)
        return _revoke(key, actor, now)


def revoke_keys_of_user(user_id: UUID, *, used: UUID | None, now: datetime) -> int:
    """End all keys of a user in the caller's transaction; return how many were alive.

    ``used`` is the key that asked for it: this was its last use.
    """
    return _revoke_all(user_id=user_id, used=used, now=now)


def revoke_keys_of_organization(organization_id: UUID, *, now: datetime) -> int:
    """End all keys of an organization in the caller's transaction; return how many were alive."""
    living = ApiKey.objects.filter(organization_id=organization_id).unrevoked()
    return living.update(revoked_at=now)


@update
def _revoke_all(user_id: UUID, used: UUID, now: datetime) -> Any:
    last_use = Case(When(pk=used, then=now), default=F("last_used_at"))
    living = ApiKey.objects.filter(user_id=user_id).unrevoked()
    return living, {"revoked_at": now, "last_used_at": last_use}


def _revoke(key: ApiKey, actor: Actor, now: datetime) -> KeyFacts:
    if key.revoked_at is None:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
        _record(key, "api_key.revoked", actor, now)
    return _facts(key)


def _within(actor: Actor, administered: Iterable[UUID]) -> Q:
    reach = Q(organization_id__in=list(administered))
    return reach | Q(user_id=actor.user_id) if actor.user_id else reach


def _lock_key(actor: Actor, key_id: UUID, administered: Iterable[UUID]) -> ApiKey:
    locked = ApiKey.objects.unrevoked().select_for_update()
    key: ApiKey | None = locked.filter(_within(actor, administered), pk=key_id).first()
    if key is None:
        raise ApiKeyNotFound(key_id)
    return key


def _record(key: ApiKey, action: str, actor: Actor, now: datetime) -> None:
    kind, owner_id = ("user", key.user_id) if key.user_id else ("organization", key.organization_id)
    if owner_id is not None:
        owner = Reference(kind, owner_id)
        record(action, actor=actor, subject=owner, now=now, facts={"key": str(key.pk)})


def _grantable(owner: Reference, row: Any) -> frozenset[str]:
    if owner.kind == "organization":
        return scopes.ORGANIZATION
    if not row.is_staff:
        return scopes.PERSONAL
    extra = {
        scopes.USERS_ERASE: ("accounts.erase_user",),
        scopes.DELETIONS_RESTORE: ("accounts.restore_user", "organizations.restore_organization"),
    }
    return scopes.PERSONAL | {
        scope for scope, rights in extra.items() if any(map(row.has_perm, rights))
    }


def _facts(key: ApiKey) -> KeyFacts:
    return KeyFacts(
        id=key.id,
        name=key.name,
        hint=key.hint,
        scopes=list(key.scopes),
        organization_id=key.organization_id,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
