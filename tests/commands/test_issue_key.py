"""The bootstrap command: prints a secret once, and refuses in words."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from accounts.models import User, UserGroup
from apikeys import scopes
from apikeys.models import ApiKey
from apikeys.verification import VerifiedKey, verify_key
from audit.models import AuditEvent
from contracts import ids
from tests.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db


def run(*args: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("issue_key", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def verified(secret: str) -> VerifiedKey:
    key = verify_key(secret, now=timezone.now())
    assert key is not None
    return key


def refusal(*args: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert not ApiKey.objects.exists()
    assert not AuditEvent.objects.exists()
    return str(caught.value)


def erasing_staff() -> User:
    return staff_with("erase_user")


def staff_with(right: str) -> User:
    staff: User = UserFactory(is_staff=True)
    group = Group.objects.create(name=right)
    group.permissions.add(Permission.objects.get(codename=right))
    UserGroup.objects.create(user=staff, group=group)
    return staff


def test_standard_output_holds_the_secret_and_nothing_else() -> None:
    user = UserFactory(username="alice")
    out, err = run("--user", "alice")
    key = verified(out.strip())
    assert out == out.strip() + "\n"
    assert key.user_id == user.pk
    assert out.strip() not in err


def test_the_secret_is_not_kept() -> None:
    UserFactory(username="alice")
    out, _ = run("--user", "alice")
    row = ApiKey.objects.values().get()
    assert out.strip() not in str(row)
    assert out.strip() not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize("reference", ["name", "id"])
def test_a_user_is_found_by_username_and_by_id(reference: str) -> None:
    user = UserFactory(username="alice")
    out, _ = run("--user", "alice" if reference == "name" else ids.encode(ids.USER, user.pk))
    assert verified(out.strip()).user_id == user.pk


@pytest.mark.parametrize("reference", ["slug", "id"])
def test_an_organization_is_found_by_slug_and_by_id(reference: str) -> None:
    acme = OrganizationFactory(slug="acme")
    out, _ = run("--organization", "acme" if reference == "slug" else str(acme.pk))
    key = verified(out.strip())
    assert (key.organization_id, key.user_id, key.created_by_id) == (acme.pk, None, None)


def test_a_username_that_a_deleted_account_bore_too_means_the_living_one() -> None:
    UserFactory(username="alice", is_deleted=True, is_active=False, email="old@example.com")
    living = UserFactory(username="alice")
    out, _ = run("--user", "alice")
    assert verified(out.strip()).user_id == living.pk


def test_a_user_gets_the_personal_scopes_unless_told_otherwise() -> None:
    UserFactory(username="alice")
    out, _ = run("--user", "alice")
    assert verified(out.strip()).scopes == scopes.PERSONAL


def test_staff_without_the_right_to_erase_get_the_personal_scopes() -> None:
    UserFactory(username="alice", is_staff=True)
    out, _ = run("--user", "alice")
    assert verified(out.strip()).scopes == scopes.PERSONAL


def test_staff_with_the_right_to_erase_get_the_operators_scope_as_well() -> None:
    out, _ = run("--user", erasing_staff().username)
    assert verified(out.strip()).scopes == scopes.PERSONAL | {scopes.USERS_ERASE}


@pytest.mark.parametrize("right", ["restore_user", "restore_organization"])
def test_staff_with_a_right_to_restore_get_the_scope_for_it(right: str) -> None:
    staff = staff_with(right)
    out, _ = run("--user", staff.username)
    assert verified(out.strip()).scopes == scopes.PERSONAL | {scopes.DELETIONS_RESTORE}


def test_a_superuser_gets_every_scope_of_a_persons_key() -> None:
    out, _ = run("--user", UserFactory(is_staff=True, is_superuser=True).username)
    assert verified(out.strip()).scopes == scopes.STAFF


def test_an_organization_gets_the_platform_scopes() -> None:
    OrganizationFactory(slug="acme")
    out, _ = run("--organization", "acme")
    assert verified(out.strip()).scopes == scopes.ORGANIZATION


def test_scopes_can_be_named_one_by_one() -> None:
    UserFactory(username="alice")
    out, _ = run("--user", "alice", "--scope", "account:read", "--scope", "keys:manage")
    assert verified(out.strip()).scopes == {"account:read", "keys:manage"}


def test_json_tells_everything_about_the_key() -> None:
    user = UserFactory(username="alice")
    out, err = run(
        *("--user", "alice", "--name", "deploy", "--scope", "account:read"),
        *("--expires", "2999-01-31T12:00:00+01:00", "--json"),
    )
    told: dict[str, Any] = json.loads(out)
    key = verified(told.pop("secret"))
    assert told == {
        "id": ids.encode(ids.KEY, key.id),
        "name": "deploy",
        "owner": {"kind": "user", "id": ids.encode(ids.USER, user.pk)},
        "scopes": ["account:read"],
        "expires_at": "2999-01-31T12:00:00+01:00",
    }
    assert ApiKey.objects.get().expires_at == datetime(2999, 1, 31, 11, tzinfo=UTC)
    assert err == ""


def test_the_audit_log_names_the_command() -> None:
    user = UserFactory(username="alice")
    run("--user", "alice")
    event = AuditEvent.objects.get()
    assert (event.action, event.actor_kind, event.actor_id) == ("api_key.created", "system", None)
    assert (event.channel, event.subject_id) == ("issue_key", user.pk)
    assert event.facts["key"] == str(ApiKey.objects.get().pk)


def test_an_unknown_user_is_refused() -> None:
    assert refusal("--user", "nobody") == "There is no user 'nobody'."


def test_an_unknown_id_is_refused() -> None:
    unknown = "usr_01h2xcejqtf2nbrexx3vqjhp41"
    assert refusal("--user", unknown) == f"There is no user '{unknown}'."


def test_an_unknown_organization_is_refused() -> None:
    assert refusal("--organization", "nowhere") == "There is no organization 'nowhere'."


def test_a_deleted_user_is_refused() -> None:
    gone = UserFactory(is_deleted=True, is_active=False)
    text = refusal("--user", ids.encode(ids.USER, gone.pk))
    assert text == "This user is deleted or inactive and gets no key. Nothing was done."


def test_a_locked_out_user_is_refused() -> None:
    UserFactory(username="alice", is_active=False)
    text = refusal("--user", "alice")
    assert text == "This user is deleted or inactive and gets no key. Nothing was done."


def test_a_deleted_organization_is_refused() -> None:
    gone = OrganizationFactory(is_deleted=True, is_active=False)
    text = refusal("--organization", str(gone.pk))
    assert text == "This organization is deleted or inactive and gets no key. Nothing was done."


def test_a_scope_that_the_owner_may_not_hold_is_refused() -> None:
    UserFactory(username="alice")
    text = refusal("--user", "alice", "--scope", "users:erase", "--scope", "account:read")
    assert text == "Not grantable to this user: users:erase. Nothing was done."


def test_an_expiry_in_the_past_is_refused() -> None:
    UserFactory(username="alice")
    yesterday = (timezone.now() - timedelta(days=1)).isoformat()
    text = refusal("--user", "alice", "--expires", yesterday)
    assert text == "--expires lies in the past. Nothing was done."


def test_an_expiry_without_an_offset_is_utc() -> None:
    UserFactory(username="alice")
    run("--user", "alice", "--expires", "2999-01-31T12:00")
    assert ApiKey.objects.get().expires_at == datetime(2999, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--user", "alice", "--organization", "acme"),
        ("--user", "alice", "--scope", "everything"),
        ("--user", "alice", "--expires", "soon"),
        ("--user", "alice", "--name", ""),
        ("--user", "alice", "--name", "n" * 101),
        ("--user", "alice", "--name", "two\nlines"),
    ],
)
def test_wrong_usage_is_refused(args: tuple[str, ...]) -> None:
    UserFactory(username="alice")
    OrganizationFactory(slug="acme")
    refusal(*args)
