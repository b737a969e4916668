"""``manage.py erase_logs``: what the log holds about somebody goes, and nothing else."""

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference, record
from audit.models import AuditEvent, EventDetail
from erasure.holds import place_hold
from erasure.models import LegalHold
from erasure.references import spell
from tests.audit.spoiling import write
from tests.bystanders import charlie_untouched
from tests.commands.shell import run, run_json
from tests.databases import triggers_off
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


def logged() -> tuple[User, str]:
    """Return a user with one event about them, and their id as the shell takes it."""
    user = UserFactory()
    subject = Reference("user", user.pk)
    actor = Actor("user", user.pk, "test", person_id=user.pk, reason="my own words")
    record("x", actor=actor, subject=subject, now=timezone.now())
    return user, spell(subject)


def hold(user: User) -> None:
    subject, actor = Reference("user", user.pk), Actor.system("test")
    place_hold(actor=actor, subject=subject, reason="Case 7", review_at=None, now=timezone.now())


def test_it_says_what_it_would_do_and_does_it() -> None:
    user, name = logged()
    with charlie_untouched():
        code, said = run("erase_logs", name)
        assert (code, said) == (0, f"user {name}: personal values that would be erased: 1.\n")
        assert EventDetail.objects.filter(person_id=user.pk).count() == 1
        code, said = run("erase_logs", name, "--execute")
        assert (code, said) == (0, f"user {name}: personal values that were erased: 1.\n")
    assert not EventDetail.objects.filter(person_id=user.pk).exists()
    told = AuditEvent.objects.get(action="user.logs_erased")
    assert (told.subject_id, told.facts) == (user.pk, {"values": 1})
    assert (told.actor_kind, told.channel) == ("system", "erase_logs")
    assert User.objects.filter(pk=user.pk).exists()


def test_it_takes_whoever_is_gone() -> None:
    user, name = logged()
    plain = str(user.pk)
    user.delete()
    assert run("erase_logs", plain)[0] == 2
    code, told = run_json("erase_logs", plain, "--kind", "user", "--execute")
    assert (code, told["executed"], told["values"]) == (0, True, 1)
    assert told["subject"] == {"kind": "user", "id": name}
    assert run_json("erase_logs", name, "--execute")[1]["values"] == 0


def test_a_legal_hold_forbids_it() -> None:
    user, name = logged()
    hold(user)
    for mode in ((), ("--execute",)):
        code, told = run_json("erase_logs", name, *mode)
        assert (code, told["executed"], told["values"]) == (1, False, 2), "the reason is one"
        assert told["refusal"]["code"] == "UnderLegalHold"
    assert "refused" in run("erase_logs", name, "--execute")[1]
    assert EventDetail.objects.filter(person_id=user.pk, value="my own words").exists()
    LegalHold.objects.update(released_at=timezone.now())
    assert run("erase_logs", name, "--execute")[0] == 0


def test_an_id_of_another_kind_is_refused_of_whom_is_gone_too() -> None:
    user, _ = logged()
    other = ("erase_logs", str(user.pk), "--kind", "organization", "--execute")
    assert run(*other) == (2, f"'{user.pk}' is the id of a user.")
    User.objects.filter(pk=user.pk).delete()
    assert run(*other) == (2, f"'{user.pk}' is the id of a user.")
    assert EventDetail.objects.filter(person_id=user.pk).exists()


@pytest.mark.parametrize("kind", ["CAST(X'ff' AS TEXT)", "X'ff'", "7", "'nonsense'"])
def test_a_kind_that_is_none_is_no_other(kind: str) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    user, name = logged()
    User.objects.filter(pk=user.pk).delete()
    with triggers_off():
        write(f"UPDATE audit_auditevent SET subject_kind = {kind}")
    assert run_json("erase_logs", name, "--execute")[1]["values"] == 1


def test_what_is_no_id_is_wrong_usage() -> None:
    assert run("erase_logs", "alice") == (2, "'alice' is no id, or needs --kind.")
