"""Idempotency-Key on every contract."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from apikeys.models import ApiKey
from contracts import idempotency, ids
from contracts.errors import IdempotentRequestRunning
from contracts.models import IdempotentAnswer
from tests.bystanders import charlie_untouched
from tests.contracts.transcript import Call, rename_audit_table
from tests.factories import ManagedUserFactory, MembershipFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db

CONFIRMED = b'{"confirm": true}'


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def account() -> Call:
    return Call("DELETE", "/account", bearer(give_key(UserFactory())), CONFIRMED)


def v1_user() -> Call:
    alice = UserFactory()
    return Call("DELETE", f"/v1/user/{ids.encode(ids.USER, alice.pk)}", bearer(give_key(alice)))


def users() -> Call:
    managed = ManagedUserFactory()
    headers = {**bearer(give_key(managed.organization)), "x-api-version": "2025-09"}
    return Call("DELETE", f"/users/{managed.user.username}", headers)


def logs() -> Call:
    call = users()
    call.path += "/logs"
    return call


def organizations() -> Call:
    owner = MembershipFactory(role="owner")
    return Call("DELETE", f"/organizations/{owner.organization_id}", bearer(give_key(owner.user)))


def user() -> Call:
    staff = UserFactory(is_staff=True, is_superuser=True)
    return Call(
        "DELETE", f"/user/{ids.encode(ids.USER, UserFactory().pk)}", bearer(give_key(staff))
    )


every_contract = pytest.mark.parametrize(
    "make", [account, v1_user, users, logs, organizations, user], ids=lambda make: make.__name__
)


@every_contract
def test_the_same_request_gets_the_first_answer_byte_for_byte(make: Callable[[], Call]) -> None:
    with charlie_untouched():
        call = make()
        first = call.send(Idempotency_Key="once")
        again = call.send(Idempotency_Key="once")
    assert first.status_code in (200, 204)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    for name in ("X-Request-ID", "Content-Type"):
        assert again.headers.get(name) == first.headers.get(name)


@every_contract
def test_a_refusal_is_repeated_too(make: Callable[[], Call]) -> None:
    call = make()
    if call.path.endswith("/logs"):
        pytest.skip("a repeat of this one succeeds")
    call.send()
    refused = call.send(Idempotency_Key="late")
    again = call.send(Idempotency_Key="late")
    assert refused.status_code in (401, 404)
    if refused.status_code == 404:
        assert again.content == refused.content
        assert again["X-Request-ID"] == refused["X-Request-ID"]


@every_contract
def test_the_same_key_for_another_request_is_refused(make: Callable[[], Call]) -> None:
    call = make()
    call.send(Idempotency_Key="once")
    call.path, call.body = call.path.replace("/logs", ""), CONFIRMED + b" "
    if call.path != "/account":
        call.path += "x"
    assert call.send(Idempotency_Key="once").status_code == 422


@every_contract
def test_a_request_that_still_runs_is_a_conflict(make: Callable[[], Call]) -> None:
    call = make()
    call.send(Idempotency_Key="slow")
    soon = timezone.now() + timedelta(seconds=30)
    IdempotentAnswer.objects.update(status=None, running_until=soon, body=b"")
    key = call.headers["Authorization"].removeprefix("Bearer ")
    ApiKey.objects.filter(hint__endswith=key[-4:]).update(revoked_at=None)
    User.objects.filter(is_deleted=True).update(is_deleted=False, is_active=True)
    response = call.send(Idempotency_Key="slow")
    # A credential that died with the account cannot start anything, and the answer is not there.
    assert response.status_code == (401 if make is account else 409)


@every_contract
def test_a_key_that_is_no_printable_text_is_refused(make: Callable[[], Call]) -> None:
    call = make()
    for bad in ("", " ", "x" * 256, "a\tb", "ü"):
        assert call.send(Idempotency_Key=bad).status_code == 400, bad
    assert not IdempotentAnswer.objects.exists()


def test_two_callers_may_use_the_same_key() -> None:
    for _ in range(2):
        assert account().send(Idempotency_Key="1").status_code == 200
    assert IdempotentAnswer.objects.count() == 2


def test_a_body_that_can_be_mended_does_not_use_up_the_key() -> None:
    call = account()
    call.body = b"{}"
    assert call.send(Idempotency_Key="k").status_code == 400
    call.body = CONFIRMED
    assert call.send(Idempotency_Key="k").status_code == 200


def test_a_fault_of_ours_does_not_use_up_the_key() -> None:
    call = user()
    rename_audit_table()
    assert call.send(Idempotency_Key="k").status_code == 500
    assert not IdempotentAnswer.objects.exists()


def test_what_is_kept_names_neither_credential_nor_key() -> None:
    call = account()
    call.send(Idempotency_Key="my-own-key")
    kept = str(IdempotentAnswer.objects.values().get())
    secret = call.headers["Authorization"].removeprefix("Bearer ")
    assert "my-own-key" not in kept
    assert secret not in kept


def test_a_key_whose_request_died_is_free_after_a_minute() -> None:
    now = timezone.now()
    wish: dict[str, Any] = {"key": "k", "credential": "c", "fingerprint": "f", "may_start": True}
    first = idempotency.begin(**wish, now=now)
    with pytest.raises(IdempotentRequestRunning):
        idempotency.begin(**wish, now=now + timedelta(seconds=59))
    assert idempotency.begin(**wish, now=now + timedelta(seconds=61)) == first


def test_an_answer_is_kept_for_a_day() -> None:
    call = logs()
    first = call.send(Idempotency_Key="k")
    IdempotentAnswer.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    again = call.send(Idempotency_Key="k")
    assert again["X-Request-ID"] != first["X-Request-ID"]
    later = timezone.now() + timedelta(hours=25)
    assert idempotency.forget_old_answers(now=later) == 1
