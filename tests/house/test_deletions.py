"""Deletions with a grace period: asked for, settled, followed, restored, on the wire and in the
database."""

import hashlib
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.utils import timezone

from accounts.models import Session, User, UserGroup
from apikeys import scopes
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import links
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from organizations.models import Membership, Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.contracts.transcript import exact, start_deletion
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import (
    ask,
    deletion_of,
    details,
    faults,
    make_due,
    owned_by,
    refused,
    spell,
    spell_deletion,
)

pytestmark = pytest.mark.django_db


def delete(user: User, key: str, body: Any = None) -> Any:
    return ask("POST", f"/v1/user/{spell(user)}/deletion", key, body)


def close(organization: Organization, key: str, **more: Any) -> Any:
    """Delete an organization, its slug typed to confirm it."""
    body = {"slug": organization.slug, **more}
    return ask("POST", f"/v1/organizations/{organization.pk}/deletion", key, body)


def follow(address: str, key: str | None = None, **headers: str) -> Any:
    parts = urlsplit(address)
    return ask("GET", parts.path + (f"?{parts.query}" if parts.query else ""), key, None, headers)


def moment(value: Any) -> str:
    text: str = value.isoformat()
    return text.replace("+00:00", "Z")


def fresh(model: Any, row: Any) -> Any:
    return model._default_manager.get(pk=row.pk)


# --- users ------------------------------------------------------------------------------------


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


# --- plans ------------------------------------------------------------------------------------


def plan_of(user: User, key: str) -> str:
    response = ask("GET", f"/v1/user/{spell(user)}/deletion-preview", key)
    name: str = response.json()["id"]
    return name


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


# --- settling ownership -------------------------------------------------------------------------


def test_a_sole_owner_is_told_which_organizations_stand_in_the_way() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    response = delete(alice, give_key(alice))
    assert refused(response) == (409, "SOLE_OWNER")
    expected = {"id": str(organization.pk), "name": organization.name, "members": 1}
    assert details(response) == {"organizations": [expected]}


def test_an_organization_passes_to_a_member_in_the_same_call() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        bob = MembershipFactory(organization=organization).user
        body = {"organizations": {str(organization.pk): {"transfer_to": spell(bob)}}}
        assert delete(alice, give_key(alice), body).status_code == 202
    assert Membership.objects.get(organization=organization, user=bob).role == "owner"
    organization.refresh_from_db()
    assert not organization.is_deleted


def test_an_organization_goes_along_and_comes_back_along() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        managed = ManagedUserFactory(organization=organization).user
        body = {"organizations": {str(organization.pk): "delete"}}
        assert delete(alice, give_key(alice), body).status_code == 202
        mine, theirs = deletion_of(alice), deletion_of(organization)
        assert (theirs.cause_id, theirs.due_at) == (mine.pk, mine.due_at)
        assert fresh(Organization, organization).is_deleted
        assert fresh(User, managed).is_deleted
        page = ask("GET", f"/restore/{links.sign_link(links.RESTORE, mine)}")
        assert b"1 organization" in page.content
        key = give_key(restorer(), scopes.DELETIONS_RESTORE)
        assert restore(mine, key).status_code == 200
    assert not fresh(Organization, organization).is_deleted
    assert not fresh(User, managed).is_deleted
    assert not fresh(User, alice).is_deleted


def test_an_organization_with_another_owner_is_left() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    MembershipFactory(organization=organization, role="owner")
    body = {"organizations": {str(organization.pk): "leave"}}
    assert delete(alice, give_key(alice), body).status_code == 202
    assert not fresh(Organization, organization).is_deleted


def test_leaving_the_only_owner_behind_is_refused() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    body = {"organizations": {str(organization.pk): "leave"}}
    assert refused(delete(alice, give_key(alice), body)) == (409, "SOLE_OWNER")
    assert not fresh(User, alice).is_deleted


