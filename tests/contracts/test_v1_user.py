"""Transcript of ``/v1/user/{user_id}``: every cell of its column in the failure table."""

import re
from datetime import timedelta
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import Session, User
from apikeys.models import ApiKey
from audit.models import AuditEvent, EventDetail
from contracts import ids
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

NOT_FOUND = ("USER_NOT_FOUND", "User not found.", "client_error")
ONLY_OWN = (
    "INSUFFICIENT_PERMISSIONS",
    "You can only delete your own account.",
    "authorization_error",
)


def call(key: str | None, user: Any, method: str = "DELETE", **changes: Any) -> Call:
    shown = ids.encode(ids.USER, user.pk) if isinstance(user, User) else user
    headers = {"X-API-Key": key} if key is not None else {}
    return Call(method, f"/v1/user/{shown}", headers, **changes)


def assert_refused(
    response: Any, status: int, code: str, message: str, kind: str, **details: Any
) -> None:
    stamp = re.search(rb'"timestamp":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"', response.content)
    assert stamp
    body = {
        "success": False,
        "error": {
            "code": code,
            "message": message,
            "system_message": message,
            "type": kind,
            "status": status,
            "details": details,
            "trace_id": response["X-Request-ID"],
            "timestamp": stamp[1].decode(),
        },
    }
    assert_answer(response, status, exact(body))


@pytest.mark.parametrize(
    "header", [{"X-API-Key": "{}"}, {"Authorization": "Bearer {}"}, {"Authorization": "bearer {}"}]
)
def test_a_soft_delete_sets_the_flags_and_keeps_the_data(
    header: dict[str, str], settings: Settings
) -> None:
    with charlie_untouched():
        alice = UserFactory(name="Alice")
        used, other = give_key(alice), give_key(alice)
        SessionFactory(user=alice)
        membership = MembershipFactory(user=alice)
        shown = ids.encode(ids.USER, alice.pk)
        headers = {name: value.format(used) for name, value in header.items()}
        response = Call("DELETE", f"/v1/user/{shown}", headers).send(user_agent="curl/8")
    body = {"success": True, "message": "User account deleted successfully", "user_id": shown}
    assert_answer(response, 200, exact(body))
    alice.refresh_from_db()
    assert (alice.is_deleted, alice.is_active, alice.name) == (True, False, "Alice")
    assert not Session.objects.filter(user=alice).exists()
    assert not ApiKey.objects.filter(user=alice, revoked_at=None).exists()
    assert ApiKey.objects.filter(user=alice).exclude(last_used_at=None).count() == 1
    assert type(membership).objects.filter(pk=membership.pk).exists()
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert (request.state, request.channel) == ("scheduled", "v1-user")
    assert request.due_at - request.requested_at == settings.GRACE_PERIOD == timedelta(days=14)
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert (event.action, event.request_id) == ("user.deleted", response["X-Request-ID"])
    details = EventDetail.objects.filter(person_id=alice.pk)
    assert dict(details.values_list("field", "value")) == {
        "address": "127.0.0.1",
        "user_agent": "curl/8",
    }
    for key in (used, other):
        assert call(key, alice).send().status_code == 401


def test_a_credential_that_does_not_hold_is_refused() -> None:
    alice = UserFactory()

    def send(headers: dict[str, str]) -> Any:
        return Call("DELETE", f"/v1/user/{ids.encode(ids.USER, alice.pk)}", headers).send()

    def check(response: Any) -> None:
        assert_refused(
            response,
            401,
            "AUTHENTICATION_REQUIRED",
            "Authentication is required.",
            "authentication_error",
        )

    with charlie_untouched():
        assert_all_refused(alice, send, check)


def test_a_key_without_the_right_is_forbidden() -> None:
    alice = UserFactory()
    response = call(give_key(alice, "account:read"), alice).send()
    message = "This API key does not have the required scope."
    assert_refused(response, 403, "INSUFFICIENT_PERMISSIONS", message, "authorization_error")
    response = call(give_key(OrganizationFactory()), alice).send()
    assert_refused(response, 403, "INSUFFICIENT_PERMISSIONS", message, "authorization_error")


