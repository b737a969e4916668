"""Invitations: one mail, one token, one use; for people with an account and without."""

import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.test import Client, TestCase
from django.utils import timezone

from accounts.models import User
from apikeys import scopes
from apikeys.models import ApiKey
from apikeys.verification import verify_key
from audit.models import AuditEvent
from erasure.clocks import sweep
from organizations.models import Invitation, Membership, Organization
from organizations.posting import post, send_invitation
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import OrganizationFactory, UserFactory, give_key
from tests.house.asking import ask, faults, owned_by, refused
from tests.house.test_organizations import join, path_of, roles

pytestmark = pytest.mark.django_db

IMMEDIATE = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
PASSWORD = "a long and odd password"


@pytest.fixture(autouse=True)
def _engine(settings: Any, mailoutbox: Any) -> None:
    settings.TASKS = IMMEDIATE


@pytest.fixture
def acme() -> Organization:
    return owned_by(UserFactory(username="olga", name="Olga Olsen"))


def owner_key() -> str:
    return give_key(User.objects.get(username="olga"))


def invite(acme: Organization, email: str = "new@example.com", role: str = "member") -> Any:
    with TestCase.captureOnCommitCallbacks(execute=True):
        body = {"email": email, "role": role}
        return ask("POST", path_of(acme, "invitations"), owner_key(), body)


def link() -> str:
    """Return the address in the last mail."""
    [address] = re.findall(r"http://127\.0\.0\.1:8000(/invitations/\S+)", str(mail.outbox[-1].body))
    return str(address)


def token() -> str:
    return link().rpartition("/")[2]


def accept(key: str, given: str) -> Any:
    return ask("POST", "/v1/invitations/accept", key, {"token": given})


def sign_up(given: str, **more: Any) -> Any:
    body = {"token": given, "username": "newcomer", "password": PASSWORD, **more}
    return ask("POST", "/v1/invitations/sign-up", None, body)


def test_an_invitation_is_a_mail_with_a_token_that_stands_nowhere_else(acme: Organization) -> None:
    with charlie_untouched():
        response = invite(acme)
    row = Invitation.objects.get(email="new@example.com")
    shown = response.json()
    assert (response.status_code, shown["email"], shown["role"]) == (201, row.email, "member")
    assert row.expires_at - row.created_at == timedelta(days=7)
    assert row.sent_at is not None
    [message] = mail.outbox
    assert message.to == ["new@example.com"]
    assert acme.name in message.subject
    assert "Olga Olsen invites you" in message.body
    # As it is sent, the link stands on a line of its own, in one piece.
    assert f"{link()}\n".encode() in message.message().as_bytes()
    assert row.token_digest == hashlib.sha256(token().encode()).hexdigest()
    assert token() not in str(read_rows())
    assert token() not in response.content.decode()
    assert "new@example.com" not in str(list(AuditEvent.objects.values()))


def test_whoever_has_an_account_of_the_address_accepts_once(acme: Organization) -> None:
    with charlie_untouched():
        bob = UserFactory(email="Bob@Example.com")
        invite(acme, "bob@example.COM", "admin")
        response = accept(give_key(bob), token())
        assert response.status_code == 200
        assert response.json()["organization_id"] == str(acme.pk)
        assert roles(acme)[bob.pk] == "admin"
        assert not Invitation.objects.filter(organization=acme).exists()
        assert refused(accept(give_key(bob), token())) == (404, "INVITATION_NOT_FOUND")
    told = AuditEvent.objects.filter(subject_id=acme.pk).order_by("at", "id")
    actions = [it.action for it in told]
    assert actions == ["invitation.created", "invitation.accepted", "member.added"]


def test_another_account_is_refused_and_the_invitation_stays(acme: Organization) -> None:
    invite(acme)
    for email in ("other@example.com", ""):
        key = give_key(UserFactory(email=email))
        assert refused(accept(key, token())) == (403, "NOT_THE_INVITEE")
    assert Invitation.objects.filter(organization=acme).exists()
    assert refused(accept(give_key(acme), token())) == (403, "INSUFFICIENT_PERMISSIONS")


@pytest.mark.parametrize("change", ["expired", "revoked", "closed", "wrong"])
def test_an_invitation_that_does_not_hold_is_none(acme: Organization, change: str) -> None:
    bob = UserFactory(email="new@example.com")
    shown = invite(acme).json()["id"]
    given = token()
    if change == "expired":
        Invitation.objects.update(expires_at=timezone.now())
    elif change == "revoked":
        response = ask("DELETE", path_of(acme, f"invitations/{shown}"), owner_key())
        assert (response.status_code, response.content) == (204, b"")
        again = ask("DELETE", path_of(acme, f"invitations/{shown}"), owner_key())
        assert refused(again) == (404, "INVITATION_NOT_FOUND")
    elif change == "closed":
        Organization.objects.filter(pk=acme.pk).update(is_deleted=True, is_active=False)
    else:
        given = given[:-1] + ("a" if given[-1] != "a" else "b")
    assert refused(accept(give_key(bob), given)) == (404, "INVITATION_NOT_FOUND")
    assert refused(sign_up(given)) == (404, "INVITATION_NOT_FOUND")
    assert Client().get(f"/invitations/{given}").status_code == 404


