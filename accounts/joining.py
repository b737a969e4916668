"""How users come to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User
from apikeys import scopes
from apikeys.services import issue_key
from audit.actors import Actor
from audit.events import Reference, record
from organizations.exceptions import NotInvitee
from organizations.invitations import (
    Joined,
    accept_invitation,
    find_invitation,
    lock_invitation,
    take_up,
)
from organizations.models import Invitation, ManagedUser, Role
from organizations.standing import lock_for_change


@dataclass
class UserExists(Exception):
    """Somebody bears this name, address or external id."""

    username: str


@dataclass
class PasswordRefused(Exception):
    """A password that is too easy to guess; ``reasons`` say why in words."""

    reasons: Sequence[str]


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

    Nobody can sign in as them: they have no password. The actor is the organization's own key, or
    somebody who runs it. Raises ActorGone, SubjectNotFound, OrganizationArchived, RoleMissing, or
    UserExists when the name, the address or the external id is taken.
    """
    try:
        with transaction.atomic(durable=True):
            organization = lock_for_change(actor, organization_id, least=Role.ADMIN).organization
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


@dataclass(frozen=True, slots=True)
class SignedUp:
    """A person who came by an invitation: where they joined, and their first key's secret."""

    joined: Joined
    secret: str


def sign_up_by_invitation(
    *, token: str, username: str, name: str, password: str, now: datetime, request_id: str = ""
) -> SignedUp:
    """Create an account for somebody who has none, with the address that the invitation was sent
    to, and use the invitation up for it. The token shows that the address is theirs.

    All or nothing. Raises InvitationNotFound, OrganizationArchived, PasswordRefused, or UserExists
    when the name is taken or somebody has the address already.
    """
    found = find_invitation(token, now=now)
    user = User(username=username, email=found.email, name=name, date_joined=now)
    _set_password(user, password)
    oneself = Actor("user", user.pk, "invitation", request_id=request_id, person_id=user.pk)
    try:
        with transaction.atomic(durable=True):
            user.save(force_insert=True)
            me = Reference("user", user.pk)
            record("user.created", actor=oneself, subject=me, now=now)
            standing = lock_invitation(found, user.pk, actor=oneself)
            joined = take_up(found.pk, standing, token, user_id=user.pk, actor=oneself, now=now)
            issued = issue_key(
                actor=oneself,
                owner=me,
                name="first key",
                wanted=scopes.PERSONAL,
                expires_at=None,
                now=now,
            )
    except IntegrityError as error:
        raise UserExists(username) from error
    return SignedUp(joined, issued.secret)


def find_invitee(invitation: Invitation) -> User | None:
    """Return the live user whose address an invitation was sent to."""
    found: User | None = User.live.filter(email__iexact=invitation.email).first()
    return found


def join_with_password(*, token: str, password: str, now: datetime, request_id: str = "") -> Joined:
    """Use an invitation up for the user whom it was sent to and whose password this is; nobody is
    signed in. Raises NotInvitee for a wrong password, and what ``accept_invitation`` raises."""
    found = find_invitation(token, now=now)
    user = find_invitee(found)
    if user is None or not user.check_password(password):
        raise NotInvitee(found.pk)
    oneself = Actor("user", user.pk, "invitation", request_id=request_id, person_id=user.pk)
    return accept_invitation(actor=oneself, token=token, now=now)


def _set_password(user: User, password: str) -> None:
    """Give a user a password. It is hashed before anything is locked, for that takes its time."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise PasswordRefused(error.messages) from error
    user.set_password(password)
