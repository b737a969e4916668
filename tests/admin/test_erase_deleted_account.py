from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services, steps
from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure.executor import erase_soon
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from tests.admin.desk import delete_softly, said, sign_in, text_of
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import SessionFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/deleteduser/"
URL = f"{LIST}erase/"
VIEW, ERASE = "accounts.view_deleteduser", "accounts.erase_user"


def confirmed(*users: User, **fields: Any) -> dict[str, Any]:
    return {
        "id": [str(user.pk) for user in users],
        "reference": "CASE-7",
        "understood": "on",
        **fields,
    }


def stored() -> dict[str, Any]:
    rows: dict[str, Any] = read_rows()
    # Signing in and asking write to the session, and to nothing else.
    del rows["accounts.Session"]
    return rows


def test_the_list_action_asks_first_and_changes_nothing(client: Client) -> None:
    sign_in(client, VIEW, ERASE)
    alice = delete_softly()
    give_key(alice)
    before = stored()
    data = {"action": "erase", "index": "0", "_selected_action": str(alice.pk)}
    page = text_of(client.post(LIST, data))
    assert "Erase accounts now" in page
    assert "2 rows would be removed for ever" in page
    assert ids.encode(ids.USER, alice.pk) in page
    assert stored() == before


def test_the_button_on_the_account_leads_to_the_same_page(client: Client) -> None:
    sign_in(client, VIEW, ERASE)
    alice = delete_softly()
    before = stored()
    url = f"{URL}?id={alice.pk}"
    assert url in text_of(client.get(f"{LIST}{alice.pk}/change/"))
    assert "1 row would be removed for ever" in text_of(client.get(url))
    assert stored() == before


def test_confirming_erases_the_account_and_nothing_of_anybody_else(client: Client) -> None:
    staff = sign_in(client, VIEW, ERASE)
    with charlie_untouched():
        alice = UserFactory(username="alice")
        give_key(alice)
        SessionFactory(user=alice)
        delete_softly(alice)
        answer = client.post(URL, confirmed(alice), follow=True)
    assert said(answer) == [
        f"Deleted account {ids.encode(ids.USER, alice.pk)}: erased for ever: 1 user, 1 API key."
    ]
    assert not User.objects.filter(pk=alice.pk).exists()
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert request.state == "completed"
    event = AuditEvent.objects.get(subject_id=alice.pk, action="user.erased")
    assert (event.actor_kind, event.actor_id, event.channel) == ("user", staff.pk, "admin")
    assert event.facts["reference"] == "CASE-7"
    assert event.request_id.startswith("req_")


@pytest.mark.parametrize(
    "missing",
    [
        {"reference": ""},
        {"understood": ""},
        {"reference": "has spaces"},
        {"reference": "alice@example.com"},
        {"reference": "x" * 41},
    ],
)
def test_without_case_or_considered_yes_nothing_happens(
    client: Client, missing: dict[str, str]
) -> None:
    sign_in(client, VIEW, ERASE)
    alice = delete_softly()
    before = stored()
    page = client.post(URL, confirmed(alice, **missing))
    assert page.status_code == 200
    assert "Please correct" in text_of(page)
    assert stored() == before


@pytest.mark.parametrize("held", [(), (VIEW,), (ERASE,), (VIEW, "accounts.restore_user")])
def test_it_takes_both_permissions_on_every_way(client: Client, held: tuple[str, ...]) -> None:
    sign_in(client, *held)
    alice = delete_softly()
    before = stored()
    assert client.get(f"{URL}?id={alice.pk}").status_code == 403
    assert client.post(URL, confirmed(alice)).status_code == 403
    data = {"action": "erase", "index": "0", "_selected_action": str(alice.pk)}
    answer = client.post(LIST, data)
    assert "Erase accounts now" not in text_of(answer)
    assert stored() == before


def test_the_button_is_hidden_from_those_who_may_not(client: Client) -> None:
    sign_in(client, VIEW)
    alice = delete_softly()
    page = text_of(client.get(f"{LIST}{alice.pk}/change/"))
    assert "Erase now" not in page
    assert "Restore" not in page
    assert 'name="action"' not in text_of(client.get(LIST))


def test_a_visitor_is_sent_to_the_sign_in(client: Client) -> None:
    alice = delete_softly()
    answer = client.post(URL, confirmed(alice))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/admin/login/")
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_held_account_stays_and_the_others_go(client: Client) -> None:
    sign_in(client, VIEW, ERASE)
    held, running, alice = delete_softly(), delete_softly(), delete_softly()
    now = timezone.now()
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", held.pk),
        reason="case 1",
        review_at=None,
        now=now,
    )
    DeletionRequest.objects.filter(subject_id=running.pk).update(
        state="running", lease_until=now + timedelta(minutes=5)
    )
    assert "A legal hold stands" in text_of(client.get(f"{URL}?id={held.pk}"))
    messages = said(client.post(URL, confirmed(held, running, alice), follow=True))
    assert len(messages) == 3
    by_user = {message.split()[2].rstrip(":"): message for message in messages}
    assert "a legal hold forbids it" in by_user[ids.encode(ids.USER, held.pk)]
    assert "another deletion of it is running" in by_user[ids.encode(ids.USER, running.pk)]
    assert "erased for ever" in by_user[ids.encode(ids.USER, alice.pk)]
    assert set(User.objects.filter(is_deleted=True)) == {held, running}


def test_a_defect_in_one_account_does_not_stop_the_others(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_in(client, VIEW, ERASE)
    broken, alice = delete_softly(), delete_softly()

    def erase(*, subject: Reference, **given: Any) -> Any:
        if subject.id == broken.pk:
            raise RuntimeError("quotes alice@example.com")
        return erase_soon(subject=subject, **given)

    monkeypatch.setattr(steps, "erase_soon", erase)
    messages = said(client.post(URL, confirmed(broken, alice), follow=True))
    assert any("something went wrong" in message for message in messages)
    assert any("erased for ever" in message for message in messages)
    assert not any("alice@example.com" in message for message in messages)
    assert list(User.objects.filter(is_deleted=True)) == [broken]


def test_an_account_restored_meanwhile_is_left_alone(client: Client) -> None:
    sign_in(client, VIEW, ERASE)
    alice = delete_softly()
    services.restore_user(actor=Actor.system("test"), user_id=alice.pk, now=timezone.now())
    messages = said(client.post(URL, confirmed(alice), follow=True))
    assert messages == ["Some of the rows are not on this list any more. Nothing was done to them."]
    assert User.live.filter(pk=alice.pk).exists()


@pytest.mark.parametrize("wanted", [[], ["nonsense"], ["0190a5e0-0000-7000-8000-000000000000"]])
def test_a_confirmation_page_for_nobody_leads_back(client: Client, wanted: list[str]) -> None:
    sign_in(client, VIEW, ERASE)
    answer = client.get(URL, {"id": wanted}, follow=True)
    assert answer.redirect_chain == [(LIST, 302)]
    assert "Nothing was done" in said(answer)[0]