def test_it_is_all_or_nothing() -> None:
    with charlie_untouched():
        alice = UserFactory()
        first, second = owned_by(alice), owned_by(alice)
        heir = MembershipFactory(organization=first).user
        stranger = UserFactory()
        body = {
            "organizations": {
                str(first.pk): {"transfer_to": spell(heir)},
                str(second.pk): {"transfer_to": spell(stranger)},
            }
        }
        key = give_key(alice)
        # The key's use is written down, once a minute.
        ask("GET", "/v1/api-keys", key)
        before = read_rows()
        response = delete(alice, key, body)
        assert refused(response) == (409, "SETTLEMENT_REFUSED")
        assert read_rows() == before
    assert Membership.objects.get(organization=first, user=heir).role == "member"


@pytest.mark.parametrize("fate", ["delete", "transfer"])
def test_nobody_disposes_of_what_they_do_not_own(fate: str) -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(UserFactory())
        MembershipFactory(organization=organization, user=alice, role="admin")
        heir = MembershipFactory(organization=organization).user
        wish = "delete" if fate == "delete" else {"transfer_to": spell(heir)}
        body = {"organizations": {str(organization.pk): wish}}
        response = delete(alice, give_key(alice), body)
        assert refused(response) == (409, "SETTLEMENT_REFUSED")
    assert not fresh(User, alice).is_deleted


@pytest.mark.parametrize("fate", ["delete", "transfer"])
def test_a_key_that_may_only_delete_its_account_gives_no_organization_away(fate: str) -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    heir = MembershipFactory(organization=organization).user
    wish = "delete" if fate == "delete" else {"transfer_to": spell(heir)}
    key = give_key(alice, scopes.ACCOUNT_DELETE)
    response = delete(alice, key, {"organizations": {str(organization.pk): wish}})
    assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")
    assert not fresh(User, alice).is_deleted
    MembershipFactory(organization=organization, role="owner")
    body = {"organizations": {str(organization.pk): "leave"}}
    assert delete(alice, key, body).status_code == 202


ACME = "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"plan_id": 5}, {("body", "plan_id")}),
        ({"plan_id": ""}, {("body", "plan_id")}),
        ({"plan_id": "plan_x"}, {("body", "plan_id")}),
        ({"plan_id": None}, {("body", "plan_id")}),
        ({"organizations": None}, {("body", "organizations")}),
        ({"organizations": []}, {("body", "organizations")}),
        ({"organizations": "delete"}, {("body", "organizations")}),
        ({"organizations": {"acme": "delete"}}, {("body", "organizations", "acme")}),
        ({"organizations": {ACME: "keep"}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: None}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: ["delete"]}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: {}}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: {"transfer_to": ACME}}}, {("body", "organizations", ACME)}),
        ({"organizations": {ACME: {"transfer_to": 5}}}, {("body", "organizations", ACME)}),
        (
            {"organizations": {ACME: "delete", ACME.upper(): "leave"}},
            {("body", "organizations", ACME.upper())},
        ),
        (
            {"organizations": {ACME: "x", "y": "delete"}, "force": True, "plan_id": 1},
            {
                ("body", "organizations", ACME),
                ("body", "organizations", "y"),
                ("body", "plan_id"),
                ("body", "force"),
            },
        ),
    ],
)
def test_each_fault_in_a_body_is_named(body: Any, expected: set[tuple[str, ...]]) -> None:
    alice = UserFactory()
    response = delete(alice, give_key(alice), body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert faults(response) == expected
    assert not DeletionRequest.objects.exists()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"[]", (400, "INVALID_BODY")),
        (b"{", (400, "INVALID_BODY")),
        (b'{"plan_id": "a", "plan_id": "b"}', (400, "INVALID_BODY")),
        (b" " * 70000, (413, "BODY_TOO_LARGE")),
    ],
)
def test_a_body_of_another_form_is_refused(body: bytes, expected: tuple[int, str]) -> None:
    alice = UserFactory()
    assert refused(delete(alice, give_key(alice), body)) == expected
    assert not fresh(User, alice).is_deleted


# --- organizations ------------------------------------------------------------------------------


