"""Transcript of ``DELETE /user/{userId}``: every cell of its column in the failure table."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from pytest_django import Settings

from accounts.models import User, UserGroup
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
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

DONE = b'{"success":true,"message":"User deleted successfully"}'
FORBIDDEN = b'{"detail":"Not enough permissions"}'


def call(key: str | None, user: Any, method: str = "DELETE", **changes: Any) -> Call:
    shown = ids.encode(ids.USER, user.pk) if isinstance(user, User) else user
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    return Call(method, f"/user/{shown}", headers, **changes)


def operator(**fields: Any) -> User:
    made: User = UserFactory(**{"is_staff": True, "is_superuser": True, **fields})
    return made


def test_the_user_is_erased_logs_included() -> None:
    with charlie_untouched():
        managed = ManagedUserFactory()
        alice, organization = managed.user, managed.organization
        EventDetail.objects.create(
            event_id=alice.pk, person_id=alice.pk, field="address", value="192.0.2.1"
        )
        staff = operator()
        response = call(give_key(staff), alice).send()
    assert_answer(response, 200, DONE)
    assert not User.objects.filter(pk=alice.pk).exists()
    assert not EventDetail.objects.filter(person_id=alice.pk).exists()
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert (event.action, event.channel, event.actor_id) == ("user.erased", "user", staff.pk)
    assert event.request_id == response["X-Request-ID"]
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert (request.state, request.organization_id) == ("completed", organization.pk)


def test_a_soft_deleted_user_is_carried_to_the_end() -> None:
    alice = UserFactory()
    Call(
        "DELETE", f"/v1/user/{ids.encode(ids.USER, alice.pk)}", {"X-API-Key": give_key(alice)}
    ).send()
    assert_answer(call(give_key(operator()), alice).send(), 200, DONE)
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert (request.state, request.channel) == ("completed", "v1-user")


def test_a_credential_that_does_not_hold_is_refused() -> None:
    staff, alice = operator(), UserFactory()

    def send(headers: dict[str, str]) -> Any:
        return Call("DELETE", f"/user/{ids.encode(ids.USER, alice.pk)}", headers).send()

    def check(response: Any) -> None:
        assert_answer(response, 401, b'{"detail":"Not authenticated"}')

    with charlie_untouched():
        assert_all_refused(staff, send, check)
        check(send({"x-api-key": give_key(staff)}))
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_key_without_the_right_is_forbidden() -> None:
    alice = UserFactory()
    for owner in (UserFactory(), OrganizationFactory()):
        assert_answer(call(give_key(owner), alice).send(), 403, FORBIDDEN)
    for staff in (operator(is_superuser=False), operator(is_staff=False)):
        assert_answer(call(give_key(staff, "users:erase"), alice).send(), 403, FORBIDDEN)


def test_a_right_given_through_a_group_works_and_ends_with_it() -> None:
    staff, group = operator(is_superuser=False), Group.objects.create(name="privacy")
    group.permissions.add(Permission.objects.get(codename="erase_user"))
    UserGroup.objects.create(user=staff, group=group)
    key = give_key(staff)
    assert_answer(call(key, UserFactory()).send(), 200, DONE)
    UserGroup.objects.all().delete()
    assert_answer(call(key, UserFactory()).send(), 403, FORBIDDEN)


def test_one_cannot_delete_oneself() -> None:
    staff = operator()
    expected = b'{"detail":"Users cannot delete their own accounts"}'
    assert_answer(call(give_key(staff), staff).send(), 403, expected)
    assert User.objects.filter(pk=staff.pk).exists()


def test_an_unknown_user_is_not_found_and_so_is_a_repeat() -> None:
    key, alice = give_key(operator()), UserFactory()
    expected = b'{"detail":"User not found"}'
    assert_answer(call(key, "usr_01h2xcejqtf2nbrexx3vqjhp41").send(), 404, expected)
    call(key, alice).send()
    assert_answer(call(key, alice).send(), 404, expected)


@pytest.mark.parametrize(
    "user_id", ["abc", "usr_", "usr_01H2XCEJQTF2NBREXX3VQJHP41", "org_01h2xcejqtf2nbrexx3vqjhp41"]
)
def test_a_malformed_id_is_a_validation_error(user_id: str) -> None:
    pattern = "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$"
    fault = {
        "loc": ["path", "userId"],
        "msg": f"String should match pattern '{pattern}'",
        "type": "string_pattern_mismatch",
        "input": user_id,
        "ctx": {"pattern": pattern},
    }
    response = call(give_key(operator()), user_id).send()
    assert_answer(response, 422, exact({"detail": [fault]}))


def test_an_empty_id_is_a_validation_error() -> None:
    fault = {
        "loc": ["path", "userId"],
        "msg": "String should have at least 1 character",
        "type": "string_too_short",
        "input": "",
        "ctx": {"min_length": 1},
    }
    response = call(give_key(operator()), "").send()
    assert_answer(response, 422, exact({"detail": [fault]}))


def test_a_body_is_ignored() -> None:
    request = call(
        give_key(operator()), UserFactory(), body=b"{" * 70000, content_type="text/plain"
    )
    assert_answer(request.send(), 200, DONE)


def test_a_sole_owner_stays() -> None:
    with charlie_untouched():
        key = give_key(operator())
        charlie = User.objects.get(username="charlie")
        alice = MembershipFactory(role="owner").user
        for user in (alice, charlie):
            expected = b'{"detail":"User is the sole owner of an organization"}'
            assert_answer(call(key, user).send(), 409, expected)


def test_a_legal_hold_retains_the_user() -> None:
    alice = UserFactory()
    place_hold("user", alice.pk)
    expected = b'{"detail":"User must be retained for now"}'
    assert_answer(call(give_key(operator()), alice).send(), 409, expected)


def test_a_running_deletion_is_not_joined() -> None:
    alice = UserFactory()
    start_deletion("user", alice.pk)
    expected = b'{"detail":"A deletion of this user is running"}'
    assert_answer(call(give_key(operator()), alice).send(), 409, expected)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS", "HEAD"])
def test_other_methods_are_not_allowed(method: str) -> None:
    response = call(give_key(operator()), UserFactory(), method).send()
    expected = b"" if method == "HEAD" else b'{"detail":"Method Not Allowed"}'
    assert_answer(response, 405, expected)
    assert response["Allow"] == "DELETE"


@pytest.mark.parametrize("path", ["/user", "/user/a/b", "/user//"])
def test_an_unknown_path_answers_in_the_dialect(path: str) -> None:
    assert_answer(Call("DELETE", path).send(), 404, b'{"detail":"Not Found"}')


def test_too_many_requests_wait(settings: Settings) -> None:
    settings.THROTTLE_CREDENTIAL = "1/min"
    key = give_key(operator())
    call(key, "").send()
    response = call(key, UserFactory()).send()
    assert_answer(response, 429, b'{"detail":"Too Many Requests"}')
    assert 1 <= int(response["Retry-After"]) <= 60


def test_a_fault_of_ours_names_its_trace_and_changes_nothing() -> None:
    key, alice = give_key(operator()), UserFactory()
    rename_audit_table()
    response = call(key, alice).send()
    body = {"detail": "Internal Server Error", "trace_id": response["X-Request-ID"]}
    assert_answer(response, 500, exact(body))
    assert User.objects.filter(pk=alice.pk).exists()
