"""Who sees how far a deletion is: by the status link, or by right."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.utils import timezone

from apikeys import scopes
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched
from tests.factories import (
    ManagedUserFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import (
    ask,
    deletion_of,
    owned_by,
    refused,
    spell,
    spell_deletion,
)
from tests.house.deleting import assert_exactly, close, delete, erase, follow, moment, query

pytestmark = pytest.mark.django_db


def test_the_status_link_works_when_the_account_is_gone() -> None:
    with charlie_untouched():
        alice = UserFactory()
        address = delete(alice, give_key(alice)).json()["status_url"]
        before = follow(address).json()
        erase(alice)
        response = follow(address)
    row = deletion_of(alice)
    expected = {
        "id": spell_deletion(row.pk),
        "subject": {"kind": "user", "id": spell(alice)},
        "state": "completed",
        "generation": 1,
        "requested_at": moment(row.requested_at),
        "due_at": moment(row.due_at),
        "finished_at": moment(row.finished_at),
        "attempts": row.attempts,
        "last_error": None,
        "held": False,
        "counts": row.counts,
        "next": {"step": "nothing", "at": None},
        "has_receipt": True,
        "progress": None,
    }
    assert_exactly(response, expected)
    assert before["state"] == "scheduled"
    assert before["next"] == {"step": "erase", "at": moment(row.due_at)}
    assert before["has_receipt"] is False
    assert row.counts["accounts.User"] == 1
    assert response["Cache-Control"] == "no-store"
    assert response["Referrer-Policy"] in ("same-origin", "no-referrer")


def test_the_token_may_come_in_a_header() -> None:
    alice = UserFactory()
    address = delete(alice, give_key(alice)).json()["status_url"]
    token = parse_qs(urlsplit(address).query)["token"][0]
    response = follow(urlsplit(address).path, **{"X-Status-Token": token})
    assert response.status_code == 200


@pytest.mark.parametrize("token", ["x", "é", "\x00", "a" * 5000])
def test_a_wrong_token_opens_nothing(token: str) -> None:
    alice, bob = UserFactory(), UserFactory()
    mine = delete(alice, give_key(alice)).json()["status_url"]
    theirs = delete(bob, give_key(bob)).json()["status_url"]
    path = urlsplit(mine).path
    right = parse_qs(urlsplit(mine).query)["token"][0]
    others = parse_qs(urlsplit(theirs).query)["token"][0]
    for wrong in (token, others, right[:-1], right + "A", right.swapcase()):
        response = ask("GET", f"{path}?{query(wrong)}")
        assert refused(response) == (404, "DELETION_NOT_FOUND")


def test_a_wrong_token_opens_nothing_although_the_key_would() -> None:
    organization = owned_by(alice := UserFactory())
    key = give_key(alice)
    path = urlsplit(close(organization, key).json()["status_url"]).path
    assert ask("GET", path, key).status_code == 200
    assert refused(ask("GET", f"{path}?token=x", key)) == (404, "DELETION_NOT_FOUND")


def test_without_a_token_and_a_key_it_is_401() -> None:
    alice = UserFactory()
    path = urlsplit(delete(alice, give_key(alice)).json()["status_url"]).path
    assert refused(ask("GET", path)) == (401, "AUTHENTICATION_REQUIRED")
    assert refused(ask("GET", f"{path}?token=")) == (401, "AUTHENTICATION_REQUIRED")


def test_the_requester_and_the_managing_platform_and_staff_may_look() -> None:
    organization = OrganizationFactory()
    managed = ManagedUserFactory(organization=organization).user
    row = DeletionRequest.objects.create(
        subject_kind="user",
        subject_id=managed.pk,
        organization_id=organization.pk,
        channel="test",
        requested_by_kind="user",
        requested_by_id=(requester := UserFactory()).pk,
        requested_at=timezone.now(),
        due_at=timezone.now() + timedelta(days=1),
    )
    path = f"/v1/deletions/{spell_deletion(row.pk)}"
    operator = UserFactory(is_staff=True, is_superuser=True)
    for key in (give_key(requester), give_key(organization), give_key(operator)):
        assert ask("GET", path, key).status_code == 200
    unprivileged = UserFactory(is_staff=True)
    nosy = [
        give_key(UserFactory()),
        give_key(OrganizationFactory()),
        give_key(unprivileged, scopes.ACCOUNT_READ),
        # Staff's personal key does not speak for the house.
        give_key(operator, *scopes.PERSONAL),
    ]
    for key in nosy:
        assert refused(ask("GET", path, key)) == (404, "DELETION_NOT_FOUND")
    narrow = give_key(requester, scopes.KEYS_MANAGE)
    assert refused(ask("GET", path, narrow)) == (403, "INSUFFICIENT_PERMISSIONS")


@pytest.mark.parametrize("name", ["del_00000000000000000000000000", "del_x", "x", "", "%00"])
def test_an_unknown_deletion_is_404(name: str) -> None:
    key = give_key(UserFactory())
    assert refused(ask("GET", f"/v1/deletions/{name}", key)) == (404, "DELETION_NOT_FOUND")
    assert refused(ask("GET", f"/v1/deletions/{name}?token=x")) == (404, "DELETION_NOT_FOUND")


def test_a_failed_attempt_is_visible() -> None:
    alice = UserFactory()
    address = delete(alice, give_key(alice)).json()["status_url"]
    at = timezone.now() + timedelta(minutes=15)
    DeletionRequest.objects.filter(subject_id=alice.pk).update(
        state="failed", attempts=2, last_error="IntegrityError in execute", retry_at=at
    )
    told = follow(address).json()
    assert (told["state"], told["attempts"]) == ("failed", 2)
    assert told["last_error"] == "IntegrityError in execute"
    assert told["next"] == {"step": "retry", "at": moment(at)}


def test_requests_by_link_are_throttled(settings: Any) -> None:
    settings.THROTTLE_CREDENTIAL = "3/min"
    for _ in range(3):
        assert ask("GET", "/v1/deletions/del_x?token=x").status_code == 404
    response = ask("GET", "/v1/deletions/del_x?token=x")
    assert refused(response) == (429, "RATE_LIMITED")
    assert int(response["Retry-After"]) > 0


def test_an_answer_with_a_secret_is_not_kept_for_an_idempotency_key() -> None:
    alice = UserFactory()
    headers = {"Idempotency-Key": "once"}
    path = f"/v1/user/{spell(alice)}/deletion"
    key = give_key(alice)
    assert ask("POST", path, key, None, headers).status_code == 202
    assert refused(ask("POST", path, key, None, headers))[0] == 401
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM contracts_idempotentanswer")
        assert cursor.fetchone() == (0,)
