"""How users come to be."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference, record
from erasure.exceptions import SubjectNotFound
from erasure.subjects import lock_subject
from organizations.models import ManagedUser


@dataclass
class UserExists(Exception):
    """Somebody bears this name, address or external id."""

    username: str


def create_user(
    *,
    actor: Actor,
    username: str,
    email: str = "",
    name: str = "",
    password: str | None = None,
    is_staff: bool = False,
    is_superuser: bool = False,
    now: datetime,
) -> UUID:
    """Create a user and return the id; raises UserExists when the name or address is taken."""
    try:
        with transaction.atomic(durable=True):
            user = User.objects.create_user(
                username,
                password,
                email=email,
                name=name,
                is_staff=is_staff,
                is_superuser=is_superuser,
                date_joined=now,
            )
            record("user.created", actor=actor, subject=Reference("user", user.pk), now=now)
    except IntegrityError as error:
        raise UserExists(username) from error
    return user.pk


def provision_user(
    *,
    actor: Actor,
    organization_id: UUID,
    username: str,
    external_id: str,
    email: str = "",
    name: str = "",
    now: datetime,
) -> UUID:
    """Create a user whom an organization manages, and return the id.

    Raises SubjectNotFound for a missing organization, and UserExists when the name, the address or
    the external id is taken.
    """
    try:
        with transaction.atomic(durable=True):
            organization = lock_subject(Reference("organization", organization_id))
            if organization is None or organization.is_deleted:
                raise SubjectNotFound("organization")
            user = User.objects.create_user(username, email=email, name=name, date_joined=now)
            ManagedUser.objects.create(
                organization=organization, user=user, external_id=external_id, created_at=now
            )
            record(
                "user.provisioned",
                actor=actor,
                subject=Reference("user", user.pk),
                organization_id=organization_id,
                now=now,
            )
    except IntegrityError as error:
        raise UserExists(username) from error
    return user.pk
