"""What has expired and nobody can use any more: codes, access tokens, forgotten authorizations."""

from datetime import datetime
from typing import Any

from django.db import transaction

from erasure.chores import Chore, register_chore
from organizations.oauth.models import AccessToken, Grant, RefreshToken

MODELS: tuple[Any, ...] = (Grant, AccessToken, RefreshToken)


def count_tokens(now: datetime) -> int:
    return sum(model.objects.filter(expires__lte=now).count() for model in MODELS)


def remove_tokens(now: datetime) -> int:
    return sum(_remove(model, now) for model in MODELS)


def _remove(model: Any, now: datetime) -> int:
    with transaction.atomic():
        # Rows that somebody else is about to end are left to them: nobody waits for anybody here.
        free = model.objects.filter(expires__lte=now).select_for_update(skip_locked=True)
        removed, _ = model.objects.filter(pk__in=free.order_by().values("pk")).delete()
    return int(removed)


TOKENS = Chore("oauth_tokens", "expired OAuth codes and tokens", count_tokens, remove_tokens)
register_chore(TOKENS)
