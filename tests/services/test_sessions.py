import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import Session, User
from accounts.services import erase_own_account, set_active, soft_delete_own_account
from audit.actors import Actor
from tests.bystanders import charlie_untouched
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    assert client.get("/admin/").status_code == 200
    return client


def actor_of(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)


@pytest.mark.parametrize("way", ["soft delete", "erasure", "deactivation"])
def test_a_session_ends_in_the_transaction_that_ends_the_account(way: str) -> None:
    with charlie_untouched():
        alice = UserFactory(is_staff=True, is_superuser=True)
        client = sign_in(alice)
        assert Session.objects.filter(user=alice).count() == 1
        now = timezone.now()
        if way == "soft delete":
            soft_delete_own_account(actor=actor_of(alice), user_id=alice.pk, now=now)
        elif way == "erasure":
            erase_own_account(actor=actor_of(alice), now=now)
        else:
            system = Actor.system("test")
            set_active(actor=system, user_id=alice.pk, is_active=False, now=now)
        assert not Session.objects.filter(user_id=alice.pk).exists()
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("fields", [{"is_deleted": True}, {"is_active": False}])
def test_a_deleted_or_inactive_user_cannot_sign_in(fields: dict[str, bool]) -> None:
    alice = UserFactory(username="alice", **fields)
    alice.set_password("a long password")
    alice.save()
    assert not Client().login(username="alice", password="a long password")


def test_a_name_that_was_freed_signs_in_its_new_bearer() -> None:
    for fields in ({"is_deleted": True, "is_active": False}, {}):
        user = UserFactory(username="alice", email="alice@example.com", **fields)
        user.set_password(f"password of {user.pk}")
        user.save()
    assert Client().login(username="alice", password=f"password of {user.pk}")
