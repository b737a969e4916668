"""Nobody splits a bulk erasure into small portions: what one person had erased lately counts."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from erasure import executor
from erasure.exceptions import SecondPersonNeeded
from erasure.executor import erase_now
from erasure.foureyes import count_ordered
from erasure.models import BulkErasure, DeletionRequest
from tests.admin.desk import delete_softly, said, sign_in, sign_in_superuser, text_of
from tests.bystanders import charlie_untouched
from tests.factories import ManagedUserFactory, OrganizationFactory, UserFactory
from tests.services.test_ownership_races import race

pytestmark = pytest.mark.django_db

DESK = "/admin/erasure/deletionrequest/"
ACCOUNTS = "/admin/accounts/deleteduser/"
LOOK, ERASE = "erasure.view_deletionrequest", "accounts.erase_user"


@pytest.fixture(autouse=True)
def _threshold(settings: Any) -> None:
    settings.BULK_THRESHOLD = 3


def actor_of(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, channel="admin", person_id=user.pk)


def erase(staff: User, user: Any, **options: Any) -> None:
    about = Reference("user", user.pk)
    erase_now(actor=actor_of(staff), subject=about, now=timezone.now(), **options)


def requests_of(users: list[User]) -> list[DeletionRequest]:
    return list(DeletionRequest.objects.filter(subject_id__in=[it.pk for it in users]))


def form_of(users: list[User]) -> dict[str, Any]:
    pks = [str(row.pk) for row in requests_of(users)]
    return {"id": pks, "reference": "CASE-7", "understood": "on"}


def remaining(users: list[User]) -> int:
    return int(User.objects.filter(pk__in=[user.pk for user in users]).count())


def test_the_next_portion_becomes_a_proposal_and_the_page_says_why(client: Client) -> None:
    staff = sign_in(client, LOOK, ERASE)
    with charlie_untouched():
        users = [delete_softly() for _ in range(5)]
        client.post(f"{DESK}erase/", form_of(users[:2]))
        assert remaining(users) == 3
        assert count_ordered(staff.pk, timezone.now()) == 2
        chosen = [str(row.pk) for row in requests_of(users[2:4])]
        data = {"action": "erase", "index": "0", "_selected_action": chosen}
        page = text_of(client.post(DESK, data))
        assert "Propose to erase 2 subjects" in page
        assert "You have had 2 erased in that time, and these come on top." in page
        page = text_of(client.post(f"{DESK}erase/", form_of(users[2:4])))
        assert "Propose to erase 2 subjects" in page
        assert remaining(users) == 3


def test_what_is_left_of_the_allowance_may_be_used(client: Client) -> None:
    sign_in(client, LOOK, ERASE, "accounts.view_deleteduser")
    users = [delete_softly() for _ in range(4)]
    client.post(f"{DESK}erase/", form_of(users[:2]))
    client.post(f"{DESK}erase/", form_of(users[2:3]))
    assert remaining(users) == 1
    page = text_of(client.get(f"{ACCOUNTS}erase/", {"id": str(users[3].pk)}))
    assert "Propose to erase 1 subject<" in page
    form = {**form_of(users[3:]), "id": [str(users[3].pk)]}
    assert "Propose to erase 1 subject<" in text_of(client.post(f"{ACCOUNTS}erase/", form))
    assert remaining(users) == 1


def test_even_a_superuser_needs_a_second_person(client: Client) -> None:
    staff = sign_in_superuser(client)
    for _ in range(3):
        erase(staff, UserFactory())
    with pytest.raises(SecondPersonNeeded) as caught:
        erase(staff, UserFactory())
    assert (caught.value.done, caught.value.limit) == (3, 3)


def test_what_was_erased_long_ago_or_by_others_does_not_count(settings: Any) -> None:
    staff, other = (UserFactory(is_staff=True, is_superuser=True) for _ in range(2))
    for one in (staff, staff, other, other):
        erase(one, UserFactory())
    assert count_ordered(staff.pk, timezone.now()) == 2
    mine = DeletionRequest.objects.filter(ordered_by_id=staff.pk)
    mine.update(started_at=timezone.now() - timedelta(hours=25))
    assert count_ordered(staff.pk, timezone.now()) == 0
    settings.BULK_WINDOW = timedelta(hours=30)
    assert count_ordered(staff.pk, timezone.now()) == 2


def test_who_goes_along_does_not_count_and_the_shell_is_free() -> None:
    staff = UserFactory(is_staff=True, is_superuser=True)
    acme = OrganizationFactory()
    for _ in range(4):
        ManagedUserFactory(organization=acme)
    about, now = Reference("organization", acme.pk), timezone.now()
    erase_now(actor=actor_of(staff), subject=about, now=now)
    assert count_ordered(staff.pk, now) == 1
    for _ in range(5):
        subject = Reference("user", UserFactory().pk)
        erase_now(actor=Actor.system("erase_user"), subject=subject, now=now)
    assert not DeletionRequest.objects.filter(ordered_by_id=None, cause_id=None).filter(
        requested_by_kind="user"
    )


def test_what_slipped_past_the_page_is_refused_in_plain_words(client: Client) -> None:
    """Somebody's other browser erased meanwhile."""
    staff = sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(2)]
    form = form_of(users)
    real: Any = executor.erase_soon

    def erase_others_first(**options: Any) -> Any:
        while count_ordered(staff.pk, timezone.now()) < 3:
            real(
                actor=options["actor"],
                subject=Reference("user", UserFactory().pk),
                now=options["now"],
            )
        return real(**options)

    from erasure.desk import deletionsteps

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletionsteps, "erase_soon", erase_others_first)
        answer = client.post(f"{DESK}erase/", form, follow=True)
    words = (
        "nothing was done: you have had 3 subjects erased within 24 hours, and more than 3 take a "
        "second person. Choose it again to propose it."
    )
    assert [message.split(": ", 1)[1] for message in said(answer)] == [words, words]
    assert remaining(users) == 2
    assert not BulkErasure.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_at_once_do_not_both_pass_the_count() -> None:
    with charlie_untouched():
        for _ in range(5):
            staff = UserFactory(is_staff=True, is_superuser=True)
            for _ in range(2):
                erase(staff, UserFactory())
            one, two = UserFactory(), UserFactory()
            raised = race(partial(erase, staff, one), partial(erase, staff, two))
            assert sorted(map(str, raised)) == sorted(map(str, [None, SecondPersonNeeded]))
            assert count_ordered(staff.pk, timezone.now()) == 3


@pytest.mark.django_db(transaction=True)
def test_without_the_lock_both_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time in any case")
    monkeypatch.setattr(executor, "lock_orderer", lambda actor: [])
    passed = 0
    for _ in range(5):
        staff = UserFactory(is_staff=True, is_superuser=True)
        for _ in range(2):
            erase(staff, UserFactory())
        raised = race(
            partial(erase, staff, UserFactory()), partial(erase, staff, UserFactory()), patience=5.0
        )
        passed += raised == [None, None]
    assert passed
