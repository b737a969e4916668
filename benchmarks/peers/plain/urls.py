"""The same deletion three times: without authentication, and behind each peer's key as its own
documentation shows it."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import Http404
from django.urls import path
from django.utils import timezone
from knox.auth import TokenAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_api_key.permissions import BaseHasAPIKey

from benchmarks.peers.plain.models import Event, User, UserAPIKey


def soft_delete(user_id: int, end_keys: Callable[[], Any]) -> Response:
    """Set the flags, end the keys, write an event."""
    now = timezone.now()
    with transaction.atomic():
        living = User.objects.filter(pk=user_id, is_deleted=False)
        if not living.update(is_deleted=True, is_active=False, deleted_at=now):
            raise Http404
        end_keys()
        Event.objects.create(
            at=now, action="user.deleted", actor_id=user_id, subject_id=user_id, facts={}
        )
    message = "User account deleted successfully"
    return Response({"success": True, "message": message, "user_id": user_id})


def revoke_api_keys(user_id: int) -> None:
    UserAPIKey.objects.filter(user_id=user_id, revoked=False).update(revoked=True)


class Bare(APIView):
    def delete(self, request: Request, user_id: int) -> Response:
        return soft_delete(user_id, lambda: revoke_api_keys(user_id))


class HasUserAPIKey(BaseHasAPIKey):
    model = UserAPIKey


class WithApiKey(APIView):
    permission_classes = (HasUserAPIKey,)

    def delete(self, request: Request, user_id: int) -> Response:
        key = request.META["HTTP_AUTHORIZATION"].split()[1]
        if UserAPIKey.objects.get_from_key(key).user_id != user_id:
            raise PermissionDenied
        return soft_delete(user_id, lambda: revoke_api_keys(user_id))


class WithKnox(APIView):
    authentication_classes = (TokenAuthentication,)
    permission_classes = (IsAuthenticated,)

    def delete(self, request: Request, user_id: int) -> Response:
        user: Any = request.user
        if user.pk != user_id:
            raise PermissionDenied
        # What knox's own LogoutAllView does.
        return soft_delete(user_id, lambda: user.auth_token_set.all().delete())


urlpatterns = [
    path("bare/<int:user_id>", Bare.as_view()),
    path("apikey/<int:user_id>", WithApiKey.as_view()),
    path("knox/<int:user_id>", WithKnox.as_view()),
]
