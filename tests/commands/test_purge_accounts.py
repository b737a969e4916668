"""The purge from the shell: what it takes, what it leaves, what it says, and its exit codes."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from accounts.models import User
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure.brakes import place_pause, release_pause
from erasure.holds import place_hold, release_hold
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched, read_rows
from tests.deployment.shell import manage
from tests.factories import MembershipFactory, SessionFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def run(*args: str) -> tuple[int, str]:
    """Return the exit code and standard output of the command."""
    out = StringIO()
    try:
        call_command("purge_accounts", *args, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


def purge(*args: str) -> dict[str, Any]:
    code, out = run("--execute", "--json", *args)
    told: dict[str, Any] = json.loads(out)
    assert code == (1 if told["failed"] else 0)
    return told


def erased(*args: str) -> set[str]:
    return {subject["id"] for subject in purge(*args)["subjects"]}


def due_user(*, overdue: timedelta = DAY) -> User:
    """Create a user with a key, a session and a membership, whose grace period is over."""
    user = UserFactory()
    give_key(user)
    SessionFactory(user=user)
    MembershipFactory(user=user)
    soft_delete_own_account(
        actor=Actor(kind="user", id=user.pk, channel="test", person_id=user.pk),
        user_id=user.pk,
        now=timezone.now(),
    )
    DeletionRequest.objects.filter(subject_id=user.pk).update(due_at=timezone.now() - overdue)
    return user


def request_of(user: User) -> DeletionRequest:
    return DeletionRequest.objects.get(subject_id=user.pk)


def exists(user: User) -> bool:
    return bool(User.objects.filter(pk=user.pk).exists())


@contextmanager
def undeletable(user: User) -> Iterator[None]:
    """Let a table that no model knows of hold on to one user, so that the database refuses to
    remove that row."""
    kind = "uuid" if connection.vendor == "postgresql" else "char(32)"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE clinging (held {kind} REFERENCES accounts_user (id))")
        cursor.execute("INSERT INTO clinging VALUES (%s)", [user.pk.hex])
        yield
        cursor.execute("DROP TABLE clinging")


def test_a_dry_run_says_what_it_would_take_and_changes_nothing() -> None:
    user = due_user()
    before = read_rows()
    assert run() == (
        0,
        f"Would erase user {user.pk}: 1 accounts.User, 1 apikeys.ApiKey, "
        "1 organizations.Membership\n"
        "Would erase 1 subjects, 3 rows.\n"
        "Nothing was changed. Run it again with --execute to erase.\n",
    )
    assert read_rows() == before


def test_a_dry_run_in_json_has_the_shape_of_the_real_run() -> None:
    due_user()
    before = read_rows()
    code, out = run("--json")
    assert read_rows() == before
    planned, done = json.loads(out), purge()
    assert (code, planned["executed"], done["executed"]) == (0, False, True)
    assert planned["subjects"] == done["subjects"]
    assert planned["failed"] == done["failed"] == []


def test_json_names_subject_deletion_and_rows() -> None:
    user = due_user()
    deletion = request_of(user).pk
    assert purge() == {
        "executed": True,
        "subjects": [
            {
                "kind": "user",
                "id": str(user.pk),
                "deletion": str(deletion),
                "rows": {"accounts.User": 1, "apikeys.ApiKey": 1, "organizations.Membership": 1},
            }
        ],
        "failed": [],
        "rows": 3,
        "held": 0,
        "paused": 0,
        "busy": 0,
        "stopped": "",
        "left_on_disk": [],
        "search": None,
    }


def test_execute_erases_exactly_what_is_due() -> None:
    with charlie_untouched():
        due = [due_user(), due_user(overdue=MINUTE)]
        waiting = due_user(overdue=-DAY)
        living = UserFactory()
        assert erased() == {str(user.pk) for user in due}
    assert not any(map(exists, due))
    assert exists(waiting)
    assert exists(living)
    assert [request_of(user).state for user in (*due, waiting)] == [
        "completed",
        "completed",
        "scheduled",
    ]


def test_execute_says_in_words_what_it_took() -> None:
    user = due_user()
    assert run("--execute") == (
        0,
        f"Erased user {user.pk}: 1 accounts.User, 1 apikeys.ApiKey, 1 organizations.Membership\n"
        "Erased 1 subjects, 3 rows.\n",
    )


def test_the_audit_log_names_the_command_and_counts_the_rows() -> None:
    user = due_user()
    purge()
    event = AuditEvent.objects.get(subject_id=user.pk, action="user.erased")
    assert (event.actor_kind, event.channel) == ("system", "purge_accounts")
    assert event.facts["removed"] == request_of(user).counts


def test_a_hold_makes_an_erasure_wait_until_it_is_released() -> None:
    user, staff = due_user(), Actor.system("test")
    now = timezone.now()
    hold = place_hold(
        actor=staff, subject=Reference("user", user.pk), reason="a suit", review_at=None, now=now
    )
    before = read_rows()
    assert erased() == set()
    assert read_rows() == before
    release_hold(actor=staff, hold_id=hold, now=now)
    assert erased() == {str(user.pk)}


def test_a_limit_bounds_the_subjects_and_takes_the_longest_overdue_first() -> None:
    first, second, third = (due_user(overdue=days * DAY) for days in (3, 2, 1))
    assert erased("--limit", "2") == {str(first.pk), str(second.pk)}
    assert exists(third)
    assert erased("--limit", "2") == {str(third.pk)}


def test_a_limit_bounds_the_dry_run_too() -> None:
    due_user()
    last = due_user(overdue=9 * DAY)
    _, out = run("--json", "--limit", "1")
    assert [subject["id"] for subject in json.loads(out)["subjects"]] == [str(last.pk)]


def test_a_second_run_erases_and_counts_nothing() -> None:
    due_user()
    purge()
    after = read_rows()
    assert run("--execute") == (0, "Erased 0 subjects, 0 rows.\n")
    assert read_rows() == after


def test_a_subject_that_cannot_be_erased_fails_alone_and_is_named() -> None:
    with charlie_untouched():
        poisoned, others = due_user(overdue=2 * DAY), [due_user(), due_user(overdue=3 * DAY)]
        with undeletable(poisoned):
            told = purge()
    assert {subject["id"] for subject in told["subjects"]} == {str(user.pk) for user in others}
    [failure] = told["failed"]
    assert failure["deletion"] == str(request_of(poisoned).pk)
    assert failure["error"].startswith("IntegrityError")
    assert exists(poisoned)
    assert not any(map(exists, others))


def test_a_failure_leaves_the_subject_whole_and_is_tried_again_later() -> None:
    poisoned = due_user()
    with undeletable(poisoned):
        before = read_rows()
        purge()
        after = read_rows()
        request = request_of(poisoned)
        assert erased() == set()
    for label in ("erasure.DeletionRequest", "erasure.Statement"):
        del before[label], after[label]
    assert after == before
    assert (request.state, request.attempts, request.counts) == ("failed", 1, {})
    assert request.retry_at is not None
    assert request.retry_at > timezone.now()
    DeletionRequest.objects.update(retry_at=timezone.now() - MINUTE)
    assert erased() == {str(poisoned.pk)}
    assert request_of(poisoned).counts["accounts.User"] == 1


def test_what_is_kept_of_a_failure_quotes_no_personal_data() -> None:
    poisoned = due_user()
    with undeletable(poisoned):
        told = purge()
    texts = told["failed"][0]["error"] + request_of(poisoned).last_error
    assert poisoned.email not in texts
    assert poisoned.pk.hex not in texts.replace("-", "")


def test_a_failure_is_told_in_words_and_ends_with_exit_code_1() -> None:
    poisoned = due_user()
    with undeletable(poisoned):
        code, out = run("--execute")
    assert code == 1
    assert out.startswith(f"FAILED {request_of(poisoned).pk}: IntegrityError")
    assert out.endswith("Erased 0 subjects, 0 rows.\n")


def lease(user: User, until: timedelta) -> UUID:
    token = uuid4()
    DeletionRequest.objects.filter(subject_id=user.pk).update(
        state="running", attempts=1, lease_token=token, lease_until=timezone.now() + until
    )
    return token


def test_a_lease_that_lapsed_is_taken_over_from_the_worker_that_died() -> None:
    user = due_user()
    lease(user, -MINUTE)
    assert erased() == {str(user.pk)}
    request = request_of(user)
    assert (request.state, request.attempts, request.lease_token) == ("completed", 2, None)


def test_a_lease_that_stands_is_left_to_its_worker() -> None:
    user = due_user()
    lease(user, MINUTE)
    before = read_rows()
    assert erased() == set()
    assert read_rows() == before


def test_a_subject_that_is_gone_already_is_closed_without_rows() -> None:
    user = due_user()
    User.objects.filter(pk=user.pk).delete()
    told = purge()
    assert [subject["rows"] for subject in told["subjects"]] == [{}]
    assert request_of(user).state == "completed"


def test_a_dry_run_may_be_asked_for_by_name_and_excludes_execution() -> None:
    user = due_user()
    code, out = run("--dry-run", "--json")
    assert (code, json.loads(out)["executed"]) == (0, False)
    with pytest.raises(CommandError):
        run("--dry-run", "--execute")
    assert exists(user)


def test_only_what_is_overdue_by_so_much() -> None:
    old, young = due_user(overdue=9 * DAY), due_user(overdue=3 * DAY)
    assert erased("--older-than", "7d") == {str(old.pk)}
    assert erased("--older-than", "80h") == set()
    assert erased("--older-than", "70h") == {str(young.pk)}


def test_only_subjects_of_one_kind() -> None:
    user = due_user()
    assert erased("--kind", "organization") == set()
    assert erased("--kind", "user") == {str(user.pk)}


def test_rows_are_never_more_than_allowed_and_the_exit_code_says_so() -> None:
    users = [due_user() for _ in range(3)]
    planned, done = run("--max-rows", "7"), run("--execute", "--max-rows", "7")
    assert planned[1].startswith("Would erase user")
    assert "Would erase 2 subjects, 6 rows." in planned[1]
    assert done[0] == 3
    assert "Erased 2 subjects, 6 rows." in done[1]
    assert "STOPPED: no more rows may be removed in this run." in done[1]
    assert sum(map(exists, users)) == 1


def test_a_pause_stops_the_run_with_exit_code_3_and_a_dry_run_says_so() -> None:
    user, staff = due_user(), Actor.system("test")
    pause = place_pause(actor=staff, reason="a wrong query", now=timezone.now())
    code, out = run("--execute")
    assert (code, exists(user)) == (3, True)
    assert out == "Erased 0 subjects, 0 rows.\nSTOPPED: paused: a wrong query.\n"
    code, out = run("--json")
    assert (code, json.loads(out)["stopped"]) == (3, "paused: a wrong query")
    release_pause(actor=staff, pause_id=pause, now=timezone.now())
    assert erased() == {str(user.pk)}


def test_one_who_is_paused_waits_and_is_counted() -> None:
    user, staff = due_user(), Actor.system("test")
    place_pause(actor=staff, reason="x", now=timezone.now(), organization_id=user.pk)
    code, out = run("--execute")
    assert code == 0
    assert "1 subjects wait: on hold, paused, or somebody works on them." in out


def test_no_bar_is_drawn_where_nobody_watches() -> None:
    due_user()
    assert "\x1b" not in run("--execute")[1]


def test_json_is_one_object_however_many_there_are() -> None:
    users = [due_user() for _ in range(23)]
    told = purge()
    assert {subject["id"] for subject in told["subjects"]} == {str(user.pk) for user in users}
    assert (len(told["subjects"]), told["rows"]) == (23, 23 * 3)


@pytest.mark.parametrize(
    "args",
    [
        ("--limit", "0"),
        ("--limit", "-1"),
        ("--limit", "x"),
        ("--max-rows", "0"),
        ("--older-than", "7"),
        ("--older-than", "-7d"),
        ("--kind", "nobody"),
        ("now",),
    ],
)
def test_wrong_usage_is_refused_and_erases_nothing(args: tuple[str, ...]) -> None:
    due_user()
    before = read_rows()
    with pytest.raises(CommandError):
        run("--execute", *args)
    assert read_rows() == before


def test_wrong_usage_ends_with_exit_code_2() -> None:
    done = manage("purge_accounts", "--execute", "--limit", "0")
    assert done.returncode == 2
    assert "must be a whole number from 1 up" in done.stderr


def test_it_searches_and_says_that_nothing_is_left() -> None:
    with charlie_untouched():
        user = due_user()
        code, out = run("--execute", "--search")
    assert code == 0
    assert re.search(r"\nSearched for 1 subjects, \d identifiers: nothing is left\.\n", out)
    assert request_of(user).searched["hits"] == 0


def test_what_is_left_is_named_by_place_and_ends_with_4() -> None:
    user = due_user()
    Group.objects.create(name=f"friends of {user.email}")
    code, out = run("--execute", "--search")
    assert code == 4
    assert f"LEFT BEHIND of {request_of(user).pk}: auth_group, name: " in out
    assert "SOMETHING IS LEFT of 1: 1 hits." in out
    assert user.email not in out


def test_json_tells_of_the_search() -> None:
    user = due_user()
    Group.objects.create(name=user.email)
    code, out = run("--execute", "--search", "--json")
    told = json.loads(out)["search"]
    deletion = str(request_of(user).pk)
    assert (code, told["subjects"], told["hits"], told["missed"]) == (4, 1, 1, 0)
    assert told["left"] == [{"deletion": deletion, "hits": 1}]
    assert [(hit["deletion"], hit["where"]) for hit in told["listed"]] == [(deletion, "auth_group")]
    assert user.email not in out


def test_the_setting_is_the_default_and_the_option_wins() -> None:
    with override_settings(ERASURE_PURGE_SEARCH=True):
        due_user()
        assert "nothing is left" in run("--execute")[1]
        due_user()
        assert "nothing is left" not in run("--execute", "--no-search")[1]
