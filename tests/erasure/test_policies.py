"""How declarations are kept, and when a closure is built anew."""

import pytest

from accounts.models import DeletedUser, User
from accounts.policies import UserKind
from erasure import policies
from erasure.closure import closure_of, steps_of
from erasure.policies import DELETE, Loose, all_policies, declared, policy, policy_of
from erasure.subjects import get_kind, register

pytestmark = pytest.mark.usefixtures("declarations")


def test_a_proxy_has_the_policy_of_its_model() -> None:
    assert policy_of(DeletedUser) is policy_of(User)


def test_only_what_is_installed_counts() -> None:
    labels = [found.label for found in all_policies()]
    assert labels == sorted(labels, key=str.lower)
    assert "auth.User" not in labels
    assert "auth.user" in policies._policies
    assert set(declared()) == {found.model for found in all_policies()}


def test_the_last_declaration_wins() -> None:
    policy("auth.Group", opaque=["id", "name"], nobody="Mine.")
    (found,) = [one for one in all_policies() if one.label == "auth.Group"]
    assert found.nobody == "Mine."


def test_every_name_in_a_declaration_is_a_declared_field() -> None:
    policy(
        "x.Y",
        links={"a": DELETE},
        loose=[Loose("b", kind="user", kind_field="c", fate=DELETE)],
        personal=["d"],
        secret=["e"],
        opaque=["f"],
        harmless={"g": "So."},
    )
    assert policies._policies["x.y"].fields == set("abcdefg")


def test_a_closure_is_built_once_and_anew_after_a_change() -> None:
    first = closure_of("user")
    assert closure_of("user") is first
    assert steps_of("user") is first.steps
    policy("auth.Group", opaque=["id", "name"], nobody="Mine.")
    second = closure_of("user")
    assert second is not first
    register(UserKind())
    assert closure_of("user") is not second
    assert closure_of("user").kind is get_kind("user")


def test_an_unknown_kind_has_none() -> None:
    with pytest.raises(KeyError):
        closure_of("alien")
