"""``/v1/api-keys``: create, list, rename, revoke."""

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apikeys import scopes
from apikeys.models import ApiKey
from apikeys.verification import verify_key
from audit.models import AuditEvent
from contracts import ids
from tests.bystanders import charlie_untouched
from tests.contracts.transcript import Call
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db


def ask(key: str, method: str = "GET", path: str = "", body: Any = None) -> Any:
    raw = json.dumps(body).encode() if body is not None else b""
    call = Call(method, f"/v1/api-keys{path}", {"Authorization": f"Bearer {key}"}, raw)
    return call.send()


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_key_is_shown_once_and_only_its_digest_is_kept() -> None:
    alice = UserFactory()
    response = ask(give_key(alice), "POST", body={"name": "deploy", "expires_in_days": 90})
    assert response.status_code == 201
    made = response.json()
    secret = made.pop("secret")
    assert re.fullmatch(r"sk-[0-9A-Za-z]{36}", secret)
    key = ApiKey.objects.get(name="deploy")
    assert made["id"] == ids.encode(ids.KEY, key.pk)
    assert made["scopes"] == sorted(scopes.PERSONAL)
    assert key.expires_at
    assert timedelta(days=89) < key.expires_at - timezone.now() <= timedelta(days=90)
    assert secret not in str(ApiKey.objects.values().get(pk=key.pk))
    assert secret not in ask(give_key(alice)).content.decode()
    assert secret not in str(list(AuditEvent.objects.values()))
    verified = verify_key(secret, now=timezone.now())
    assert verified
    assert verified.user_id == alice.pk


def test_the_list_holds_ones_own_keys_and_those_of_organizations_one_runs() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key = give_key(alice)
        run = MembershipFactory(user=alice, role="admin").organization
        joined = MembershipFactory(user=alice).organization
        give_key(run)
        give_key(joined)
        listed = ask(key).json()["data"]
        assert {row["organization_id"] for row in listed} == {None, str(run.pk)}
        narrow = give_key(alice, scopes.KEYS_MANAGE)
        assert {row["organization_id"] for row in ask(narrow).json()["data"]} == {None}


def test_an_organizations_key_is_made_by_who_runs_it() -> None:
    alice = UserFactory()
    run = MembershipFactory(user=alice, role="admin").organization
    joined = MembershipFactory(user=alice).organization
    key = give_key(alice)
    made = ask(key, "POST", body={"name": "platform", "organization_id": str(run.pk)})
    assert made.status_code == 201
    assert made.json()["scopes"] == sorted(scopes.PLATFORM)
    row = ApiKey.objects.get(name="platform")
    assert (row.organization_id, row.user_id, row.created_by_id) == (run.pk, None, alice.pk)
    for other in (joined, OrganizationFactory()):
        body = {"name": "platform", "organization_id": str(other.pk)}
        assert code(ask(key, "POST", body=body)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ([scopes.KEYS_MANAGE], [scopes.ACCOUNT_DELETE]),
        (sorted(scopes.PERSONAL), [scopes.USERS_ERASE]),
        (sorted(scopes.PERSONAL), [scopes.USERS_DELETE]),
        (sorted(scopes.PERSONAL), ["nonsense"]),
        ([scopes.KEYS_MANAGE, scopes.USERS_ERASE], [scopes.USERS_ERASE]),
    ],
)
def test_nobody_grants_what_they_do_not_hold(held: list[str], wanted: list[str]) -> None:
    key = give_key(UserFactory(), *held)
    response = ask(key, "POST", body={"name": "more", "scopes": wanted})
    assert code(response) == (403, "SCOPES_NOT_GRANTABLE")
    assert not ApiKey.objects.filter(name="more").exists()


def test_a_key_is_renamed() -> None:
    alice = UserFactory()
    key = give_key(alice)
    own = ids.encode(ids.KEY, ApiKey.objects.get(user=alice).pk)
    response = ask(key, "PATCH", f"/{own}", {"name": "Laptop ✓"})
    assert (response.status_code, response.json()["name"]) == (200, "Laptop ✓")


