"""Transcript of ``DELETE /account``: every cell of its column in the failure table."""

from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import User
from apikeys.models import ApiKey
from audit.models import AuditEvent
from erasure.models import DeletionRequest
from tests.bystanders import charlie_untouched
from tests.contracts.transcript import (
    Call,
    assert_all_refused,
    assert_answer,
    exact,
    place_hold,
    rename_audit_table,
    start_deletion,
)
from tests.factories import (
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

CONFIRMED = b'{"confirm": true}'
DELETED = b'{"success":true,"data":{"deleted":true}}'
UNAUTHORIZED = b'{"success":false,"error":"unauthorized","message":"Missing or invalid API key."}'


def refusal(code: str, message: str, **more: Any) -> bytes:
    return exact({"success": False, "error": code, "message": message, **more})


def call(key: str | None, body: bytes = CONFIRMED, **changes: Any) -> Call:
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    return Call(
        **{"method": "DELETE", "path": "/account", "headers": headers, "body": body} | changes
    )


@pytest.mark.parametrize("path", ["/account", "/api-proxy/account"])
def test_confirmed_deletion_erases_the_account(path: str) -> None:
    with charlie_untouched():
        alice = UserFactory()
        key = give_key(alice)
        SessionFactory(user=alice)
        MembershipFactory(user=alice)
        response = call(key, path=path).send()
    assert_answer(response, 200, DELETED)
    assert not User.objects.filter(pk=alice.pk).exists()
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert (event.action, event.channel) == ("user.erased", "account")
    assert event.request_id == response["X-Request-ID"]
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert (request.state, request.channel) == ("completed", "account")


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer {}"},
        {"Authorization": "BEARER  {}"},
        {"x-api-key": "{}"},
        {"X-API-KEY": "{}"},
    ],
)
def test_each_documented_credential_works(header: dict[str, str]) -> None:
    key = give_key(UserFactory())
    headers = {name: value.format(key) for name, value in header.items()}
    assert_answer(Call("DELETE", "/account", headers, CONFIRMED).send(), 200, DELETED)


def test_a_credential_that_does_not_hold_is_refused() -> None:
    alice = UserFactory()

    def send(headers: dict[str, str]) -> Any:
        return Call("DELETE", "/account", headers, CONFIRMED).send()

    def check(response: Any) -> None:
        assert_answer(response, 401, UNAUTHORIZED)
        assert response["WWW-Authenticate"] == 'Bearer realm="api"'

    with charlie_untouched():
        assert_all_refused(alice, send, check)
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_repeat_is_unauthorized() -> None:
    key = give_key(UserFactory())
    call(key).send()
    assert_answer(call(key).send(), 401, UNAUTHORIZED)


def test_a_key_without_the_right_is_forbidden() -> None:
    body = refusal("forbidden", "This API key may not delete the account.")
    assert_answer(call(give_key(UserFactory(), "account:read")).send(), 403, body)
    assert_answer(call(give_key(OrganizationFactory())).send(), 403, body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"confirm": false}',
        b'{"confirm": "true"}',
        b'{"confirm": 1}',
        b'{"confirm": null}',
    ],
)
def test_a_missing_confirmation_is_asked_for(body: bytes) -> None:
    alice = UserFactory()
    expected = refusal("confirmation_required", 'Send {"confirm": true} to confirm the deletion.')
    assert_answer(call(give_key(alice), body).send(), 400, expected)
    assert User.objects.filter(pk=alice.pk).exists()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"true",
        b'"confirm"',
        b"\xff\xfe",
        b'{"confirm": NaN}',
        b'{"confirm": false, "confirm": true}',
        b"[" * 60000,
        b"confirm=true",
    ],
)
def test_a_body_that_is_no_json_object_is_invalid(body: bytes) -> None:
    expected = refusal("invalid_request", "The body must be one JSON object.")
    assert_answer(call(give_key(UserFactory()), body).send(), 400, expected)


