"""The staff of the tests: who signs in with which permissions, and accounts for them to handle."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User, UserGroup
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from tests.factories import UserFactory


def sign_in(client: Client, *permissions: str) -> User:
    """Sign in a new member of staff whose group holds these permissions and no other."""
    staff: User = UserFactory(is_staff=True)
    group = Group.objects.create(name=f"group of {staff.pk}")
    for permission in permissions:
        app, codename = permission.split(".")
        group.permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
    UserGroup.objects.create(user=staff, group=group)
    client.force_login(staff)
    return staff


def sign_in_superuser(client: Client) -> User:
    staff: User = UserFactory(is_staff=True, is_superuser=True)
    client.force_login(staff)
    return staff


def delete_softly(user: User | None = None, *, at: datetime | None = None, **fields: Any) -> User:
    """Soft-delete a user through the service, at a moment such as days ago."""
    user = user or UserFactory(**fields)
    actor = Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)
    soft_delete_own_account(actor=actor, user_id=user.pk, now=at or timezone.now())
    user.refresh_from_db()
    return user


def days_ago(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)


def text_of(response: Any) -> str:
    """Return a page's HTML, rendered."""
    return str(response.content.decode())


def said(response: Any) -> list[str]:
    """Return the messages on a page that was redirected to."""
    return [str(message) for message in response.context["messages"]]
