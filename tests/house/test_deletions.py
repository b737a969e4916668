"""A user leaves with a grace period, with or without a plan that was looked at."""

import hashlib
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from accounts.models import Session
from apikeys.models import ApiKey
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched, read_rows
from tests.contracts.transcript import exact, start_deletion
from tests.factories import (
    MembershipFactory,
    SessionFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import (
    ask,
    deletion_of,
    details,
    refused,
    spell,
    spell_deletion,
)
from tests.house.deleting import delete, follow, hold, moment, plan_of

pytestmark = pytest.mark.django_db


def test_a_user_leaves_and_the_answer_says_when_and_where_to_look() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key = give_key(alice)
        SessionFactory(user=alice)
        response = delete(alice, key)
    row = deletion_of(alice)
    body = response.json()
    token = parse_qs(urlsplit(body["status_url"]).query)["token"][0]
    name = spell_deletion(row.pk)
    expected = {
        "id": name,
        "subject": {"kind": "user", "id": spell(alice)},
        "state": "scheduled",
        "requested_at": moment(row.requested_at),
        "due_at": moment(row.due_at),
        "status_url": f"http://testserver/v1/deletions/{name}?token={token}",
    }
    assert (response.status_code, response.content) == (202, exact(expected))
    assert response["Cache-Control"] == "no-store"
    assert row.due_at - row.requested_at == timedelta(days=14)
    assert (row.state, row.requested_by_id, row.channel) == ("scheduled", alice.pk, "v1-deletion")
    assert row.request_id == response["X-Request-ID"]
    alice.refresh_from_db()
    assert (alice.is_deleted, alice.is_active) == (True, False)
    assert not Session.objects.filter(user=alice).exists()
    assert not ApiKey.objects.filter(user=alice, revoked_at=None).exists()


def test_of_the_token_a_digest_is_kept_and_nothing_else() -> None:
    alice = UserFactory()
    address = delete(alice, give_key(alice)).json()["status_url"]
    token = parse_qs(urlsplit(address).query)["token"][0]
    assert len(token) >= 32
    assert deletion_of(alice).status_digest == hashlib.sha256(token.encode()).hexdigest()
    assert token not in str(read_rows())


def test_an_empty_body_and_an_empty_object_mean_the_same() -> None:
    bodies: list[Any] = [None, {}, {"organizations": {}}]
    for body in bodies:
        alice = UserFactory()
        assert delete(alice, give_key(alice), body).status_code == 202


def test_a_key_is_dead_with_the_account_it_deleted() -> None:
    alice = UserFactory()
    key = give_key(alice)
    delete(alice, key)
    assert refused(delete(alice, key)) == (401, "AUTHENTICATION_REQUIRED")


def test_a_legal_hold_does_not_stop_the_soft_delete() -> None:
    alice = UserFactory()
    hold(alice)
    address = delete(alice, give_key(alice)).json()["status_url"]
    told = follow(address).json()
    assert (told["held"], told["next"]) == (True, {"step": "held", "at": None})


def test_somebody_elses_account_is_refused() -> None:
    with charlie_untouched():
        key, bob = give_key(UserFactory()), UserFactory()
        assert refused(delete(bob, key)) == (403, "INSUFFICIENT_PERMISSIONS")
        operator = UserFactory(is_staff=True, is_superuser=True)
        assert refused(delete(bob, give_key(operator))) == (403, "INSUFFICIENT_PERMISSIONS")
        for name in ("usr_00000000000000000000000000", "x", ""):
            response = ask("POST", f"/v1/user/{name}/deletion", key)
            assert refused(response) == (404, "USER_NOT_FOUND")
        assert not DeletionRequest.objects.filter(subject_id=bob.pk).exists()


def test_a_running_deletion_is_not_joined_by_a_second_one() -> None:
    alice = UserFactory()
    start_deletion("user", alice.pk)
    assert refused(delete(alice, give_key(alice))) == (409, "DELETION_IN_PROGRESS")
    alice.refresh_from_db()
    assert not alice.is_deleted


def test_the_plan_that_was_looked_at_is_written_down() -> None:
    alice = UserFactory()
    MembershipFactory(user=alice)
    key = give_key(alice)
    plan = plan_of(alice, key)
    assert delete(alice, key, {"plan_id": plan}).status_code == 202
    row = deletion_of(alice)
    assert row.plan_id == plan
    assert row.planned["removed"]["organizations.Membership"] == 1


def test_a_plan_that_drifted_is_refused_with_the_drift() -> None:
    alice = UserFactory()
    key = give_key(alice)
    plan = plan_of(alice, key)
    MembershipFactory(user=alice)
    response = delete(alice, key, {"plan_id": plan})
    assert refused(response) == (409, "PLAN_DRIFTED")
    assert details(response)["drift"]
    assert all(isinstance(line, str) for line in details(response)["drift"])
    alice.refresh_from_db()
    assert not alice.is_deleted
    assert ask("GET", f"/v1/user/{spell(alice)}", key).status_code == 200