def test_a_body_over_the_limit_is_too_large(settings: Settings) -> None:
    alice = UserFactory()
    big = b'{"confirm": true, "x": "' + b"x" * settings.BODY_LIMIT + b'"}'
    expected = refusal("payload_too_large", "The body is too large.")
    assert_answer(call(give_key(alice), big).send(), 413, expected)
    assert_answer(call(give_key(alice), big).send(Idempotency_Key="big"), 413, expected)


def test_another_media_type_is_unsupported() -> None:
    expected = refusal("unsupported_media_type", "The body must be JSON.")
    form = call(give_key(UserFactory()), content_type="application/x-www-form-urlencoded")
    assert_answer(form.send(), 415, expected)


def test_a_sole_owner_is_told_of_which_organizations() -> None:
    with charlie_untouched():
        alice = UserFactory()
        acme = OrganizationFactory(name="Acme")
        MembershipFactory(user=alice, organization=acme, role="owner")
        MembershipFactory(organization=acme)
        shared = OrganizationFactory()
        MembershipFactory(user=alice, organization=shared, role="owner")
        MembershipFactory(organization=shared, role="owner")
        response = call(give_key(alice)).send()
    assert_answer(
        response,
        409,
        refusal(
            "sole_owner",
            "Delete or transfer the organizations that only you own first.",
            organizations=[{"id": str(acme.pk), "name": "Acme", "members": 2}],
        ),
    )
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_co_owner_who_is_deleted_or_inactive_does_not_count() -> None:
    alice = UserFactory()
    acme = OrganizationFactory()
    MembershipFactory(user=alice, organization=acme, role="owner")
    MembershipFactory(
        user=UserFactory(is_deleted=True, is_active=False), organization=acme, role="owner"
    )
    MembershipFactory(user=UserFactory(is_active=False), organization=acme, role="owner")
    assert call(give_key(alice)).send().status_code == 409


def test_a_legal_hold_retains_the_account() -> None:
    alice = UserFactory()
    place_hold("user", alice.pk)
    expected = refusal("retention_required", "This account must be retained for now.")
    assert_answer(call(give_key(alice)).send(), 409, expected)
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_running_deletion_is_not_joined() -> None:
    alice = UserFactory()
    start_deletion("user", alice.pk)
    expected = refusal("deletion_in_progress", "A deletion of this account is running.")
    assert_answer(call(give_key(alice)).send(), 409, expected)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    expected = refusal("method_not_allowed", "Only DELETE is allowed here.")
    response = call(give_key(UserFactory()), method=method).send()
    assert_answer(response, 405, b"" if method == "HEAD" else expected)
    assert response["Allow"] == "DELETE"


@pytest.mark.parametrize("path", ["/account/", "/account/x", "/api-proxy", "/api-proxy/account/x"])
def test_an_unknown_path_answers_in_the_dialect(path: str) -> None:
    expected = refusal("not_found", "There is nothing at this address.")
    assert_answer(call(None, path=path).send(), 404, expected)


def test_too_many_requests_wait(settings: Settings) -> None:
    settings.THROTTLE_CREDENTIAL = "2/min"
    key = give_key(UserFactory())
    for _ in range(2):
        assert call(key, b"{}").send().status_code == 400
    response = call(key).send()
    assert_answer(response, 429, refusal("rate_limited", "Too many requests."))
    assert 1 <= int(response["Retry-After"]) <= 60


def test_a_fault_of_ours_names_its_trace_and_changes_nothing() -> None:
    alice = UserFactory()
    key = give_key(alice)
    rename_audit_table()
    response = call(key).send()
    expected = refusal(
        "internal_error", "Something went wrong on our side.", trace_id=response["X-Request-ID"]
    )
    assert_answer(response, 500, expected)
    assert User.objects.filter(pk=alice.pk).exists()
    assert ApiKey.objects.get(user=alice).revoked_at is None
