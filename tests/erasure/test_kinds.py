"""What users and organizations say about themselves as subjects of deletion."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.exceptions import NameTaken
from accounts.models import Session, User
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.events import Reference
from erasure.subjects import REMOVED, get_kind, lock_subject
from organizations.exceptions import SlugTaken
from organizations.models import Organization
from tests.bystanders import charlie_untouched
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

NOW = timezone.now()
SYSTEM = Actor.system("test")
USERS, ORGANIZATIONS = get_kind("user"), get_kind("organization")


def read(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def test_a_user_is_suspended_and_resumed_as_it_was() -> None:
    with charlie_untouched():
        alice = UserFactory(is_active=False)
        SessionFactory(user=alice)
        give_key(alice)
        before = USERS.suspend(lock_subject(Reference("user", alice.pk)), actor=SYSTEM, now=NOW)
        assert before == {"is_active": False, REMOVED: {"accounts.Session": 1}}
        gone = read(alice)
        assert (gone.is_deleted, gone.is_active, gone.deleted_at) == (True, False, NOW)
        assert USERS.is_suspended(gone)
        assert not Session.objects.filter(user=alice).exists()
        USERS.resume(gone, before, actor=SYSTEM)
    back = read(alice)
    assert (back.is_deleted, back.is_active, back.deleted_at) == (False, False, None)
    assert ApiKey.objects.get(user=alice).revoked_at == NOW, "credentials never come back"


@pytest.mark.parametrize("field", ["username", "email"])
def test_a_user_whose_name_is_taken_does_not_come_back(field: str) -> None:
    alice = UserFactory(username="alice", email="alice@example.com")
    before = USERS.suspend(alice, actor=SYSTEM, now=NOW)
    assert USERS.foresee_resume(alice) == ""
    taken = {"username": "alice"} if field == "username" else {"email": "ALICE@example.com"}
    UserFactory(**taken)
    assert "Somebody else bears the" in USERS.foresee_resume(alice)
    with pytest.raises(NameTaken) as refused:
        USERS.resume(alice, before, actor=SYSTEM)
    assert refused.value.field == field
    assert read(alice).is_deleted


def test_a_name_that_is_taken_at_the_last_instant_is_refused_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice = UserFactory(username="alice")
    before = USERS.suspend(alice, actor=SYSTEM, now=NOW)
    UserFactory(username="alice", email="other@example.com")
    # The look finds nothing, as it does when somebody commits right after it.
    monkeypatch.setattr("accounts.policies._find_taken", lambda user: "")
    with pytest.raises(NameTaken):
        USERS.resume(alice, before, actor=SYSTEM)
    assert read(alice).is_deleted


def test_an_organization_is_suspended_with_its_keys_and_resumed_without_them() -> None:
    with charlie_untouched():
        acme = OrganizationFactory()
        erin = ManagedUserFactory(organization=acme).user
        give_key(acme)
        before = ORGANIZATIONS.suspend(acme, actor=SYSTEM, now=NOW)
        assert before == {"is_active": True, "owned": False}
        gone = read(acme)
        assert (gone.is_deleted, gone.is_active, gone.deleted_at) == (True, False, NOW)
        assert read(erin).is_active, "its companions have deletions of their own"
        ORGANIZATIONS.resume(gone, before, actor=SYSTEM)
    back = read(acme)
    assert (back.is_deleted, back.is_active, back.deleted_at) == (False, True, None)
    assert ApiKey.objects.get(organization=acme).revoked_at == NOW


def test_an_organization_whose_slug_is_taken_does_not_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    acme = OrganizationFactory(slug="acme")
    before = ORGANIZATIONS.suspend(acme, actor=SYSTEM, now=NOW)
    assert ORGANIZATIONS.foresee_resume(acme) == ""
    OrganizationFactory(slug="acme")
    assert ORGANIZATIONS.foresee_resume(acme)
    for _ in range(2):
        with pytest.raises(SlugTaken):
            ORGANIZATIONS.resume(acme, before, actor=SYSTEM)
        monkeypatch.setattr("organizations.policies._is_taken", lambda organization: False)
    assert Organization.objects.get(pk=acme.pk).is_deleted


def test_a_sole_owner_is_blocked_and_no_one_else() -> None:
    owner = MembershipFactory(role="owner", organization__name="Acme").user
    shared = OrganizationFactory()
    both = [MembershipFactory(role="owner", organization=shared).user for _ in range(2)]
    member = MembershipFactory().user
    everybody = [owner, *both, member]
    found = USERS.blockers([one.pk for one in everybody])
    assert set(found) == {owner.pk, *(one.pk for one in both)}, "both at once leave nobody"
    assert found[owner.pk][0].text == "It would leave without an owner: Acme"
    assert set(USERS.blockers([both[0].pk])) == set()
    assert USERS.blockers([]) == {}


def test_a_user_who_was_deleted_before_owns_nothing_any_more() -> None:
    membership = MembershipFactory(role="owner")
    MembershipFactory(role="owner", organization=membership.organization)
    User.objects.filter(pk=membership.user_id).update(is_deleted=True, is_active=False)
    assert USERS.blockers([membership.user_id]) == {}


def test_an_organization_is_blocked_by_a_managed_user_who_alone_owns_another() -> None:
    acme = OrganizationFactory()
    erin = ManagedUserFactory(organization=acme).user
    MembershipFactory(role="owner", organization=acme, user=erin)
    assert ORGANIZATIONS.blockers([acme.pk]) == {}, "its own does not stand in its way"
    MembershipFactory(role="owner", organization__name="Other", user=erin)
    (blocker,) = ORGANIZATIONS.blockers([acme.pk])[acme.pk]
    assert (blocker.code, blocker.facts["organizations"][0]["name"]) == ("sole_owner", "Other")
    ORGANIZATIONS.lock_family([acme.pk])


def test_the_users_that_an_organization_manages_are_its_companions() -> None:
    acme, other = OrganizationFactory(), OrganizationFactory()
    erin = ManagedUserFactory(organization=acme).user
    MembershipFactory(organization=acme)
    assert ORGANIZATIONS.companions([acme.pk, other.pk]) == {acme.pk: [Reference("user", erin.pk)]}


def test_both_are_found_by_what_staff_type_and_have_addresses() -> None:
    alice = UserFactory(username="alice", email="a@example.com", name="Alice Liddell")
    acme = OrganizationFactory(name="Acme Ltd", slug="acme")
    MembershipFactory(role="owner", organization=acme, user=alice)
    MembershipFactory(role="owner", organization=acme, user=UserFactory(email="", name=""))
    for text in ("alic", "A@EXAMPLE", "liddell"):
        condition = USERS.search(text)
        assert condition is not None
        assert list(User.objects.filter(condition)) == [alice]
    for text in ("acme l", "ACME"):
        condition = ORGANIZATIONS.search(text)
        assert condition is not None
        assert list(Organization.objects.filter(condition)) == [acme]
    assert USERS.search("") is None
    assert ORGANIZATIONS.search("") is None
    assert USERS.addresses(alice) == ["a@example.com"]
    assert USERS.addresses(UserFactory(email="")) == []
    assert ORGANIZATIONS.addresses(acme) == ["a@example.com"]
    assert (USERS.label(alice), ORGANIZATIONS.label(acme)) == ("alice", "Acme Ltd")
    assert USERS.born(alice) == alice.date_joined
    assert ORGANIZATIONS.born(acme) == acme.created_at
