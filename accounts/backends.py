"""Signing in: live users only, permissions through groups only."""

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import Permission


def _is_leaving(user: Any) -> bool:
    """Whether the organization that manages a user is deleted. Its managed users lose their access
    with it, in the same moment, however many they are."""
    rows = type(user)._base_manager.filter(pk=user.pk)
    return bool(rows.filter(managed_membership__organization__is_deleted=True).exists())


class AccountBackend(ModelBackend):
    def user_can_authenticate(self, user: Any) -> bool:
        return super().user_can_authenticate(user) and not user.is_deleted and not _is_leaving(user)

    # Django's own asks ``user_can_authenticate`` without waiting, and ours looks into the database.
    async def aauthenticate(
        self, request: Any, username: str | None = None, password: str | None = None, **more: Any
    ) -> Any:
        found = sync_to_async(self.authenticate)
        return await found(request, username=username, password=password, **more)

    async def aget_user(self, user_id: Any) -> Any:
        return await sync_to_async(self.get_user)(user_id)

    def _get_user_permissions(self, user_obj: Any) -> Any:
        return Permission.objects.none()

    def _get_group_permissions(self, user_obj: Any) -> Any:
        return Permission.objects.filter(group__users=user_obj)
