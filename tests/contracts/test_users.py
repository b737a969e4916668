"""Transcript of ``/users/{userId}`` and its logs: every cell of their column."""

from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from audit.models import AuditEvent, EventDetail
from contracts import ids
from erasure.models import DeletionRequest, LegalHold
from organizations.models import Organization
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
    ManagedUserFactory,
    MembershipFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

DONE = b'{"success":true}'
VERSION = {"x-api-version": "2025-09"}
NOT_FOUND = b'{"message":"User not found"}'
PATHS = ["/users/{}", "/users/{}/logs"]


def call(key: str | None, user: Any, path: str = "/users/{}", **changes: Any) -> Call:
    shown = ids.encode(ids.USER, user.pk) if isinstance(user, User) else user
    headers = {"Authorization": f"bearer {key}"} if key is not None else {}
    method = changes.pop("method", "DELETE")
    return Call(method, path.format(shown), {**headers, **VERSION}, **changes)


def platform() -> tuple[str, User, Organization]:
    """Return a platform's key, a user that its organization manages, and the organization."""
    managed = ManagedUserFactory()
    return give_key(managed.organization), managed.user, managed.organization


def keep_log_of(user: User) -> None:
    now = timezone.now()
    event = AuditEvent.objects.create(
        at=now, action="user.seen", actor_kind="user", actor_id=user.pk, channel="test"
    )
    EventDetail.objects.create(
        event_id=event.pk, person_id=user.pk, field="address", value="192.0.2.1"
    )


@pytest.mark.parametrize("by_name", [False, True])
def test_the_account_is_erased_and_the_log_kept(by_name: bool) -> None:
    with charlie_untouched():
        key, erin, organization = platform()
        keep_log_of(erin)
        response = call(key, erin.username if by_name else erin).send()
    assert_answer(response, 200, DONE)
    assert not User.objects.filter(pk=erin.pk).exists()
    assert EventDetail.objects.filter(person_id=erin.pk).count() == 1
    event = AuditEvent.objects.get(action="user.erased", subject_id=erin.pk)
    assert (event.channel, event.organization_id) == ("users", organization.pk)
    assert event.request_id == response["X-Request-ID"]
    request = DeletionRequest.objects.get(subject_id=erin.pk)
    assert (request.state, request.organization_id) == ("completed", organization.pk)


def test_logs_are_erased_before_and_after_the_account_is_gone() -> None:
    with charlie_untouched():
        key, erin, _ = platform()
        keep_log_of(erin)
        assert_answer(call(key, erin.username, "/users/{}/logs").send(), 200, DONE)
        assert not EventDetail.objects.filter(person_id=erin.pk).exists()
        keep_log_of(erin)
        call(key, erin).send()
        assert_answer(call(key, erin, "/users/{}/logs").send(), 200, DONE)
        assert not EventDetail.objects.filter(person_id=erin.pk).exists()
        assert_answer(call(key, erin, "/users/{}/logs").send(), 200, DONE)
    assert AuditEvent.objects.filter(action="user.erased", subject_id=erin.pk).exists()


@pytest.mark.parametrize("path", PATHS)
def test_a_credential_that_does_not_hold_is_refused(path: str) -> None:
    _, erin, organization = platform()

    def send(headers: dict[str, str]) -> Any:
        return Call("DELETE", path.format(erin.username), {**headers, **VERSION}).send()

    def check(response: Any) -> None:
        assert_answer(response, 401, b'{"message":"Unauthorized"}')

    with charlie_untouched():
        assert_all_refused(organization, send, check)
        in_another_header = {"x-api-key": give_key(organization)}
        check(send(in_another_header))


@pytest.mark.parametrize("path", PATHS)
def test_a_key_without_the_right_is_forbidden(path: str) -> None:
    _, erin, _ = platform()
    expected = b'{"message":"This API key may not delete users"}'
    for key in (give_key(UserFactory()), give_key(UserFactory(is_staff=True, is_superuser=True))):
        assert_answer(call(key, erin, path).send(), 403, expected)
    odd = give_key(UserFactory(), "users:delete")
    assert_answer(call(odd, erin, path).send(), 403, expected)


@pytest.mark.parametrize("path", PATHS)
def test_one_cannot_delete_oneself(path: str) -> None:
    _, erin, organization = platform()
    key = give_key(organization, created_by=erin)
    expected = b'{"message":"You cannot delete yourself"}'
    assert_answer(call(key, erin, path).send(), 403, expected)


