"""What has expired and nobody can use any more: sessions, and answers kept for a repetition."""

from datetime import datetime

from accounts.models import Session
from contracts.idempotency import forget_old_answers, old_answers
from erasure.chores import Chore, register_chore


def count_sessions(now: datetime) -> int:
    return Session.objects.filter(expire_date__lte=now).count()


def remove_sessions(now: datetime) -> int:
    removed, _ = Session.objects.filter(expire_date__lte=now).delete()
    return removed


def count_answers(now: datetime) -> int:
    return old_answers(now=now).count()


def remove_answers(now: datetime) -> int:
    return forget_old_answers(now=now)


SESSIONS = Chore("sessions", "expired sessions", count_sessions, remove_sessions)
ANSWERS = Chore("answers", "old answers", count_answers, remove_answers)
register_chore(SESSIONS)
register_chore(ANSWERS)