def test_somebody_else_is_forbidden() -> None:
    with charlie_untouched():
        charlie = User.objects.get(username="charlie")
        response = call(give_key(UserFactory()), charlie).send()
    assert_refused(response, 403, *ONLY_OWN)


@pytest.mark.parametrize(
    "user_id",
    [
        "usr_01h2xcejqtf2nbrexx3vqjhp41",
        "usr_abc123",
        "",
        "charlie",
        "01a2089c-cb52-754c-9db9-aafe602693d8",
        "org_01h2xcejqtf2nbrexx3vqjhp41",
        "usr_01H2XCEJQTF2NBREXX3VQJHP41",
        "%00",
        "usr_8zzzzzzzzzzzzzzzzzzzzzzzzz",
    ],
)
def test_an_unknown_or_malformed_id_is_not_found(user_id: str) -> None:
    key = give_key(UserFactory())
    assert_refused(call(key, user_id).send(), 404, *NOT_FOUND)
    assert_refused(call(key, user_id, "GET").send(), 404, *NOT_FOUND)


def test_a_body_is_ignored() -> None:
    alice = UserFactory()
    request = call(give_key(alice), alice, body=b"{" * 70000, content_type="text/plain")
    assert request.send().status_code == 200


def test_a_sole_owner_is_told_of_which_organizations() -> None:
    with charlie_untouched():
        alice = UserFactory()
        acme = OrganizationFactory(name="Acme")
        MembershipFactory(user=alice, organization=acme, role="owner")
        response = call(give_key(alice), alice).send()
    message = "Delete or transfer the organizations that only you own first."
    listed = [{"id": str(acme.pk), "name": "Acme", "members": 1}]
    assert_refused(response, 409, "SOLE_OWNER", message, "client_error", organizations=listed)
    alice.refresh_from_db()
    assert not alice.is_deleted


def test_under_legal_hold_the_soft_delete_proceeds() -> None:
    alice = UserFactory()
    place_hold("user", alice.pk)
    assert call(give_key(alice), alice).send().status_code == 200


def test_a_running_deletion_is_not_joined() -> None:
    alice = UserFactory()
    start_deletion("user", alice.pk)
    response = call(give_key(alice), alice).send()
    message = "A deletion of this account is running."
    assert_refused(response, 409, "DELETION_IN_PROGRESS", message, "client_error")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    alice = UserFactory()
    response = call(give_key(alice), alice, method).send()
    message = "This method is not allowed here."
    assert_refused(response, 405, "METHOD_NOT_ALLOWED", message, "client_error")
    assert response["Allow"] == "DELETE, GET, HEAD"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/user", "/v1/user/a/b", "/v1/nothing"])
def test_an_unknown_path_answers_in_the_dialect(path: str) -> None:
    response = Call("DELETE", path).send()
    message = "There is nothing at this address."
    assert_refused(response, 404, "NOT_FOUND", message, "client_error")


def test_too_many_requests_wait(settings: Settings) -> None:
    settings.THROTTLE_CREDENTIAL = "1/min"
    alice = UserFactory()
    key = give_key(alice)
    assert call(key, "usr_nobody").send().status_code == 404
    response = call(key, alice).send()
    message = "Too many requests. Try again later."
    assert_refused(response, 429, "RATE_LIMITED", message, "client_error")
    assert 1 <= int(response["Retry-After"]) <= 60


def test_a_fault_of_ours_changes_nothing() -> None:
    alice = UserFactory()
    key = give_key(alice)
    rename_audit_table()
    response = call(key, alice).send()
    message = "Something went wrong on our side."
    assert_refused(response, 500, "INTERNAL_ERROR", message, "server_error")
    alice.refresh_from_db()
    assert not alice.is_deleted
    assert ApiKey.objects.get(user=alice).revoked_at is None


def test_the_profile_is_the_callers_own() -> None:
    with charlie_untouched():
        alice = UserFactory(name="Alïce")
        key = give_key(alice, "account:read")
        response = call(key, alice, "GET").send()
        other = call(key, User.objects.get(username="charlie"), "GET").send()
    body = {
        "id": ids.encode(ids.USER, alice.pk),
        "username": alice.username,
        "email": alice.email,
        "name": "Alïce",
        "created_at": alice.date_joined.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    assert_answer(response, 200, exact(body))
    assert_refused(other, 403, *ONLY_OWN)
