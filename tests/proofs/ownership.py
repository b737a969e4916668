"""Two owners of one organization, and the seven ways in which it can lose one of them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from itertools import combinations_with_replacement
from uuid import UUID

from django.core.management import call_command
from uuid_utils.compat import uuid7

from accounts.models import User
from accounts.services import set_active, soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from contracts import ids
from erasure.deleting import restore, schedule_deletion
from erasure.exceptions import ActorGone, SubjectNotFound
from organizations.exceptions import HeirRefused, MemberNotFound, RoleMissing, SoleOwner
from organizations.members import (
    change_role,
    leave_organization,
    remove_member,
    transfer_ownership,
)
from organizations.models import Membership, Organization

NOW = datetime(2025, 5, 1, tzinfo=UTC)
STAFF = Actor.system("races")


class CommandRefused(Exception):
    """The command ended with the exit code of a refusal."""


REFUSALS = (
    SoleOwner,
    ActorGone,
    SubjectNotFound,
    MemberNotFound,
    RoleMissing,
    HeirRefused,
    CommandRefused,
)
"""What whoever comes second may hear. Everything else would be a 500."""


@dataclass(frozen=True)
class Pair:
    """An organization and its two owners. ``one`` loses the one, and ``other`` the other."""

    organization: UUID
    first: UUID
    second: UUID

    def turned(self) -> "Pair":
        """The same with the owners' parts exchanged."""
        return Pair(self.organization, self.second, self.first)


Way = Callable[[Pair], None]
"""Takes the first owner away, or tries to."""


def leave(pair: Pair) -> None:
    leave_organization(actor=as_user(pair.first), organization_id=pair.organization, now=NOW)


def remove(pair: Pair) -> None:
    """The second owner removes the first."""
    remove_member(
        actor=as_user(pair.second),
        organization_id=pair.organization,
        user_id=pair.first,
        now=NOW,
    )


def demote(pair: Pair) -> None:
    """The second owner makes the first a member."""
    change_role(
        actor=as_user(pair.second),
        organization_id=pair.organization,
        user_id=pair.first,
        role="member",
        now=NOW,
    )


def delete_user(pair: Pair) -> None:
    soft_delete_own_account(actor=as_user(pair.first), user_id=pair.first, now=NOW)


def deactivate_by_staff(pair: Pair) -> None:
    set_active(actor=STAFF, user_id=pair.first, is_active=False, now=NOW)


def deactivate_by_command(pair: Pair) -> None:
    name = ids.encode(ids.USER, pair.first)
    try:
        call_command("deactivate_user", name, "--execute", stdout=StringIO())
    except SystemExit as end:
        raise CommandRefused(end.code) from None


def transfer(pair: Pair) -> None:
    """The first owner passes it on to the second, and keeps a member's role."""
    transfer_ownership(
        actor=as_user(pair.first),
        organization_id=pair.organization,
        to=pair.second,
        keep_role="member",
        now=NOW,
    )


WAYS: list[Way] = [
    leave,
    remove,
    demote,
    delete_user,
    deactivate_by_staff,
    deactivate_by_command,
    transfer,
]
PAIRS = list(combinations_with_replacement(WAYS, 2))
"""Each two of the seven, each with itself, too: 28."""


def as_user(pk: UUID) -> Actor:
    return Actor(kind="user", id=pk, channel="races", person_id=pk)


def make_pairs(size: int) -> list[Pair]:
    """Create organizations with two live owners each."""
    pairs = [Pair(uuid7(), uuid7(), uuid7()) for _ in range(size)]
    Organization.objects.bulk_create(
        Organization(pk=it.organization, name="Acme", slug=it.organization.hex, created_at=NOW)
        for it in pairs
    )
    people = [pk for it in pairs for pk in (it.first, it.second)]
    User.objects.bulk_create(
        User(pk=pk, username=pk.hex, password="!", date_joined=NOW) for pk in people
    )
    Membership.objects.bulk_create(
        Membership(organization_id=it.organization, user_id=pk, role="owner", joined_at=NOW)
        for it in pairs
        for pk in (it.first, it.second)
    )
    return pairs


def make_closed(size: int) -> list[Pair]:
    """Create closed organizations of which the first owner is the only one."""
    pairs = make_pairs(size)
    Membership.objects.filter(user_id__in=[it.second for it in pairs]).delete()
    for it in pairs:
        schedule_deletion(actor=STAFF, subject=Reference("organization", it.organization), now=NOW)
    return pairs


def reopen(pair: Pair) -> None:
    restore(actor=STAFF, subject=Reference("organization", pair.organization), now=NOW)


def find_ownerless(pairs: list[Pair], **those: bool) -> list[UUID]:
    """Return which of these organizations no live owner has."""
    owned = Membership.objects.live_owners().values("organization")
    mine = Organization.objects.filter(pk__in=[it.organization for it in pairs])
    return list(mine.filter(**those).exclude(pk__in=owned).values_list("pk", flat=True))