@pytest.mark.parametrize("path", PATHS)
def test_outside_its_reach_a_user_looks_like_none(path: str) -> None:
    with charlie_untouched():
        key, _, _ = platform()
        _, strangers, _ = platform()
        charlie = User.objects.get(username="charlie")
        for user in (strangers, strangers.username, charlie, "charlie", "nobody", "usr_x", "%00"):
            assert_answer(call(key, user, path).send(), 404, NOT_FOUND)
        assert_answer(call(key, "", path).send(), 404, NOT_FOUND)


def test_a_repeat_is_not_found() -> None:
    key, erin, _ = platform()
    call(key, erin).send()
    assert_answer(call(key, erin).send(), 404, NOT_FOUND)


@pytest.mark.parametrize("version", [None, "", "2024-01", "2025-9"])
@pytest.mark.parametrize("path", PATHS)
def test_the_version_must_be_named(version: str | None, path: str) -> None:
    key, erin, _ = platform()
    request = call(key, erin, path)
    del request.headers["x-api-version"]
    response = request.send(**({} if version is None else {"x_api_version": version}))
    message = "The x-api-version header must name a supported version: 2025-09"
    assert_answer(response, 400, exact({"message": message}))
    assert User.objects.filter(pk=erin.pk).exists()


def test_a_body_is_ignored() -> None:
    key, erin, _ = platform()
    request = call(key, erin, body=b"{" * 70000, content_type="text/plain")
    assert_answer(request.send(), 200, DONE)


def test_a_sole_owner_stays() -> None:
    key, erin, _ = platform()
    MembershipFactory(user=erin, role="owner")
    expected = b'{"message":"This user is the only owner of an organization"}'
    assert_answer(call(key, erin).send(), 409, expected)
    assert User.objects.filter(pk=erin.pk).exists()


def test_a_legal_hold_retains_the_user() -> None:
    key, erin, _ = platform()
    place_hold("user", erin.pk)
    expected = b'{"message":"This user must be retained for now"}'
    assert_answer(call(key, erin).send(), 409, expected)


def test_a_legal_hold_retains_the_logs() -> None:
    key, erin, _ = platform()
    keep_log_of(erin)
    place_hold("user", erin.pk)
    expected = b'{"message":"This user must be retained for now"}'
    assert_answer(call(key, erin, PATHS[1]).send(), 409, expected)
    assert EventDetail.objects.filter(person_id=erin.pk).exists()
    LegalHold.objects.update(released_at=timezone.now())
    assert_answer(call(key, erin, PATHS[1]).send(), 200, DONE)
    assert not EventDetail.objects.filter(person_id=erin.pk).exists()


def test_a_running_deletion_is_not_joined() -> None:
    key, erin, _ = platform()
    start_deletion("user", erin.pk)
    assert_answer(call(key, erin).send(), 409, b'{"message":"A deletion of this user is running"}')


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_not_allowed(method: str, path: str) -> None:
    key, erin, _ = platform()
    response = call(key, erin, path, method=method).send()
    expected = b'{"message":"Only DELETE is allowed here"}'
    assert_answer(response, 405, b"" if method == "HEAD" else expected)
    assert response["Allow"] == "DELETE"


@pytest.mark.parametrize("path", ["/users", "/users/a/b", "/users/a/logs/", "/users//"])
def test_an_unknown_path_answers_in_the_dialect(path: str) -> None:
    assert_answer(Call("DELETE", path).send(), 404, b'{"message":"Not found"}')


def test_too_many_requests_wait(settings: Settings) -> None:
    settings.THROTTLE_CREDENTIAL = "1/min"
    key, erin, _ = platform()
    call(key, "nobody").send()
    response = call(key, erin).send()
    assert_answer(response, 429, b'{"message":"Too many requests"}')
    assert 1 <= int(response["Retry-After"]) <= 60


@pytest.mark.parametrize("path", PATHS)
def test_a_fault_of_ours_names_its_trace_and_changes_nothing(path: str) -> None:
    key, erin, _ = platform()
    keep_log_of(erin)
    rename_audit_table()
    response = call(key, erin, path).send()
    body = {"message": "Something went wrong on our side", "trace_id": response["X-Request-ID"]}
    assert_answer(response, 500, exact(body))
    assert User.objects.filter(pk=erin.pk).exists()
    assert EventDetail.objects.filter(person_id=erin.pk).exists()
