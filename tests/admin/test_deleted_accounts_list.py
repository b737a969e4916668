from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from contracts import ids
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from tests.admin.desk import days_ago, delete_softly, sign_in, sign_in_superuser, text_of
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

URL = "/admin/accounts/deleteduser/"


def request_of(user: User) -> DeletionRequest:
    return DeletionRequest.objects.get(subject_id=user.pk)


def test_the_list_says_who_when_through_what_and_what_comes_next(client: Client) -> None:
    sign_in(client, "accounts.view_deleteduser")
    alice = delete_softly(at=days_ago(1))
    UserFactory(username="bystander")
    page = text_of(client.get(URL))
    assert ids.encode(ids.USER, alice.pk) in page
    assert str(alice.pk) not in page.replace(f"{URL}{alice.pk}/", "")
    assert "the user" in page
    assert "in 13 days" in page
    assert '<td class="field-through">test</td>' in page
    assert "bystander" not in page


def test_each_state_has_words_of_its_own(client: Client) -> None:
    sign_in(client, "accounts.view_deleteduser")
    held, failed, running, stalled = (delete_softly() for _ in range(4))
    delete_softly(at=days_ago(20))
    now = timezone.now()
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", held.pk),
        reason="case 1",
        review_at=None,
        now=now,
    )
    requests = DeletionRequest.objects
    requests.filter(subject_id=failed.pk).update(
        state="failed", last_error="KeyError in execute", retry_at=now
    )
    lease = {"state": "running", "lease_until": now + timedelta(minutes=5)}
    requests.filter(subject_id=running.pk).update(**lease)
    requests.filter(subject_id=stalled.pk).update(state="running", lease_until=days_ago(1))
    page = text_of(client.get(URL))
    assert "on legal hold" in page
    assert "failed: KeyError in execute, next try at" in page
    assert "being erased now" in page
    assert "waits for a worker" in page
    assert "due: erased by the next purge" in page


@pytest.mark.parametrize("state", ["grace", "due", "overdue", "held", "running", "failed"])
def test_the_filter_shows_one_state(client: Client, state: str) -> None:
    sign_in(client, "accounts.view_deleteduser")
    users = {name: delete_softly(username=f"is-{name}") for name in ("grace", "held")}
    users["due"] = delete_softly(username="is-due", at=days_ago(14))
    users["overdue"] = delete_softly(username="is-overdue", at=days_ago(20))
    lease = timezone.now() + timedelta(minutes=5)
    for name in ("running", "failed"):
        users[name] = delete_softly(username=f"is-{name}")
        changes = {"state": name, "lease_until": lease if name == "running" else None}
        DeletionRequest.objects.filter(subject_id=users[name].pk).update(**changes)
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", users["held"].pk),
        reason="case 1",
        review_at=None,
        now=timezone.now(),
    )
    page = text_of(client.get(URL, {"next": state}))
    assert {name for name in users if f">is-{name}<" in page} == {state}


def test_an_account_is_found_by_its_id(client: Client) -> None:
    sign_in(client, "accounts.view_deleteduser")
    alice, bob = delete_softly(username="alice"), delete_softly(username="bob")
    page = text_of(client.get(URL, {"q": ids.encode(ids.USER, alice.pk)}))
    assert alice.username in page
    assert bob.username not in page


def test_thirty_accounts_cost_as_many_queries_as_three(client: Client) -> None:
    sign_in_superuser(client)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(URL).status_code == 200
        return len(queries)

    for _ in range(3):
        delete_softly()
    count()
    few = count()
    for _ in range(27):
        delete_softly()
    assert count() == few


def test_an_empty_list_is_a_page(client: Client) -> None:
    sign_in(client, "accounts.view_deleteduser")
    assert "0 deleted accounts" in text_of(client.get(URL))


def test_the_page_of_an_account_tells_its_story_in_order(client: Client) -> None:
    sign_in(client, "accounts.view_deleteduser")
    alice = delete_softly(at=days_ago(1))
    page = text_of(client.get(f"{URL}{alice.pk}/change/"))
    assert "in 13 days" in page
    assert "user.deleted" in page
    assert 'name="_save"' not in page


@pytest.mark.parametrize("permissions", [(), ("accounts.view_user",), ("accounts.erase_user",)])
def test_without_its_permission_the_list_is_closed(
    client: Client, permissions: tuple[str, ...]
) -> None:
    sign_in(client, *permissions)
    alice = delete_softly()
    assert client.get(URL).status_code == 403
    assert client.get(f"{URL}{alice.pk}/change/").status_code == 403


def test_nobody_adds_changes_or_deletes_here(client: Client) -> None:
    sign_in_superuser(client)
    alice = delete_softly()
    assert client.get(f"{URL}add/").status_code == 403
    assert client.post(f"{URL}{alice.pk}/change/", {"username": "new"}).status_code == 403
    assert client.post(f"{URL}{alice.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=alice.pk, username=alice.username).exists()
