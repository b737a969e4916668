"""Failed authentications from one address are slowed; what holds is not."""

import pytest
from pytest_django import Settings

from contracts import ids
from tests.contracts.transcript import Call
from tests.factories import UserFactory, give_key

pytestmark = pytest.mark.django_db


def delete(key: str | None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    status: int = Call("DELETE", "/account", headers, b"{}").send().status_code
    return status


def test_the_sixty_first_failure_in_a_minute_waits() -> None:
    assert [delete(f"typo-{n}") for n in range(60)] == [401] * 60
    response = Call("DELETE", "/account", {"x-api-key": "typo"}).send()
    assert response.status_code == 429
    assert response.json()["error"] == "rate_limited"
    assert 1 <= int(response["Retry-After"]) <= 60


def test_requests_without_a_credential_count() -> None:
    assert [delete(None) for _ in range(61)] == [401] * 60 + [429]


def test_a_credential_that_holds_is_not_slowed_by_the_failures_of_others() -> None:
    for _ in range(70):
        delete(None)
    assert delete(give_key(UserFactory())) == 400


def test_unknown_keys_count_each() -> None:
    user = UserFactory()
    dead = [give_key(user, revoked_at=user.date_joined) for _ in range(61)]
    assert [delete(key) for key in dead] == [401] * 60 + [429]


def test_one_dead_key_in_a_loop_learns_that_it_is_dead(settings: Settings) -> None:
    settings.THROTTLE_CREDENTIAL = "90/min"
    alice = UserFactory()
    dead = give_key(alice, revoked_at=alice.date_joined)
    assert [delete(dead) for _ in range(91)] == [401] * 90 + [429]


def test_a_credential_gets_so_many_requests_a_minute(settings: Settings) -> None:
    assert settings.THROTTLE_CREDENTIAL == "600/min"
    settings.THROTTLE_CREDENTIAL = "30/min"
    alice = UserFactory()
    call = Call(
        "GET",
        f"/v1/user/{ids.encode(ids.USER, alice.pk)}",
        {"Authorization": f"Bearer {give_key(alice)}"},
    )
    answers = [call.send().status_code for _ in range(31)]
    assert answers == [200] * 30 + [429]
