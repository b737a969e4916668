"""How an organization begins, what it is called, and whom it belongs to at first."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from audit.actors import Actor
from audit.events import Reference, record
from erasure.exceptions import RightMissing, SubjectNotFound
from erasure.subjects import lock_subject
from organizations.exceptions import SlugInUse
from organizations.models import Membership, Organization, Role
from organizations.slugs import forbid_bad_slug
from organizations.standing import Standing, is_live, lock_for_change, read_standing


@dataclass(frozen=True, slots=True)
class OrganizationFacts:
    """An organization as one of its people sees it: ``role`` is theirs, None for its own key."""

    id: UUID
    name: str
    slug: str
    role: str | None
    created_at: datetime
    archived_at: datetime | None


def create_own_organization(
    *, actor: Actor, name: str, slug: str, now: datetime
) -> OrganizationFacts:
    """Create an organization that the acting user owns. Raises RightMissing for an actor that is
    no user, and what ``create_organization`` raises."""
    if actor.user_id is None:
        raise RightMissing("account")
    pk = create_organization(actor=actor, owner_id=actor.user_id, name=name, slug=slug, now=now)
    return get_organization(actor=actor, organization_id=pk)


def create_organization(
    *, actor: Actor, owner_id: UUID, name: str, slug: str, now: datetime
) -> UUID:
    """Create an organization with its first owner; return its id. Raises SubjectNotFound for an
    owner who does not live, SlugRefused or SlugInUse."""
    forbid_bad_slug(slug)
    try:
        with transaction.atomic(durable=True):
            # Locked, so that nobody becomes an owner whose account ends at this moment.
            if not is_live(lock_subject(Reference("user", owner_id))):
                raise SubjectNotFound("user")
            organization = Organization.objects.create(name=name, slug=slug, created_at=now)
            Membership.objects.create(
                organization=organization, user_id=owner_id, role=Role.OWNER, joined_at=now
            )
            subject = Reference("organization", organization.pk)
            record("organization.created", actor=actor, subject=subject, now=now)
            return organization.pk
    except IntegrityError as error:
        raise SlugInUse(slug) from error


def get_organization(*, actor: Actor, organization_id: UUID) -> OrganizationFacts:
    """Return an organization to whoever belongs to it; raises SubjectNotFound."""
    return describe(read_standing(actor, organization_id), actor)


def list_organizations(
    *, actor: Actor, after: UUID | None, limit: int
) -> tuple[list[OrganizationFacts], UUID | None]:
    """Return the living organizations that the actor belongs to, by id, a page at a time, and
    after which id the next page begins, None when there is none."""
    if actor.organization_id is not None:
        return [get_organization(actor=actor, organization_id=actor.organization_id)], None
    if actor.user_id is None:
        return [], None
    mine = Membership.objects.filter(
        user_id=actor.user_id, organization__is_deleted=False, organization__is_active=True
    ).select_related("organization")
    if after is not None:
        mine = mine.filter(organization_id__gt=after)
    rows = list(mine.order_by("organization_id")[: limit + 1])
    found = [_facts(row.organization, row.role) for row in rows[:limit]]
    return found, found[-1].id if len(rows) > limit else None


def change_organization(
    *,
    actor: Actor,
    organization_id: UUID,
    now: datetime,
    name: str | None = None,
    slug: str | None = None,
) -> OrganizationFacts:
    """Give an organization another name or slug, at the wish of an admin or owner.

    Raises ActorGone, SubjectNotFound, OrganizationArchived, RoleMissing, SlugRefused or SlugInUse.
    """
    wanted = {"name": name, "slug": slug}
    if slug is not None:
        forbid_bad_slug(slug)
    try:
        with transaction.atomic(durable=True):
            standing = lock_for_change(actor, organization_id, least=Role.ADMIN)
            row = standing.organization
            changed = [
                field
                for field, value in wanted.items()
                if value is not None and value != getattr(row, field)
            ]
            for field in changed:
                setattr(row, field, wanted[field])
            if changed:
                row.save(update_fields=changed)
                # Which, and not into what: a name can be somebody's.
                record(
                    "organization.changed",
                    actor=actor,
                    subject=Reference("organization", row.pk),
                    now=now,
                    facts={"fields": changed},
                )
            return describe(standing, actor)
    except IntegrityError as error:
        raise SlugInUse(slug or "") from error


def describe(standing: Standing, actor: Actor) -> OrganizationFacts:
    """Return the facts of an organization as the actor sees them."""
    return _facts(standing.organization, None if actor.user_id is None else standing.role)


def _facts(row: Organization, role: str | None) -> OrganizationFacts:
    return OrganizationFacts(row.pk, row.name, row.slug, role, row.created_at, row.archived_at)
