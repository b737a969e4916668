"""Transcript of ``DELETE /organizations/{id}``: every cell of its column in the failure table."""

from typing import Any
from uuid import uuid4

import pytest
from pytest_django import Settings

from accounts.models import User
from apikeys.models import ApiKey
from audit.models import AuditEvent
from erasure.models import DeletionRequest
from organizations.models import Invitation, ManagedUser, Membership, Organization
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
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db


def refusal(status: int, message: str, **more: Any) -> bytes:
    return exact({"statusCode": status, "message": message, **more})


OWNER_ONLY = refusal(403, "Access denied. Only the organization owner can delete the organization")
NOT_FOUND = refusal(404, "Organization not found")


def call(key: str | None, organization: Any, method: str = "DELETE", **changes: Any) -> Call:
    shown = organization.pk if isinstance(organization, Organization) else organization
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    path = changes.pop("path", "/organizations/{}").format(shown)
    return Call(method, path, headers, **changes)


def owned() -> tuple[str, User, Organization]:
    membership = MembershipFactory(role="owner")
    return give_key(membership.user), membership.user, membership.organization


@pytest.mark.parametrize("path", ["/organizations/{}", "/api/organizations/{}"])
def test_the_organization_goes_with_everything_it_owns(path: str) -> None:
    with charlie_untouched():
        key, alice, acme = owned()
        MembershipFactory(organization=acme, user=UserFactory(username="bob"))
        InvitationFactory(organization=acme)
        platform_key = give_key(acme)
        erin = ManagedUserFactory(organization=acme).user
        give_key(erin)
        response = call(key, acme, path=path).send()
    assert_answer(response, 204, b"")
    assert "Content-Length" not in response
    for model in (Membership, Invitation, ManagedUser, ApiKey):
        assert not model._default_manager.filter(organization_id=acme.pk).exists()
    assert not Organization.objects.filter(pk=acme.pk).exists()
    assert not User.objects.filter(pk=erin.pk).exists()
    assert User.objects.filter(username__in=["bob", alice.username]).count() == 2
    users = Call(
        "DELETE",
        "/users/x",
        {"Authorization": f"Bearer {platform_key}", "x-api-version": "2025-09"},
    )
    assert users.send().status_code == 401
    event = AuditEvent.objects.get(action="organization.erased")
    assert (event.subject_id, event.request_id) == (acme.pk, response["X-Request-ID"])
    counts = DeletionRequest.objects.get(subject_id=acme.pk).counts
    assert counts == {
        "organizations.Organization": 1,
        "organizations.Membership": 2,
        "organizations.Invitation": 1,
        "apikeys.ApiKey": 1,
    }
    request = DeletionRequest.objects.get(subject_id=erin.pk)
    assert (request.state, request.organization_id) == ("completed", acme.pk)
    assert AuditEvent.objects.filter(action="user.erased", subject_id=erin.pk).count() == 1


def test_a_credential_that_does_not_hold_is_refused() -> None:
    _, alice, acme = owned()

    def send(headers: dict[str, str]) -> Any:
        return Call("DELETE", f"/organizations/{acme.pk}", headers).send()

    def check(response: Any) -> None:
        assert_answer(response, 401, refusal(401, "Unauthorized"))

    with charlie_untouched():
        assert_all_refused(alice, send, check)
        check(send({"x-api-key": give_key(alice)}))
    assert Organization.objects.filter(pk=acme.pk).exists()


def test_whoever_is_not_the_owner_is_denied() -> None:
    with charlie_untouched():
        _, alice, acme = owned()
        admin = MembershipFactory(organization=acme, role="admin").user
        member = MembershipFactory(organization=acme).user
        keys = [give_key(user) for user in (admin, member, UserFactory())]
        keys += [give_key(acme), give_key(alice, "account:read")]
        keys += [give_key(acme, "organizations:delete")]
        charlies = Organization.objects.get(slug="charlies")
        for key in keys:
            assert_answer(call(key, acme).send(), 403, OWNER_ONLY)
            assert_answer(call(key, charlies).send(), 403, OWNER_ONLY)


