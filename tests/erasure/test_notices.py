"""Mails to the subjects: when, to whom, with which links; and that they never stop a deletion."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import call_command
from django.test import Client, TestCase
from django.utils import timezone

from accounts.models import User
from accounts.services import erase_own_account, soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import links, notices
from erasure.deleting import restore, schedule_deletion
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import ManagedUserFactory, MembershipFactory, OrganizationFactory, UserFactory
from tests.house.asking import make_due

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
IMMEDIATE = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}


@pytest.fixture(autouse=True)
def _engine(settings: Any, mailoutbox: Any) -> None:
    """Tasks run when they are asked for, at the commit."""
    settings.TASKS = IMMEDIATE


@contextmanager
def committed() -> Iterator[None]:
    """Run what waits for the commit when the block ends."""
    with TestCase.captureOnCommitCallbacks(execute=True):
        yield


class Unreachable(EmailBackend):
    """A mail server that refuses whoever is called Bob."""

    def send_messages(self, messages: Any) -> int:
        if any("bob" in one.to[0] for one in messages):
            raise ConnectionRefusedError("bob@example.com is not welcome")
        return int(super().send_messages(messages))


def refer(subject: User | Organization) -> Reference:
    return Reference("user" if isinstance(subject, User) else "organization", subject.pk)


def delete(subject: User | Organization) -> DeletionRequest:
    with committed():
        return schedule_deletion(actor=SYSTEM, subject=refer(subject), now=timezone.now())


def erase(subject: User | Organization) -> DeletionRequest:
    with committed():
        erase_now(actor=SYSTEM, subject=refer(subject), now=timezone.now())
    return DeletionRequest.objects.get(subject_id=subject.pk)


def sent() -> list[Any]:
    messages = list(mail.outbox)
    mail.outbox.clear()
    return messages


def paths(message: Any) -> dict[str, str]:
    """Return the paths that a mail links, by their first part."""
    found = re.findall(r"http://127\.0\.0\.1:8000(/(\w+)/\S+)", message.body)
    return {name: path for path, name in found}


def near(request: DeletionRequest, days: float) -> None:
    """Move a deletion so that its erasure is so many days ahead, asked for two weeks before."""
    due = timezone.now() + timedelta(days=days)
    DeletionRequest.objects.filter(pk=request.pk).update(
        due_at=due, requested_at=due - timedelta(days=14)
    )


def test_at_the_request_the_subject_is_told_what_happens_and_how_to_undo_it() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice", email="alice@example.com")
        request = delete(alice)
    [message] = sent()
    assert message.to == ["alice@example.com"]
    due = f"{request.due_at:%B %Y}"
    assert due in message.subject
    assert due in message.body
    assert links.spell_deletion(request.pk) in message.body
    assert message.extra_headers["Auto-Submitted"] == "auto-generated"
    assert "one more message before that" in message.body
    linked = paths(message)
    # As it is sent, each link stands on a line of its own, in one piece.
    assert f"{linked['restore']}\n".encode() in message.message().as_bytes()
    assert Client().get(linked["restore"]).status_code == 200
    assert Client().get(linked["deletions"]).status_code == 200
    Client().post(linked["restore"])
    alice.refresh_from_db()
    assert not alice.is_deleted


def test_whoever_deletes_their_own_account_is_told_so() -> None:
    alice = UserFactory()
    actor = Actor(kind="user", id=alice.pk, channel="test", person_id=alice.pk)
    with committed():
        soft_delete_own_account(actor=actor, user_id=alice.pk, now=timezone.now())
    [message] = sent()
    assert "you asked" in message.body


def test_nothing_is_sent_before_the_commit_and_nothing_when_there_is_none() -> None:
    alice = UserFactory()
    with committed():
        schedule_deletion(actor=SYSTEM, subject=refer(alice), now=timezone.now())
        assert not sent()
    assert len(sent()) == 1


def test_the_queue_holds_no_address(settings: Any) -> None:
    alice = UserFactory(email="alice@example.com")
    with TestCase.captureOnCommitCallbacks() as callbacks:
        schedule_deletion(actor=SYSTEM, subject=refer(alice), now=timezone.now())
    assert callbacks
    assert not any("example" in repr(one) for one in callbacks)


def test_each_owner_of_an_organization_is_told_apart_from_the_others() -> None:
    with charlie_untouched():
        organization = OrganizationFactory(name="Acme")
        owners = [MembershipFactory(organization=organization, role="owner").user for _ in range(2)]
        MembershipFactory(organization=organization)
        managed = ManagedUserFactory(organization=organization).user
        delete(organization)
    told = {tuple(message.to): message for message in sent()}
    assert set(told) == {(one.email,) for one in [*owners, managed]}
    for owner in owners:
        message = told[owner.email,]
        assert "organization Acme" in " ".join(message.body.split())
        assert not message.cc
        assert not message.bcc


def test_who_goes_along_gets_no_link_that_would_bring_them_back_alone() -> None:
    organization = OrganizationFactory()
    managed = ManagedUserFactory(organization=organization).user
    delete(organization)
    [message] = sent()
    assert message.to == [managed.email]
    assert "restore" not in paths(message)
    assert "deletions" in paths(message)
    assert "goes along with" in message.body


def test_who_has_no_address_is_told_nothing() -> None:
    delete(UserFactory(email=""))
    assert not sent()


def test_a_notice_that_comes_late_is_not_sent() -> None:
    alice = UserFactory()
    request = schedule_deletion(actor=SYSTEM, subject=refer(alice), now=timezone.now())
    restore(actor=SYSTEM, subject=refer(alice), now=timezone.now())
    sent()
    assert notices.send_notice.call("requested", str(request.pk)) is False
    assert notices.send_notice.call("restored", str(request.pk)) is True
    assert [message.subject for message in sent()] == ["Your account is restored"]


def test_a_restore_is_told() -> None:
    alice = UserFactory()
    delete(alice)
    sent()
    with committed():
        restore(actor=SYSTEM, subject=refer(alice), now=timezone.now())
    [message] = sent()
    assert message.to == [alice.email]
    assert "restored" in message.subject


# --- before the erasure -------------------------------------------------------------------------


def unwarned() -> list[Any]:
    return [one.pk for one in notices.find_unwarned(now=timezone.now())]


def test_the_subject_is_warned_once_before_the_erasure() -> None:
    with charlie_untouched():
        alice = UserFactory()
        request = delete(alice)
        sent()
        near(request, 4)
        assert unwarned() == []
        near(request, 2)
        assert unwarned() == [request.pk]
        request.refresh_from_db()
        assert notices.warn(request) is True
        assert notices.warn(request) is False
        assert unwarned() == []
    [message] = sent()
    assert message.to == [alice.email]
    assert message.subject.startswith("Last days to keep your account")
    assert Client().get(paths(message)["restore"]).status_code == 200


def test_the_days_are_a_setting(settings: Any) -> None:
    request = delete(UserFactory())
    near(request, 6)
    assert unwarned() == []
    settings.ERASURE_WARNING_DAYS = 7
    assert unwarned() == [request.pk]


def test_nobody_is_warned_of_what_does_not_come() -> None:
    held, restored, due, running, short = (UserFactory() for _ in range(5))
    requests = {user.pk: delete(user) for user in (held, restored, due, running, short)}
    for request in requests.values():
        near(request, 2)
    place_hold(actor=SYSTEM, subject=refer(held), reason="Case", review_at=None, now=timezone.now())
    restore(actor=SYSTEM, subject=refer(restored), now=timezone.now())
    make_due(due)
    DeletionRequest.objects.filter(subject_id=running.pk).update(state="running")
    # A grace period that is not longer than the warning's own time: the first mail was warning.
    DeletionRequest.objects.filter(subject_id=short.pk).update(requested_at=timezone.now())
    assert unwarned() == []
    sent()
    for user in (restored, due, running):
        assert notices.warn(DeletionRequest.objects.get(subject_id=user.pk)) is False
    assert not sent()


def test_a_warning_that_cannot_be_sent_is_tried_again(settings: Any) -> None:
    bob = UserFactory(username="bob", email="bob@example.com")
    request = delete(bob)
    near(request, 2)
    request.refresh_from_db()
    sent()
    settings.MAILERS = {"default": {"BACKEND": f"{__name__}.Unreachable"}}
    assert notices.warn(request) is False
    assert unwarned() == [request.pk]
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    assert notices.warn(request) is True


# --- at completion ------------------------------------------------------------------------------


def test_the_completion_is_told_and_the_address_is_gone() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice", email="alice-4711@example.com")
        request = erase(alice)
        rows = str(read_rows())
    [message] = sent()
    assert message.to == ["alice-4711@example.com"]
    assert message.subject == "Your account is erased"
    assert "alice-4711" not in rows
    assert request.told == ["e-mail"]
    page = Client().get(paths(message)["deletions"])
    assert b"Download the signed receipt" in page.content


def test_an_erasure_by_oneself_is_told_too() -> None:
    alice = UserFactory()
    actor = Actor(kind="user", id=alice.pk, channel="test", person_id=alice.pk)
    with committed():
        erase_own_account(actor=actor, now=timezone.now())
    assert [message.to for message in sent()] == [[alice.email]]


def test_a_purge_tells_each_of_many() -> None:
    with charlie_untouched():
        users = [UserFactory() for _ in range(5)]
        silent = UserFactory(email="")
        for user in (*users, silent):
            delete(user)
            make_due(user)
        sent()
        with committed():
            call_command("purge_accounts", "--execute", stdout=StringIO())
    told = sent()
    assert sorted(message.to[0] for message in told) == sorted(user.email for user in users)
    assert {message.subject for message in told} == {"Your account is erased"}
    finished = DeletionRequest.objects.filter(state="completed")
    assert {tuple(one.told) for one in finished if one.subject_id != silent.pk} == {("e-mail",)}
    assert DeletionRequest.objects.get(subject_id=silent.pk).told == []


def test_who_was_told_stands_in_the_signed_receipt() -> None:
    from erasure.receipts import payload

    request = erase(UserFactory())
    assert b"e-mail" in payload(request)
    assert b"example.com" not in payload(request)


# --- failures -----------------------------------------------------------------------------------


def test_a_mail_server_that_refuses_stops_no_deletion_and_is_visible(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MAILERS = {"default": {"BACKEND": f"{__name__}.Unreachable"}}
    with charlie_untouched():
        bob = UserFactory(username="bob", email="bob@example.com")
        erase(bob)
    assert not User.objects.filter(pk=bob.pk).exists()
    event = AuditEvent.objects.get(action="notice.failed")
    request = DeletionRequest.objects.get(subject_id=bob.pk)
    assert event.facts == {"deletion": str(request.pk), "notice": "erased"}
    assert (event.subject_id, event.outcome) == (bob.pk, "failed")
    [line] = [vars(one) for one in caplog.records if one.name == "sexton.notices"]
    assert (line["notice"], line["error"]) == ("erased", "ConnectionRefusedError")
    assert "bob@" not in caplog.text


def test_one_address_that_is_refused_stops_no_other(settings: Any) -> None:
    settings.MAILERS = {"default": {"BACKEND": f"{__name__}.Unreachable"}}
    organization = OrganizationFactory()
    for name in ("alice", "bob", "carol"):
        owner = UserFactory(username=name, email=f"{name}@example.com")
        MembershipFactory(user=owner, organization=organization, role="owner")
    delete(organization)
    assert {message.to[0] for message in sent()} == {"alice@example.com", "carol@example.com"}
    assert AuditEvent.objects.filter(action="notice.failed").count() == 1


def test_without_a_mail_server_nothing_is_read_and_nothing_is_sent(settings: Any) -> None:
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
    assert notices.gather("user", [UserFactory()]) == {}
    request = erase(UserFactory())
    assert request.told == []
    assert not AuditEvent.objects.filter(action="notice.failed").exists()


def test_without_an_address_of_its_own_a_service_links_nothing(settings: Any) -> None:
    settings.ERASURE_BASE_URL = ""
    delete(UserFactory())
    [message] = sent()
    assert "http" not in message.body


def test_a_name_with_a_line_break_cannot_write_headers() -> None:
    organization = OrganizationFactory(name="Acme\nBcc: everybody@example.com")
    MembershipFactory(organization=organization, role="owner")
    delete(organization)
    [message] = sent()
    assert "\n" not in message.subject
    assert "everybody@example.com" not in message.message()["To"]
