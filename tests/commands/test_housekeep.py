"""Housekeeping takes what has expired, and nothing else."""

import json
from datetime import timedelta
from io import StringIO
from uuid import UUID

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.models import Session
from contracts.models import IdempotentAnswer
from tests.bystanders import create_charlie, read_rows
from tests.factories import SessionFactory

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOTHING = {"oauth_tokens": 0, "webhook_history": 0}


def run(*args: str) -> str:
    out = StringIO()
    call_command("housekeep", *args, stdout=out)
    return out.getvalue()


def answer(age: timedelta) -> UUID:
    made = IdempotentAnswer.objects.create(
        scope=f"{age.total_seconds():064.0f}",
        fingerprint="",
        created_at=timezone.now() - age,
        status=204,
    )
    return made.pk


def litter() -> tuple[set[str], set[UUID]]:
    """Plant two expired sessions, three old answers and one living one of each kind; return what
    must stay."""
    now = timezone.now()
    for age in (HOUR, DAY):
        SessionFactory(expire_date=now - age)
    for age in (DAY, DAY + HOUR, 9 * DAY):
        answer(age)
    return {SessionFactory(expire_date=now + HOUR).session_key}, {answer(DAY - HOUR)}


def test_a_dry_run_counts_and_changes_nothing() -> None:
    litter()
    before = read_rows()
    assert run() == (
        "Would remove 2 expired sessions, 3 old answers, 0 expired OAuth codes and tokens and 0 "
        "old webhook messages.\n"
        "Nothing was changed. Run it again with --execute to remove them.\n"
    )
    assert read_rows() == before


def test_execute_removes_what_has_expired_and_keeps_the_rest() -> None:
    sessions, answers = litter()
    before = read_rows()
    assert run("--execute") == (
        "Removed 2 expired sessions, 3 old answers, 0 expired OAuth codes and tokens and 0 old "
        "webhook messages.\n"
    )
    after = read_rows()
    assert set(Session.objects.values_list("pk", flat=True)) == sessions
    assert set(IdempotentAnswer.objects.values_list("pk", flat=True)) == answers
    for label in before.keys() - {"accounts.Session", "contracts.IdempotentAnswer"}:
        assert after[label] == before[label]


def test_charlie_with_his_living_session_keeps_every_row() -> None:
    create_charlie()
    Session.objects.update(expire_date=timezone.now() + HOUR)
    his = read_rows()
    litter()
    run("--execute")
    now = read_rows()
    assert {label: rows - now[label] for label, rows in his.items() if rows - now[label]} == {}


def test_a_second_run_finds_nothing() -> None:
    litter()
    run("--execute")
    assert run("--execute") == (
        "Removed 0 expired sessions, 0 old answers, 0 expired OAuth codes and tokens and 0 old "
        "webhook messages.\n"
    )


@pytest.mark.parametrize(("flag", "executed"), [((), False), (("--execute",), True)])
def test_json_prints_one_object(flag: tuple[str, ...], executed: bool) -> None:
    litter()
    told = json.loads(run("--json", *flag))
    assert told == {"executed": executed, "sessions": 2, "answers": 3, **NOTHING}


def test_wrong_usage_is_refused() -> None:
    with pytest.raises(CommandError):
        run("--everything")
