from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.models import Session, User, UserGroup
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent, EventDetail
from contracts import ids
from erasure.executor import erase_now
from tests.admin.desk import delete_softly, said, sign_in, sign_in_superuser, text_of
from tests.bystanders import charlie_untouched
from tests.factories import MembershipFactory, SessionFactory, UserFactory

pytestmark = pytest.mark.django_db

URL = "/admin/accounts/user/"
VIEW, CHANGE, ADD = "accounts.view_user", "accounts.change_user", "accounts.add_user"


def run(client: Client, action: str, *users: User, **more: str) -> Any:
    chosen = [str(user.pk) for user in users]
    data = {"action": action, "index": "0", "_selected_action": chosen, **more}
    return client.post(URL, data, follow=True)


def fill(user: User, **fields: str) -> dict[str, str]:
    kept = {"username": user.username, "email": user.email, "name": user.name}
    return {**kept, "groups-TOTAL_FORMS": "0", "groups-INITIAL_FORMS": "0", **fields}


def test_the_list_finds_by_name_address_and_account_id(client: Client) -> None:
    sign_in(client, VIEW)
    alice = UserFactory(username="alice", email="a@example.com", name="Alice Archer")
    UserFactory(username="bob")
    for term in ("alice", "a@example.com", "Archer", ids.encode(ids.USER, alice.pk), str(alice.pk)):
        page = text_of(client.get(URL, {"q": term}))
        assert "1 result" in page
        assert "Alice Archer" in page


def test_the_page_shows_the_account_id_and_never_the_plain_one(client: Client) -> None:
    sign_in(client, VIEW)
    alice = UserFactory()
    page = text_of(client.get(f"{URL}{alice.pk}/change/"))
    assert ids.encode(ids.USER, alice.pk) in page
    assert f"user {alice.pk}" not in page


def test_deactivating_locks_out_and_signs_out(client: Client) -> None:
    staff = sign_in(client, CHANGE)
    with charlie_untouched():
        alice = UserFactory()
        SessionFactory(user=alice)
        answer = run(client, "deactivate", alice)
    name = ids.encode(ids.USER, alice.pk)
    assert said(answer) == [f"User {name}: is locked out and signed out everywhere."]
    alice.refresh_from_db()
    assert not alice.is_active
    assert not Session.objects.filter(user=alice).exists()
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert (event.action, event.actor_id, event.channel) == ("user.deactivated", staff.pk, "admin")
    run(client, "activate", alice)
    alice.refresh_from_db()
    assert alice.is_active


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_the_reason_is_kept_beside_the_event_until_the_person_goes(
    client: Client, action: str
) -> None:
    staff = sign_in(client, CHANGE)
    with charlie_untouched():
        alice = UserFactory(is_active=action == "deactivate")
        run(client, action, alice, reason=" Alice rang us up. ")
        event = AuditEvent.objects.get(subject_id=alice.pk)
        [detail] = EventDetail.objects.filter(event_id=event.pk)
        assert (detail.field, detail.value) == ("reason", "Alice rang us up.")
        assert (detail.person_id, detail.subject_id) == (staff.pk, alice.pk)
        assert "Alice" not in str(event.facts)
        erase_now(
            actor=Actor.system("test"), subject=Reference("user", alice.pk), now=timezone.now()
        )
    assert not EventDetail.objects.filter(event_id=event.pk).exists()


def test_a_reason_that_is_too_long_changes_nothing(client: Client) -> None:
    sign_in(client, CHANGE)
    alice = UserFactory()
    run(client, "deactivate", alice, reason="x" * 501)
    alice.refresh_from_db()
    assert alice.is_active


def test_each_guard_speaks_for_its_own_user(client: Client) -> None:
    staff = sign_in(client, CHANGE)
    owner = MembershipFactory(role="owner", organization__name="Acme").user
    alice, gone, chief = UserFactory(), delete_softly(), UserFactory(is_superuser=True)
    messages = said(run(client, "deactivate", owner, staff, alice, gone, chief))
    by_user = {message.split()[1].rstrip(":"): message for message in messages}
    expected = {
        owner: "it would leave without an owner: Acme",
        staff: "this is your own account",
        alice: "locked out",
        gone: "there is no such user any more",
        chief: "only a superuser may do this",
    }
    assert len(messages) == len(expected)
    for user, words in expected.items():
        assert words in by_user[ids.encode(ids.USER, user.pk)]
    assert User.live.filter(pk__in=[owner.pk, staff.pk, chief.pk]).count() == 3