def test_an_archived_organization_takes_nobody_in(acme: Organization) -> None:
    bob = UserFactory(email="new@example.com")
    invite(acme)
    Organization.objects.filter(pk=acme.pk).update(archived_at=timezone.now())
    assert refused(accept(give_key(bob), token())) == (409, "ARCHIVED")
    assert Client().post(link(), {"password": "x"}).status_code in (409, 422)
    Organization.objects.filter(pk=acme.pk).update(archived_at=None)
    assert accept(give_key(bob), token()).status_code == 200


def test_an_earlier_invitation_of_the_same_address_ends(acme: Organization) -> None:
    bob = UserFactory(email="new@example.com")
    invite(acme)
    first = token()
    invite(acme, "NEW@example.com")
    assert Invitation.objects.filter(organization=acme).count() == 1
    assert refused(accept(give_key(bob), first)) == (404, "INVITATION_NOT_FOUND")
    assert accept(give_key(bob), token()).status_code == 200
    assert refused(invite(acme)) == (409, "ALREADY_MEMBER")


def test_who_may_invite_whom(acme: Organization) -> None:
    path = path_of(acme, "invitations")
    for key in (give_key(join(acme, "admin")), give_key(acme)):
        body = {"email": "boss@example.com", "role": "owner"}
        assert refused(ask("POST", path, key, body)) == (403, "INSUFFICIENT_ROLE")
        assert ask("POST", path, key, {"email": "a@example.com"}).status_code == 201
    member = give_key(join(acme))
    asked: list[tuple[str, Any]] = [("GET", None), ("POST", {"email": "b@example.com"})]
    for method, body in asked:
        assert refused(ask(method, path, member, body)) == (403, "INSUFFICIENT_ROLE")
    boss = invite(acme, "boss@example.com", "owner").json()["id"]
    admin = give_key(join(acme, "admin"))
    response = ask("DELETE", path_of(acme, f"invitations/{boss}"), admin)
    assert refused(response) == (403, "INSUFFICIENT_ROLE")


def test_the_list_holds_what_holds(acme: Organization) -> None:
    with charlie_untouched():
        for number in range(3):
            invite(acme, f"guest{number}@example.com")
        Invitation.objects.filter(email="guest1@example.com").update(expires_at=timezone.now())
        path = path_of(acme, "invitations?limit=1")
        first = ask("GET", path, owner_key()).json()
        rest = ask("GET", f"{path}&cursor={first['next_cursor']}", owner_key()).json()
        shown = [it["email"] for it in [*first["data"], *rest["data"]]]
        assert shown == ["guest0@example.com", "guest2@example.com"]
        assert rest["next_cursor"] is None


@pytest.mark.parametrize("email", ["", "x", "a@b", "a@b.cc\n", "a b@c.dd", 5, "a@-b.cc"])
def test_an_address_has_a_form(acme: Organization, email: Any) -> None:
    body = {"email": email}
    response = ask("POST", path_of(acme, "invitations"), owner_key(), body)
    assert faults(response) == {("body", "email")}


# --- without an account -------------------------------------------------------------------------


def test_whoever_has_no_account_signs_up_with_the_token(acme: Organization) -> None:
    with charlie_untouched():
        invite(acme, "New@example.com", "admin")
        given = token()
        response = sign_up(given, name="Nina New")
        assert response.status_code == 201
        nina = User.objects.get(username="newcomer")
        assert (nina.email, nina.name, nina.is_staff) == ("New@example.com", "Nina New", False)
        assert nina.check_password(PASSWORD)
        assert roles(acme)[nina.pk] == "admin"
        key = verify_key(response.json()["secret"], now=timezone.now())
        assert key is not None
        assert (key.user_id, key.scopes) == (nina.pk, scopes.PERSONAL)
        assert ask("GET", path_of(acme), response.json()["secret"]).status_code == 200
        assert refused(sign_up(given, username="other")) == (404, "INVITATION_NOT_FOUND")
        assert User.objects.filter(username="other").count() == 0


def test_a_sign_up_is_all_or_nothing(acme: Organization) -> None:
    with charlie_untouched():
        UserFactory(username="taken")
        invite(acme)
        assert refused(sign_up(token(), username="taken")) == (409, "USER_EXISTS")
        assert refused(sign_up(token(), password="12345678")) == (422, "PASSWORD_REFUSED")
        assert faults(sign_up(token(), username="a b", password="x")) == {
            ("body", "username"),
            ("body", "password"),
        }
        UserFactory(email="NEW@example.com")
        assert refused(sign_up(token())) == (409, "USER_EXISTS")
        assert not User.objects.filter(username="newcomer").exists()
        assert Invitation.objects.filter(organization=acme).exists()