@pytest.mark.parametrize(
    "missing", [uuid4(), "", "acme", "usr_01h2xcejqtf2nbrexx3vqjhp41", "0" * 32, "%00", "{x}"]
)
def test_a_missing_or_malformed_id_is_not_found(missing: Any) -> None:
    key, _, _ = owned()
    request = call(key, "")
    request.path = f"/organizations/{missing}"
    assert_answer(request.send(), 404, NOT_FOUND)


def test_a_deleted_organization_and_a_repeat_are_not_found() -> None:
    key, _, acme = owned()
    Organization.objects.filter(pk=acme.pk).update(is_deleted=True)
    assert_answer(call(key, acme).send(), 404, NOT_FOUND)
    Organization.objects.filter(pk=acme.pk).update(is_deleted=False)
    call(key, acme).send()
    assert_answer(call(key, acme).send(), 404, NOT_FOUND)


def test_a_body_is_ignored() -> None:
    key, _, acme = owned()
    request = call(key, acme, body=b"{" * 70000, content_type="text/plain")
    assert_answer(request.send(), 204, b"")


def test_a_managed_user_who_alone_owns_another_organization_stands_in_the_way() -> None:
    key, _, acme = owned()
    erin = ManagedUserFactory(organization=acme).user
    MembershipFactory(user=erin, role="owner")
    message = "A user managed by this organization is the only owner of another organization"
    assert_answer(call(key, acme).send(), 409, refusal(409, message))
    assert User.objects.filter(pk=erin.pk).exists()


@pytest.mark.parametrize("held", ["organization", "user"])
def test_a_legal_hold_retains_the_organization(held: str) -> None:
    key, _, acme = owned()
    erin = ManagedUserFactory(organization=acme).user
    place_hold(held, acme.pk if held == "organization" else erin.pk)
    message = "This organization or a user that it manages must be retained for now"
    assert_answer(call(key, acme).send(), 409, refusal(409, message))
    assert User.objects.filter(pk=erin.pk).exists()
    assert Organization.objects.filter(pk=acme.pk).exists()


@pytest.mark.parametrize("running", ["organization", "user"])
def test_a_running_deletion_is_not_joined(running: str) -> None:
    key, _, acme = owned()
    erin = ManagedUserFactory(organization=acme).user
    start_deletion(running, acme.pk if running == "organization" else erin.pk)
    message = "A deletion of this organization is running"
    assert_answer(call(key, acme).send(), 409, refusal(409, message))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/organizations/{}", "/api/organizations/{}"])
def test_other_methods_are_not_allowed(method: str, path: str) -> None:
    key, _, acme = owned()
    response = call(key, acme, method, path=path).send()
    expected = b"" if method == "HEAD" else refusal(405, "Only DELETE is allowed here")
    assert_answer(response, 405, expected)
    assert response["Allow"] == "DELETE"


@pytest.mark.parametrize(
    "path", ["/organizations", "/organizations/a/b", "/api/organizations", "/api/organizations/a/"]
)
def test_an_unknown_path_answers_in_the_dialect(path: str) -> None:
    assert_answer(Call("DELETE", path).send(), 404, refusal(404, "Not found"))


def test_too_many_requests_wait(settings: Settings) -> None:
    settings.THROTTLE_CREDENTIAL = "1/min"
    key, _, acme = owned()
    call(key, uuid4()).send()
    response = call(key, acme).send()
    assert_answer(response, 429, refusal(429, "Too many requests"))
    assert 1 <= int(response["Retry-After"]) <= 60


def test_a_fault_of_ours_names_its_trace_and_changes_nothing() -> None:
    key, _, acme = owned()
    erin = ManagedUserFactory(organization=acme).user
    rename_audit_table()
    response = call(key, acme).send()
    expected = refusal(500, "Something went wrong on our side", trace_id=response["X-Request-ID"])
    assert_answer(response, 500, expected)
    assert Organization.objects.filter(pk=acme.pk).exists()
    assert User.objects.filter(pk=erin.pk).exists()
