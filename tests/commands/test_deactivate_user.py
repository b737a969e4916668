"""``manage.py deactivate_user``: says what it would do, does it, and never orphans."""

import pytest

from accounts.models import Session, User
from audit.models import AuditEvent, EventDetail
from contracts import ids
from tests.bystanders import charlie_untouched
from tests.commands.shell import run, run_json
from tests.factories import MembershipFactory, SessionFactory, UserFactory
from tests.house.asking import owned_by

pytestmark = pytest.mark.django_db


def is_active(user: User) -> bool:
    return bool(User.objects.get(pk=user.pk).is_active)


def test_a_dry_run_changes_nothing() -> None:
    alice = UserFactory(username="alice")
    for mode in ((), ("--dry-run",)):
        code, out = run("deactivate_user", "alice", *mode)
        assert (code, is_active(alice)) == (0, True)
        assert "would be locked out" in out
    assert not AuditEvent.objects.exists()


def test_a_user_is_locked_out_and_let_in_again() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        SessionFactory(user=alice)
        reason = ("--reason", "Her laptop was stolen")
        code, told = run_json("deactivate_user", "alice", "--execute", *reason)
        shown = {"kind": "user", "id": ids.encode(ids.USER, alice.pk)}
        assert (code, told) == (
            0,
            {"executed": True, "subject": shown, "active": False, "refusal": None},
        )
        assert not is_active(alice)
        assert not Session.objects.filter(user=alice).exists()
        code, out = run("deactivate_user", "alice", "--execute")
        assert (code, "already" in out) == (0, True)
        code, told = run_json("deactivate_user", shown["id"], "--activate", "--execute")
        assert (code, told["active"], is_active(alice)) == (0, True, True)
    told_events = AuditEvent.objects.filter(subject_id=alice.pk).order_by("at", "id")
    assert [(it.action, it.actor_kind, it.channel) for it in told_events] == [
        ("user.deactivated", "system", "deactivate_user"),
        ("user.activated", "system", "deactivate_user"),
    ]
    [detail] = EventDetail.objects.filter(event_id__in=[it.pk for it in told_events])
    assert (detail.event_id, detail.subject_id) == (told_events[0].pk, alice.pk)
    assert (detail.field, detail.value) == ("reason", "Her laptop was stolen")


@pytest.mark.parametrize("mode", ["--dry-run", "--execute"])
def test_the_last_owner_is_refused(mode: str) -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        acme = owned_by(alice)
        code, told = run_json("deactivate_user", "alice", mode)
        assert (code, told["executed"], told["refusal"]["code"]) == (1, False, "SoleOwner")
        assert acme.name in told["refusal"]["text"]
        assert is_active(alice)
        assert "REFUSED" in run("deactivate_user", "alice", mode)[1]
        MembershipFactory(organization=acme, role="owner")
        assert run("deactivate_user", "alice", mode)[0] == 0


def test_a_deleted_user_is_refused_and_an_unknown_one_is_misuse() -> None:
    UserFactory(username="gone", is_deleted=True, is_active=False)
    for mode in ("--dry-run", "--execute"):
        assert run("deactivate_user", "gone", mode)[0] == 1
        assert run("deactivate_user", "gone", "--activate", mode)[0] == 1
    assert run("deactivate_user", "nobody")[0] == 2
