"""Asking for deletions, following and undoing them, for the tests of this folder."""

import json
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from accounts.models import User, UserGroup
from audit.actors import Actor
from audit.events import Reference
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.factories import (
    UserFactory,
)
from tests.house.asking import (
    ask,
    spell,
    spell_deletion,
)

ACME = "550e8400-e29b-41d4-a716-446655440000"


def delete(user: User, key: str, body: Any = None) -> Any:
    return ask("POST", f"/v1/user/{spell(user)}/deletion", key, body)


def close(organization: Organization, key: str, **more: Any) -> Any:
    """Delete an organization, its slug typed to confirm it."""
    body = {"slug": organization.slug, **more}
    return ask("POST", f"/v1/organizations/{organization.pk}/deletion", key, body)


def follow(address: str, key: str | None = None, **headers: str) -> Any:
    parts = urlsplit(address)
    return ask("GET", parts.path + (f"?{parts.query}" if parts.query else ""), key, None, headers)


def moment(value: Any) -> str:
    text: str = value.isoformat()
    return text.replace("+00:00", "Z")


def fresh(model: Any, row: Any) -> Any:
    return model._default_manager.get(pk=row.pk)


def plan_of(user: User, key: str) -> str:
    response = ask("GET", f"/v1/user/{spell(user)}/deletion-preview", key)
    name: str = response.json()["id"]
    return name


def assert_exactly(response: Any, expected: Any) -> None:
    assert (response.status_code, json.loads(response.content)) == (200, expected)
    assert list(response.json()) == list(expected)


def query(token: str) -> str:
    from urllib.parse import urlencode

    return urlencode({"token": token})


def restorer() -> User:
    """Create staff who may restore users and organizations, and no more."""
    staff: User = UserFactory(is_staff=True)
    group = Group.objects.create(name=f"restorers {staff.pk}")
    names = ("restore_user", "restore_organization")
    group.permissions.add(*Permission.objects.filter(codename__in=names))
    UserGroup.objects.create(user=staff, group=group)
    return staff


def restore(row: DeletionRequest, key: str, body: Any = None) -> Any:
    return ask("POST", f"/v1/deletions/{spell_deletion(row.pk)}/restore", key, body)


def hold(user: User) -> None:
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", user.pk),
        reason="Case 1",
        review_at=None,
        now=timezone.now(),
    )


def erase(user: User) -> None:
    erase_now(actor=Actor.system("test"), subject=Reference("user", user.pk), now=timezone.now())
