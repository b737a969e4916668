"""What has expired and nobody can use any more: codes, access tokens, forgotten authorizations."""

from datetime import datetime
from typing import Any

from erasure.chores import Chore, register_chore
from organizations.oauth.models import AccessToken, Grant, RefreshToken


def _expired(now: datetime) -> list[Any]:
    # An authorization takes its access tokens along, so it comes last and nothing counts twice.
    rows: list[Any] = [Grant.objects, AccessToken.objects, RefreshToken.objects]
    return [one.filter(expires__lte=now) for one in rows]


def count_tokens(now: datetime) -> int:
    return sum(rows.count() for rows in _expired(now))


def remove_tokens(now: datetime) -> int:
    return sum(rows.delete()[0] for rows in _expired(now))


TOKENS = Chore("oauth_tokens", "expired OAuth codes and tokens", count_tokens, remove_tokens)
register_chore(TOKENS)
