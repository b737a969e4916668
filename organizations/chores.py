"""What a sweep does for invitations: those that have expired go, and lost mails are sent."""

from datetime import datetime

from erasure.chores import Chore, register_chore
from organizations.invitations import expired
from organizations.posting import post_unsent, unsent


def count_expired(now: datetime) -> int:
    return int(expired(now).count())


def remove_expired(now: datetime) -> int:
    removed, _ = expired(now).delete()
    return int(removed)


def count_unsent(now: datetime) -> int:
    return int(unsent(now).count())


INVITATIONS = Chore("invitations", "expired invitations", count_expired, remove_expired)
MAILS = Chore("invitation_mails", "mails of invitations", count_unsent, post_unsent)
register_chore(INVITATIONS)
register_chore(MAILS)