def test_an_owner_closes_an_organization_with_a_grace_period() -> None:
    with charlie_untouched():
        alice = UserFactory()
        organization = owned_by(alice)
        platform = give_key(organization)
        managed = ManagedUserFactory(organization=organization).user
        response = close(organization, give_key(alice))
        assert response.status_code == 202
        row = deletion_of(organization)
        body = response.json()
        assert body["id"] == spell_deletion(row.pk)
        assert body["subject"] == {"kind": "organization", "id": str(organization.pk)}
        assert row.due_at - row.requested_at == timedelta(days=14)
        assert fresh(Organization, organization).is_deleted
        assert fresh(User, managed).is_deleted
        assert deletion_of(managed).cause_id == row.pk
        assert Membership.objects.filter(organization=organization).exists()
        assert (
            ask("DELETE", "/users/x", platform, None, {"x-api-version": "2025-09"}).status_code
            == 401
        )
        assert follow(body["status_url"]).json()["state"] == "scheduled"


def test_only_an_owner_closes_it() -> None:
    with charlie_untouched():
        organization = owned_by(UserFactory())
        admin = MembershipFactory(organization=organization, role="admin").user
        for stranger in (admin, UserFactory()):
            response = close(organization, give_key(stranger))
            assert refused(response) == (403, "INSUFFICIENT_PERMISSIONS")
        key = give_key(UserFactory())
        for path in (ACME, "x", ""):
            response = ask("POST", f"/v1/organizations/{path}/deletion", key, {"slug": "acme"})
            assert refused(response) == (404, "ORGANIZATION_NOT_FOUND")
        assert not fresh(Organization, organization).is_deleted


def test_a_closed_organization_is_not_closed_again() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    key = give_key(alice)
    close(organization, key)
    assert close(organization, key).status_code in (404, 409)
    assert DeletionRequest.objects.filter(subject_id=organization.pk).count() == 1


def test_a_managed_user_who_alone_owns_another_organization_stands_in_the_way() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    other = owned_by(ManagedUserFactory(organization=organization).user)
    response = close(organization, give_key(alice))
    assert response.status_code == 409
    assert str(other.pk) in json.dumps(details(response))
    assert not fresh(Organization, organization).is_deleted


def test_an_organizations_plan_that_drifted_is_refused() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    key = give_key(alice)
    path = f"/v1/organizations/{organization.pk}/deletion-preview"
    plan = ask("GET", path, key).json()["id"]
    ManagedUserFactory(organization=organization)
    response = close(organization, key, plan_id=plan)
    assert refused(response) == (409, "PLAN_DRIFTED")
    assert details(response)["drift"]


