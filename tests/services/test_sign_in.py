"""Signing in: what becomes of a password's hash when it is used."""

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password
from django.test import override_settings

from accounts.hashers import DemoPasswordHasher
from accounts.models import User
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
HASHERS = "django.contrib.auth.hashers."


def sign_in_with(encoded: str) -> str:
    """Sign Alice in, whose password is stored so; return how it is stored afterwards."""
    alice = UserFactory(username="alice", password=encoded)
    assert authenticate(username="alice", password="wrong") is None
    assert authenticate(username="alice", password="open sesame") == alice
    stored: str = User.objects.get(pk=alice.pk).password
    return stored


def test_a_password_of_the_demo_keeps_its_mark() -> None:
    encoded = make_password("open sesame", hasher=DemoPasswordHasher.algorithm)
    assert sign_in_with(encoded) == encoded


def test_a_demo_user_who_chooses_a_password_has_a_real_one() -> None:
    encoded = make_password("open sesame", hasher=DemoPasswordHasher.algorithm)
    bob = UserFactory(username="bob", password=encoded)
    assert bob.has_demo_password
    bob.set_password("my own choice")
    assert not bob.has_demo_password


def test_any_other_password_is_hashed_anew_when_its_hash_has_become_weak() -> None:
    class WeakHasher(Argon2PasswordHasher):
        time_cost = 1

    weak = WeakHasher().encode("open sesame", "a salt of sixteen")
    stored = sign_in_with(weak)
    assert stored != weak
    assert stored.startswith("argon2$")


@override_settings(PASSWORD_HASHERS=[f"{HASHERS}Argon2PasswordHasher"])
def test_production_knows_no_password_of_the_demo() -> None:
    encoded = DemoPasswordHasher().encode("open sesame", "a salt of sixteen")
    UserFactory(username="alice", password=encoded)
    assert authenticate(username="alice", password="open sesame") is None
