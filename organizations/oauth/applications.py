"""Applications of an organization: created, listed, given another secret, removed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from apikeys import scopes
from apikeys.keyformat import Secret
from audit.actors import Actor
from organizations.models import Role
from organizations.oauth import tokens
from organizations.oauth.exceptions import (
    ApplicationNotFound,
    RedirectRefused,
    ScopesNotDelegable,
    SecretNotKept,
)
from organizations.oauth.models import Application, spell_application
from organizations.oauth.redirects import is_allowed
from organizations.oauth.services import record_about
from organizations.standing import lock_for_change, read_standing

GRANTS: dict[str, str] = {
    "authorization_code": Application.GRANT_AUTHORIZATION_CODE,
    "client_credentials": Application.GRANT_CLIENT_CREDENTIALS,
}
FLOWS = {kind: flow for flow, kind in GRANTS.items()}


@dataclass(frozen=True, slots=True)
class ApplicationFacts:
    """What may be told about an application at any time: everything but its secret."""

    id: UUID
    organization_id: UUID
    client_id: str
    name: str
    flow: str
    is_public: bool
    redirect_uris: list[str]
    scopes: list[str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewApplication:
    """An application with its secret, which exists nowhere else from here on."""

    application: ApplicationFacts
    secret: str


def create_application(
    *,
    actor: Actor,
    organization_id: UUID,
    name: str,
    flow: str,
    now: datetime,
    is_public: bool = False,
    redirect_uris: Sequence[str] = (),
    wanted: Iterable[str] | None = None,
    secret: Secret | None = None,
) -> NewApplication:
    """Create an application for an organization that the actor owns or administers.

    ``flow`` is ``authorization_code`` (it asks people) or ``client_credentials`` (it speaks for the
    organization). Without ``wanted`` it may do little: read a profile, or what a platform key may
    when nobody says otherwise. Raises ActorGone, SubjectNotFound, RoleMissing,
    OrganizationArchived, RedirectRefused, ScopesNotDelegable or SecretNotKept.
    """
    granted = _decide_scopes(flow, wanted)
    _forbid_redirects(flow, redirect_uris)
    if is_public and flow != "authorization_code":
        raise SecretNotKept
    secret = secret or tokens.make_client_secret()
    with transaction.atomic(durable=True):
        lock_for_change(actor, organization_id, least=Role.ADMIN)
        pk = uuid7()
        application = Application.objects.create(
            id=pk,
            client_id=spell_application(pk),
            client_secret="" if is_public else secret.digest,
            client_type=Application.CLIENT_PUBLIC if is_public else Application.CLIENT_CONFIDENTIAL,
            authorization_grant_type=GRANTS[flow],
            organization_id=organization_id,
            created_by_id=actor.person_id,
            name=name,
            redirect_uris=" ".join(redirect_uris),
            scopes=sorted(granted),
        )
        record_about("application.created", actor, application, now, scopes=application.scopes)
    return NewApplication(_facts(application), "" if is_public else secret.text)


def list_applications(*, actor: Actor, organization_id: UUID) -> list[ApplicationFacts]:
    """Return the applications of an organization that the actor runs, newest first. Raises
    SubjectNotFound or RoleMissing."""
    read_standing(actor, organization_id, least=Role.ADMIN)
    mine = Application.objects.filter(organization_id=organization_id)
    return [_facts(application) for application in mine]


def get_application(
    *, actor: Actor, organization_id: UUID, application_id: UUID
) -> ApplicationFacts:
    """Return one application. Raises SubjectNotFound, RoleMissing or ApplicationNotFound."""
    read_standing(actor, organization_id, least=Role.ADMIN)
    return _facts(_find(organization_id, application_id))


def rotate_secret(
    *, actor: Actor, organization_id: UUID, application_id: UUID, now: datetime
) -> NewApplication:
    """Give an application another secret; the former one ends with this commit, tokens do not.

    Raises what ``create_application`` raises about the organization, ApplicationNotFound or
    SecretNotKept.
    """
    secret = tokens.make_client_secret()
    with transaction.atomic(durable=True):
        lock_for_change(actor, organization_id, least=Role.ADMIN)
        application = _find(organization_id, application_id)
        if application.client_type == Application.CLIENT_PUBLIC:
            raise SecretNotKept
        application.client_secret = secret.digest
        application.save(update_fields=["client_secret"])
        record_about("application.secret_rotated", actor, application, now)
    return NewApplication(_facts(application), secret.text)


def delete_application(
    *, actor: Actor, organization_id: UUID, application_id: UUID, now: datetime
) -> None:
    """Remove an application; its codes and tokens end with this commit. Raises ActorGone,
    SubjectNotFound, RoleMissing or ApplicationNotFound."""
    with transaction.atomic(durable=True):
        lock_for_change(actor, organization_id, least=Role.ADMIN, even_archived=True)
        application = _find(organization_id, application_id)
        record_about("application.deleted", actor, application, now)
        application.delete()


def _find(organization_id: UUID, application_id: UUID) -> Application:
    found = Application.objects.filter(pk=application_id, organization_id=organization_id).first()
    if found is None:
        raise ApplicationNotFound(application_id)
    return found


def _decide_scopes(flow: str, wanted: Iterable[str] | None) -> frozenset[str]:
    most, least = scopes.ORGANIZATION, scopes.PLATFORM
    if flow == "authorization_code":
        most, least = scopes.DELEGABLE, frozenset({scopes.ACCOUNT_READ})
    granted = least if wanted is None else frozenset(wanted)
    if not granted or granted - most:
        raise ScopesNotDelegable(sorted(granted - most))
    return granted


def _forbid_redirects(flow: str, uris: Sequence[str]) -> None:
    if flow == "authorization_code" and not uris:
        raise RedirectRefused("")
    for uri in uris:
        if flow != "authorization_code" or not is_allowed(uri):
            raise RedirectRefused(uri)


def _facts(application: Application) -> ApplicationFacts:
    return ApplicationFacts(
        id=application.id,
        organization_id=application.organization_id,
        client_id=application.client_id,
        name=application.name,
        flow=FLOWS[application.authorization_grant_type],
        is_public=application.client_type == Application.CLIENT_PUBLIC,
        redirect_uris=application.redirect_uris.split(),
        scopes=list(application.scopes),
        created_at=application.created,
    )
