import logging
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from apikeys.models import ApiKey
from apikeys.verification import verify_key
from audit.models import AuditEvent
from contracts import ids
from tests.admin.desk import delete_softly, said, sign_in, text_of
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import OrganizationFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db

URL = "/admin/apikeys/apikey/"
VIEW, ADD, CHANGE = "apikeys.view_apikey", "apikeys.add_apikey", "apikeys.change_apikey"
SECRET = re.compile(r"sk-[0-9A-Za-z]{36}")


def fill(**fields: object) -> dict[str, object]:
    return {"name": "export", "scopes": ["account:read"], **fields}


def test_the_secret_is_shown_once_and_kept_nowhere(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    staff = sign_in(client, ADD, VIEW)
    alice = UserFactory()
    with caplog.at_level(logging.DEBUG), charlie_untouched():
        answer = client.post(f"{URL}add/", fill(user=str(alice.pk)))
    (secret,) = SECRET.findall(text_of(answer))
    key = ApiKey.objects.get(user=alice)
    verified = verify_key(secret, now=timezone.now())
    assert verified is not None
    assert verified.id == key.pk
    assert key.created_by_id == staff.pk
    assert "no-store" in answer.headers["Cache-Control"]
    assert secret not in str(read_rows())
    assert secret not in caplog.text
    assert not any(secret in morsel.value for morsel in client.cookies.values())
    entry = LogEntry.objects.get()
    assert secret not in f"{entry.object_repr}{entry.change_message}"
    assert entry.object_repr == key.hint
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert (event.action, event.channel) == ("api_key.created", "admin")
    for url in (URL, f"{URL}{key.pk}/change/", f"{URL}{key.pk}/history/", f"{URL}add/"):
        page = text_of(client.get(url))
        assert secret not in page
        assert key.digest not in page


def test_an_organization_gets_a_platform_key(client: Client) -> None:
    sign_in(client, ADD)
    acme = OrganizationFactory()
    data = fill(organization=str(acme.pk), scopes=["users:delete"], expires_at_0="2999-01-01")
    assert SECRET.search(text_of(client.post(f"{URL}add/", {**data, "expires_at_1": "12:00:00"})))
    key = ApiKey.objects.get(organization=acme)
    assert key.scopes == ["users:delete"]
    assert key.expires_at is not None
    assert key.expires_at.year == 2999


def test_what_cannot_be_issued_is_explained(client: Client) -> None:
    sign_in(client, ADD)
    alice, acme = UserFactory(), OrganizationFactory()
    user, organization = str(alice.pk), str(acme.pk)
    past = {"expires_at_0": "2001-01-01", "expires_at_1": "00:00:00"}
    cases = {
        "Choose a user or an organization": fill(),
        "and not both": fill(user=user, organization=organization),
        "cannot hold users:erase": fill(user=user, scopes=["users:erase"]),
        "cannot hold account:read": fill(organization=organization),
        "the expiry lies in the past": fill(user=user, **past),
        "This field is required": fill(user=user, scopes=[]),
        "Select a valid choice": fill(user=str(delete_softly().pk)),
    }
    for words, data in cases.items():
        page = text_of(client.post(f"{URL}add/", data))
        assert words in page
        assert not SECRET.search(page)
    assert not ApiKey.objects.exists()
    assert not LogEntry.objects.exists()


def test_revoking_ends_the_chosen_keys_only(client: Client) -> None:
    sign_in(client, VIEW, CHANGE)
    with charlie_untouched():
        alice = UserFactory()
        secret, other = give_key(alice), give_key(alice)
        key = ApiKey.objects.get(hint__endswith=secret[-4:], user=alice)
        data = {"action": "revoke", "index": "0", "_selected_action": str(key.pk)}
        messages = said(client.post(URL, data, follow=True))
    assert messages == [f"API key {key.hint}: revoked."]
    now = timezone.now()
    assert verify_key(secret, now=now) is None
    assert verify_key(other, now=now) is not None
    assert AuditEvent.objects.get(subject_id=alice.pk).action == "api_key.revoked"


def test_each_right_needs_its_own_permission(client: Client) -> None:
    secret = give_key(UserFactory())
    key = ApiKey.objects.get()
    data = {"action": "revoke", "index": "0", "_selected_action": str(key.pk)}
    sign_in(client, VIEW)
    assert client.get(f"{URL}add/").status_code == 403
    assert client.post(f"{URL}add/", fill(user=str(key.user_id))).status_code == 403
    client.post(URL, data)
    sign_in(client, ADD)
    assert client.get(URL).status_code == 403
    assert client.post(URL, data).status_code == 403
    sign_in(client)
    assert client.post(URL, data).status_code == 403
    assert verify_key(secret, now=timezone.now()) is not None
    assert ApiKey.objects.count() == 1


def test_a_key_is_neither_changed_nor_deleted(client: Client) -> None:
    sign_in(client, VIEW, CHANGE, "apikeys.delete_apikey")
    give_key(UserFactory())
    key = ApiKey.objects.get()
    assert client.post(f"{URL}{key.pk}/change/", {"name": "new"}).status_code == 403
    assert client.post(f"{URL}{key.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in text_of(client.get(URL))


def test_keys_are_found_by_owner_and_state(client: Client) -> None:
    sign_in(client, VIEW)
    alice, now = UserFactory(username="alice"), timezone.now()
    day = timedelta(days=1)
    give_key(alice, revoked_at=now)
    give_key(alice, expires_at=now - day)
    give_key(alice, expires_at=now + day)
    give_key(OrganizationFactory(name="Acme"))
    for term in ("alice", ids.encode(ids.USER, alice.pk)):
        assert "3 results" in text_of(client.get(URL, {"q": term}))
    for state, number in {"holds": 2, "expired": 1, "revoked": 1}.items():
        page = client.get(URL, {"state": state})
        assert page.context["cl"].result_count == number