def test_a_revoked_key_is_dead_at_once_and_stays_in_the_list() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key, other = give_key(alice), give_key(alice)
        row = ApiKey.objects.get(hint__endswith=other[-4:], user=alice)
        shown = ids.encode(ids.KEY, row.pk)
        response = ask(key, "DELETE", f"/{shown}")
        assert (response.status_code, response.content) == (204, b"")
        assert ask(other).status_code == 401
        assert code(ask(key, "DELETE", f"/{shown}")) == (404, "API_KEY_NOT_FOUND")
        assert code(ask(key, "PATCH", f"/{shown}", {"name": "x"})) == (404, "API_KEY_NOT_FOUND")
        listed = {each["id"]: each["revoked_at"] for each in ask(key).json()["data"]}
    assert listed[shown]
    assert AuditEvent.objects.filter(action="api_key.revoked", subject_id=alice.pk).count() == 1


def test_somebody_elses_key_looks_like_none() -> None:
    with charlie_untouched():
        key = give_key(UserFactory())
        theirs = ApiKey.objects.filter(user__username="charlie").get()
        for shown in (ids.encode(ids.KEY, theirs.pk), "key_x", "", "%00"):
            for method, body in (("DELETE", None), ("PATCH", {"name": "mine"})):
                response = ask(key, method, f"/{shown}", body)
                assert code(response) == (404, "API_KEY_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"name": 5}, ["name"]),
        ({"name": "a\u0000b"}, ["name"]),
        ({"name": "a\n"}, ["name"]),
        ({"name": "a", "scopes": "account:read"}, ["scopes"]),
        ({"name": "a", "expires_in_days": "7"}, ["expires_in_days"]),
        ({"name": "a", "expires_in_days": True}, ["expires_in_days"]),
        ({"name": "a", "expires_in_days": 0}, ["expires_in_days"]),
        ({"name": "a", "secret": "mine", "user": "x"}, ["secret", "user"]),
    ],
)
def test_each_fault_in_a_body_is_named(body: dict[str, Any], fields: list[str]) -> None:
    response = ask(give_key(UserFactory()), "POST", body=body)
    assert code(response) == (422, "VALIDATION_ERROR")
    faults = response.json()["error"]["details"]["faults"]
    assert sorted({fault["loc"][1] for fault in faults}) == fields
    assert ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"[]", "application/json", (400, "INVALID_BODY")),
        (b"{", "application/json", (400, "INVALID_BODY")),
        (b'{"name": "\\ud800"}', "application/json", (400, "INVALID_BODY")),
        (b"name=x", "application/x-www-form-urlencoded", (415, "UNSUPPORTED_MEDIA_TYPE")),
        (b" " * 70000, "application/json", (413, "BODY_TOO_LARGE")),
    ],
)
def test_a_body_of_another_form_is_refused(
    body: bytes, content_type: str, expected: tuple[int, str]
) -> None:
    headers = {"Authorization": f"Bearer {give_key(UserFactory())}"}
    response = Call("POST", "/v1/api-keys", headers, body, content_type).send()
    assert code(response) == expected


def test_a_key_without_the_right_manages_nothing() -> None:
    key = give_key(UserFactory(), scopes.ACCOUNT_READ)
    for method in ("GET", "POST"):
        assert code(ask(key, method, body={"name": "x"})) == (403, "INSUFFICIENT_PERMISSIONS")


def test_last_use_is_written_at_most_once_a_minute() -> None:
    alice = UserFactory()
    key = give_key(alice)
    ask(key)
    first = ApiKey.objects.get(user=alice).last_used_at
    assert first
    ask(key)
    assert ApiKey.objects.get(user=alice).last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    ask(key)
    second = ApiKey.objects.get(user=alice).last_used_at
    assert second
    assert second >= first


def test_the_prefix_is_a_setting(settings: Any) -> None:
    settings.API_KEY_PREFIX, settings.API_KEY_PREFIXES = "sk-social-", ("sk-social-",)
    key = give_key(UserFactory())
    assert key.startswith("sk-social-")
    assert ask(key).status_code == 200
    assert verify_key("sk-" + key.removeprefix("sk-social-"), now=timezone.now()) is None