@pytest.mark.parametrize("action", ["activate", "deactivate"])
def test_looking_does_not_let_one_lock_anybody_out(client: Client, action: str) -> None:
    sign_in(client, VIEW)
    alice = UserFactory(is_active=action == "deactivate")
    was = alice.is_active
    run(client, action, alice)
    alice.refresh_from_db()
    assert alice.is_active is was


def test_there_is_no_hard_delete(client: Client) -> None:
    sign_in_superuser(client)
    alice = UserFactory()
    assert client.post(f"{URL}{alice.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in text_of(client.get(URL))
    run(client, "delete_selected", alice)
    assert User.objects.filter(pk=alice.pk).exists()


def test_state_is_read_only_and_rights_are_for_superusers(client: Client) -> None:
    sign_in(client, CHANGE)
    alice = UserFactory()
    wanted = {"is_active": "", "is_deleted": "on", "is_staff": "on", "is_superuser": "on"}
    client.post(f"{URL}{alice.pk}/change/", fill(alice, name="New", **wanted))
    alice.refresh_from_db()
    assert (alice.name, alice.is_active, alice.is_deleted) == ("New", True, False)
    assert (alice.is_staff, alice.is_superuser) == (False, False)
    sign_in_superuser(client)
    client.post(f"{URL}{alice.pk}/change/", fill(alice, is_staff="on", is_deleted="on"))
    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_deleted) == (True, False)


def test_only_a_superuser_changes_a_superuser(client: Client) -> None:
    sign_in(client, CHANGE)
    chief = UserFactory(is_superuser=True)
    assert client.post(f"{URL}{chief.pk}/change/", fill(chief, name="x")).status_code == 403
    assert client.get(f"{URL}{chief.pk}/password/").status_code == 403


def test_the_history_holds_no_names(client: Client) -> None:
    sign_in(client, CHANGE)
    alice = UserFactory(username="alice", name="Alice")
    answer = client.post(f"{URL}{alice.pk}/change/", fill(alice, name="Alicia"), follow=True)
    entry = LogEntry.objects.get(object_id=str(alice.pk))
    assert entry.object_repr == ids.encode(ids.USER, alice.pk)
    assert "Alic" not in entry.change_message
    assert str(alice.pk) not in said(answer)[0].replace(f"{URL}{alice.pk}/change/", "")
    assert ids.encode(ids.USER, alice.pk) in said(answer)[0]
    assert "Changed Name." in text_of(client.get(f"{URL}{alice.pk}/history/"))


def test_a_new_user_can_take_the_name_of_a_deleted_one(client: Client) -> None:
    staff = sign_in(client, ADD, CHANGE)
    delete_softly(username="alice", email="alice@example.com")
    word = "correct horse battery"
    data = {
        "username": "alice",
        "email": "alice@example.com",
        "name": "Alice",
        "usable_password": "true",
        "password1": word,
        "password2": word,
    }
    assert client.post(f"{URL}add/", data).status_code == 302
    alice = User.live.get(username="alice")
    assert alice.check_password(word)
    events = AuditEvent.objects.filter(subject_id=alice.pk).order_by("id")
    assert [(it.action, it.actor_id) for it in events] == [
        ("user.created", staff.pk),
        ("admin.added", staff.pk),
    ]
    again = text_of(client.post(f"{URL}add/", {**data, "email": "ALICE@example.com"}))
    assert "A user with this username exists." in again
    assert "A user with this e-mail address exists." in again


def test_groups_are_given_through_the_inline(client: Client) -> None:
    sign_in_superuser(client)
    alice, group = UserFactory(), Group.objects.create(name="support")
    data = fill(alice, **{"groups-TOTAL_FORMS": "1", "groups-0-group": str(group.pk)})
    client.post(f"{URL}{alice.pk}/change/", data)
    assert UserGroup.objects.get(user=alice).group == group