def test_guessing_is_slowed_down(acme: Organization, settings: Any) -> None:
    settings.THROTTLE_FAILED_AUTHENTICATION = "2/min"
    invite(acme)
    assert [sign_up("x").status_code for _ in range(3)] == [404, 404, 429]
    assert Client().post(link(), {"password": "x"}).status_code == 429


# --- the page -----------------------------------------------------------------------------------


def test_the_page_changes_nothing_until_its_button_is_pressed(acme: Organization) -> None:
    with charlie_untouched():
        invite(acme)
        before = read_rows()
        response = Client().get(link())
        assert response.status_code == 200
        assert acme.name in response.content.decode()
        assert response["Referrer-Policy"] == "same-origin"
        assert response["Cache-Control"] == "no-store"
        assert read_rows() == before
        form = {"username": "newcomer", "name": "", "password": PASSWORD}
        response = Client().post(link(), form)
        assert response.status_code == 200
        [secret] = re.findall(r"<code>(\S+)</code>", response.content.decode())
        assert verify_key(secret, now=timezone.now()) is not None
        assert roles(acme)[User.objects.get(username="newcomer").pk] == "member"
        assert Client().get(link()).status_code == 404


def test_the_page_takes_the_password_of_an_account(acme: Organization) -> None:
    bob = UserFactory(email="new@example.com")
    bob.set_password(PASSWORD)
    bob.save()
    invite(acme)
    assert "username" not in Client().get(link()).content.decode()
    response = Client().post(link(), {"password": "wrong"})
    assert response.status_code == 422
    assert bob.pk not in roles(acme)
    client = Client()
    assert client.post(link(), {"password": PASSWORD}).status_code == 200
    assert roles(acme)[bob.pk] == "member"
    # It opens no session and gives no key.
    assert "sessionid" not in client.cookies
    assert not ApiKey.objects.filter(user=bob).exists()


def test_the_page_says_what_is_wrong(acme: Organization) -> None:
    UserFactory(username="taken")
    invite(acme)
    for form, told in (
        ({"username": "taken", "password": PASSWORD}, "Somebody has this name"),
        ({"username": "bob", "password": "password"}, "too common"),
        ({"username": "a b", "password": PASSWORD}, "valid username"),
        ({}, "required"),
    ):
        response = Client().post(link(), form)
        assert response.status_code == 422
        assert told in response.content.decode()
    assert Membership.objects.filter(organization=acme).count() == 1
    checked = Client(enforce_csrf_checks=True).post(link(), {})
    assert checked.status_code == 403


# --- mail that gets lost, and the sweep ---------------------------------------------------------


class Unreachable(EmailBackend):
    def send_messages(self, messages: Any) -> int:
        raise ConnectionRefusedError("new@example.com is not welcome")


def test_a_mail_that_cannot_be_sent_is_told_and_tried_again(
    acme: Organization, settings: Any
) -> None:
    good = settings.MAILERS
    settings.MAILERS = {"default": {"BACKEND": f"{__name__}.Unreachable"}}
    assert invite(acme).status_code == 201
    row = Invitation.objects.get(organization=acme)
    assert row.sent_at is None
    event = AuditEvent.objects.get(action="notice.failed")
    assert event.facts == {"invitation": str(row.pk), "notice": "invitation"}
    settings.MAILERS = good
    told = sweep(now=timezone.now(), execute=False)
    assert told.done["chores"]["invitation_mails"] == 1
    assert not mail.outbox
    sweep(now=timezone.now(), execute=True)
    assert len(mail.outbox) == 1
    assert accept(give_key(UserFactory(email="new@example.com")), token()).status_code == 200


def test_a_mail_is_sent_once_however_often_it_is_asked_for(acme: Organization) -> None:
    invite(acme)
    pk = Invitation.objects.get(organization=acme).pk
    assert not send_invitation.call(str(pk))
    assert not post(pk, now=timezone.now())
    assert len(mail.outbox) == 1


def test_the_sweep_removes_what_has_expired(acme: Organization) -> None:
    invite(acme)
    now = timezone.now()
    Invitation.objects.filter(organization=acme).update(expires_at=now)
    other = OrganizationFactory()
    Invitation.objects.create(
        organization=other,
        email="x@example.com",
        token_digest="0" * 64,
        created_at=now,
        expires_at=now + timedelta(days=1),
        sent_at=now,
    )
    assert sweep(now=now, execute=False).done["chores"]["invitations"] == 1
    assert sweep(now=now, execute=True).done["chores"]["invitations"] == 1
    assert not Invitation.objects.filter(organization=acme).exists()
    assert Invitation.objects.filter(organization=other).exists()


def test_the_address_of_invitations_is_a_setting(acme: Organization, settings: Any) -> None:
    settings.INVITATION_URL = "https://app.example.com/join#{token}"
    invite(acme)
    assert "https://app.example.com/join#" in str(mail.outbox[-1].body)
