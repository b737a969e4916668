"""Whom the mixed load is about: people with keys, organizations that they share, and some that are
large. Its functions run in the service's own surroundings, by ``manage.py shell``."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts.models import User
from contracts import ids
from erasure.models import DeletionRequest
from organizations.invitations import digest
from organizations.models import Invitation, Organization
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SubscriptionFactory,
    UserFactory,
    give_key,
)

ROWS = 5_200
"""More than a request removes by itself."""

MANAGED = 30
"""More than go along in a request."""

COMMONS = 4


def populate(clients: int, seconds: int, paid: list[str]) -> dict[str, Any]:
    """Create everything, enough for so many seconds, with a large organization for each of some
    subscriptions at Stripe."""
    keeper = _person("load-keeper")
    commons = [_owned_by(keeper, f"commons-{number}") for number in range(COMMONS)]
    users = [_person(f"load-{number}") for number in range(clients)]
    callers = [_caller(number, user, keeper, commons, seconds) for number, user in enumerate(users)]
    for number, subscription in enumerate(paid):
        large = _large(number, users[number % clients], subscription)
        callers[number % clients]["large"].append(str(large))
    return {"callers": callers, "commons": [str(one.pk) for one in commons]}


def _caller(
    number: int, user: User, keeper: User, commons: list[Organization], seconds: int
) -> dict[str, Any]:
    for place, one in enumerate(commons):
        role = ("owner", "admin", "member")[(number + place) % 3]
        MembershipFactory(organization=one, user=user, role=role)
    leavers = [_person(f"load-{number}-leaver-{place}") for place in range(seconds // 10)]
    for leaver in leavers:
        MembershipFactory(organization=commons[number % COMMONS], user=leaver)
    door = _owned_by(keeper, f"door-{number}")
    tokens = [f"load-{number}-token-{place}" for place in range(seconds // 5)]
    for token in tokens:
        InvitationFactory(
            organization=door, email=user.email, token_digest=digest(token), invited_by=keeper
        )
    return {
        **_tell(user),
        "number": number,
        "leavers": [_tell(one) for one in leavers],
        "door": str(door.pk),
        "tokens": tokens,
        "large": [],
    }


def _large(number: int, owner: User, subscription: str) -> UUID:
    """Create an organization of many rows, or one that manages many users."""
    one = _owned_by(owner, f"large-{number}")
    SubscriptionFactory(organization=one, subscription=subscription)
    if number % 2:
        ManagedUserFactory.create_batch(MANAGED, organization=one)
        return one.pk
    rows = InvitationFactory.build_batch(ROWS, organization=one)
    for place, row in enumerate(rows):
        row.token_digest = digest(f"large-{number}-{place}")
    Invitation.objects.bulk_create(rows, batch_size=500)
    return one.pk


def _person(name: str) -> User:
    user: User = UserFactory(username=name, email=f"{name}@example.com")
    return user


def _owned_by(user: User, slug: str) -> Organization:
    one: Organization = OrganizationFactory(slug=slug)
    MembershipFactory(organization=one, user=user, role="owner")
    return one


def _tell(user: User) -> dict[str, str]:
    return {"id": ids.encode(ids.USER, user.pk), "key": give_key(user)}


def make_due() -> int:
    """Let every grace period be over; return how many deletions wait for that."""
    past = timezone.now() - timedelta(hours=1)
    return DeletionRequest.objects.filter(state="scheduled").update(due_at=past)