@pytest.mark.parametrize("body", [{"organizations": {}}, {"plan_id": 5}, {"confirm": True}])
def test_a_fault_in_an_organizations_body_is_named(body: Any) -> None:
    alice = UserFactory()
    response = close(owned_by(alice), give_key(alice), **body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert faults(response) == {("body", next(iter(body)))}


def test_the_slug_confirms_it() -> None:
    alice = UserFactory()
    organization, key = owned_by(alice), give_key(alice)
    path = f"/v1/organizations/{organization.pk}/deletion"
    assert refused(ask("POST", path, key)) == (422, "VALIDATION_ERROR")
    assert faults(ask("POST", path, key, {})) == {("body", "slug")}
    for typed in (organization.slug.upper(), organization.slug + " ", organization.name, "x"):
        response = ask("POST", path, key, {"slug": typed})
        assert refused(response) == (409, "WRONG_CONFIRMATION")
    assert not fresh(Organization, organization).is_deleted
    assert not DeletionRequest.objects.exists()


# --- following ----------------------------------------------------------------------------------


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


def assert_exactly(response: Any, expected: Any) -> None:
    assert (response.status_code, json.loads(response.content)) == (200, expected)
    assert list(response.json()) == list(expected)


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


def query(token: str) -> str:
    from urllib.parse import urlencode

    return urlencode({"token": token})


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


# --- restoring ----------------------------------------------------------------------------------


def restorer() -> User:
    """Create staff who may restore users and organizations, and no more."""
    staff: User = UserFactory(is_staff=True)
    group = Group.objects.create(name=f"restorers {staff.pk}")
    names = ("restore_user", "restore_organization")
    group.permissions.add(*Permission.objects.filter(codename__in=names))
    UserGroup.objects.create(user=staff, group=group)
    return staff


def restore(row: DeletionRequest, key: str, body: Any = None) -> Any:
    return ask("POST", f"/v1/deletions/{spell_deletion(row.pk)}/restore", key, body)


def test_staff_restore_with_the_case_in_the_log() -> None:
    with charlie_untouched():
        alice = UserFactory()
        delete(alice, give_key(alice))
        row = deletion_of(alice)
        response = restore(row, give_key(restorer()), {"reference": "Case 4711"})
    assert response.status_code == 200
    assert response.json()["state"] == "cancelled"
    assert not fresh(User, alice).is_deleted
    event = AuditEvent.objects.get(action="user.restored")
    assert event.facts["reference"] == "Case 4711"
    again = restore(row, give_key(restorer()))
    assert refused(again) == (409, "NOT_RESTORABLE")


def test_what_is_erased_is_not_restored() -> None:
    alice = UserFactory()
    delete(alice, give_key(alice))
    erase(alice)
    response = restore(deletion_of(alice), give_key(restorer()))
    assert refused(response) == (409, "NOT_RESTORABLE")
    unknown = DeletionRequest(subject_kind="user", subject_id=alice.pk)
    assert refused(restore(unknown, give_key(restorer()))) == (404, "DELETION_NOT_FOUND")


def test_a_restore_after_the_grace_period_is_refused() -> None:
    alice = UserFactory()
    delete(alice, give_key(alice))
    make_due(alice)
    response = restore(deletion_of(alice), give_key(restorer()))
    assert refused(response) == (409, "GRACE_EXPIRED")
    assert fresh(User, alice).is_deleted


def test_who_was_taken_along_is_not_restored_alone() -> None:
    alice = UserFactory()
    organization = owned_by(alice)
    body = {"organizations": {str(organization.pk): "delete"}}
    delete(alice, give_key(alice), body)
    response = restore(deletion_of(organization), give_key(restorer()))
    assert refused(response) == (409, "TAKEN_ALONG")
    assert fresh(Organization, organization).is_deleted


def test_a_restore_into_a_taken_name_is_refused() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice", email="alice@example.com")
        delete(alice, give_key(alice))
        UserFactory(username="alice", email="other@example.com")
        response = restore(deletion_of(alice), give_key(restorer()))
        assert refused(response) == (409, "NAME_TAKEN")
    assert fresh(User, alice).is_deleted


def test_restoring_takes_the_scope_and_the_permission() -> None:
    alice = UserFactory()
    key = give_key(alice)
    delete(alice, key)
    row = deletion_of(alice)
    staff = restorer()
    most = sorted(scopes.STAFF - {scopes.DELETIONS_RESTORE})
    assert refused(restore(row, give_key(staff, *most))) == (403, "INSUFFICIENT_PERMISSIONS")
    powerless = UserFactory(is_staff=True)
    assert refused(restore(row, give_key(powerless)))[0] == 403
    assert fresh(User, alice).is_deleted


@pytest.mark.parametrize("body", [{"reference": ""}, {"reference": 5}, {"reason": "x"}])
def test_a_fault_in_a_restores_body_is_named(body: Any) -> None:
    alice = UserFactory()
    delete(alice, give_key(alice))
    response = restore(deletion_of(alice), give_key(restorer()), body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert fresh(User, alice).is_deleted


def hold(user: User) -> None:
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", user.pk),
        reason="Case 1",
        review_at=None,
        now=timezone.now(),
    )


def erase(user: User) -> None:
    erase_now(actor=Actor.system("test"), subject=Reference("user", user.pk), now=timezone.now())
