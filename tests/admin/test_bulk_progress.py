"""What becomes of a bulk erasure once it is decided on."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User, UserGroup
from audit.actors import Actor
from audit.events import Reference
from erasure import bulk
from erasure.desk import bulks
from erasure.exceptions import RightMissing
from erasure.holds import place_hold
from erasure.models import BulkErasure, DeletionRequest
from erasure.purging import purge_due
from erasure.tasks import hand_over
from tests.admin.desk import delete_softly, said, sign_in, text_of
from tests.factories import MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db

DESK = "/admin/erasure/deletionrequest/"
ACCOUNTS = "/admin/accounts/deleteduser/"
URL = "/admin/erasure/bulkerasure/"
LOOK, ERASE = "erasure.view_deletionrequest", "accounts.erase_user"
APPROVE = "erasure.approve_bulkerasure"


@pytest.fixture(autouse=True)
def _threshold(settings: Any) -> None:
    settings.BULK_THRESHOLD = 3


def actor_of(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, channel="admin", person_id=user.pk)


def requests_of(users: list[User]) -> list[DeletionRequest]:
    found = DeletionRequest.objects.filter(subject_id__in=[user.pk for user in users])
    return list(found.order_by("pk"))


def choose(client: Client, users: list[User]) -> Any:
    """Run the list's action on these users' deletions."""
    chosen = [str(row.pk) for row in requests_of(users)]
    data = {"action": "erase", "index": "0", "_selected_action": chosen}
    return client.post(DESK, data, follow=True)


def propose(client: Client, users: list[User], **fields: str) -> BulkErasure:
    data = {"subject": [f"user:{user.pk}" for user in users], "reference": "CASE-7", **fields}
    client.post(f"{URL}propose/", data)
    proposed: BulkErasure = BulkErasure.objects.latest("proposed_at")
    return proposed


def approve(client: Client, proposed: BulkErasure, **fields: str) -> Any:
    page = client.get(f"{URL}{proposed.pk}/change/")
    seen = page.context["sum"].digest
    url = f"{URL}{proposed.pk}/approve/"
    return client.post(url, {"seen": seen, **fields}, follow=True)


def test_a_held_one_is_left_alone_and_the_others_go(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(4)]
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("user", users[0].pk),
        reason="Dispute 9",
        review_at=None,
        now=timezone.now(),
    )
    proposed = propose(client, users)
    sign_in(client, APPROVE)
    page = text_of(client.get(f"{URL}{proposed.pk}/change/"))
    assert "1 of them cannot go now." in page
    assert "on legal hold: Dispute 9" in page
    approve(client, proposed)
    purge_due(actor=Actor.system("purge"), clock=timezone.now, canary=False)
    assert set(User.objects.filter(is_deleted=True)) == {users[0]}


def test_living_users_are_deleted_first_and_a_refused_one_is_named(client: Client) -> None:
    proposer = sign_in(client, ERASE)
    users = [UserFactory() for _ in range(3)]
    owner = UserFactory(username="owner")
    acme = MembershipFactory(user=owner, role="owner").organization
    MembershipFactory(organization=acme)
    subjects = [Reference("user", user.pk) for user in (*users, owner)]
    now = timezone.now()
    pk = bulk.propose_bulk(actor=actor_of(proposer), subjects=subjects, reference="CASE-7", now=now)
    second = sign_in(client, APPROVE, "accounts.view_user")
    bulk.approve_bulk(actor=actor_of(second), bulk_id=pk, now=now)
    done = bulk.carry_out(bulk_id=pk, clock=timezone.now)
    assert done.handed_over == 3
    assert list(done.refused) == [Reference("user", owner.pk)]
    assert bulk.count_progress(BulkErasure.objects.get(pk=pk)) == {"scheduled": 3, "waiting": 1}
    page = text_of(client.get(f"{URL}{pk}/change/"))
    assert "owner (usr_" in page
    assert User.objects.filter(pk=owner.pk, is_deleted=False).exists()
    again = bulk.carry_out(bulk_id=pk, clock=timezone.now)
    assert again.handed_over == 0


def test_carrying_out_goes_on_where_it_stopped(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(5)]
    proposed = propose(client, users)
    second = sign_in(client, APPROVE)
    now = timezone.now()
    assert bulk.carry_out(bulk_id=proposed.pk, clock=timezone.now).handed_over == 0
    bulk.approve_bulk(actor=actor_of(second), bulk_id=proposed.pk, now=now)
    assert bulk.carry_out(bulk_id=proposed.pk, clock=timezone.now, limit=2).handed_over == 2
    answer = client.post(f"{URL}{proposed.pk}/carry-on/", follow=True)
    assert said(answer)[-1] == "3 subjects are due now; the next purge erases them."
    assert bulk.count_progress(proposed) == {"scheduled": 5}


def test_more_than_a_hundred_go_on_in_background(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulks, "AT_ONCE", 2)
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(5)]
    proposed = propose(client, users)
    sign_in(client, APPROVE)
    answer = approve(client, proposed)
    assert said(answer)[-1] == ("Approved. 2 subjects are due now; the others follow in a moment.")
    assert hand_over.func(str(proposed.pk)) == {"handed_over": 3, "refused": 0}
    assert hand_over.func(str(proposed.pk)) == {"handed_over": 0, "refused": 0}
    assert {row.cause_id for row in requests_of(users)} == {proposed.pk}


def test_the_sweep_hands_over_what_a_killed_process_left(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(4)]
    proposed = propose(client, users)
    second = sign_in(client, APPROVE)
    now = timezone.now()
    bulk.approve_bulk(actor=actor_of(second), bulk_id=proposed.pk, now=now)
    assert bulk.carry_on(now, False) == {"handed_over": 4}
    assert {row.cause_id for row in requests_of(users)} == {None}
    assert bulk.carry_on(now, True) == {"handed_over": 4}
    assert bulk.carry_on(now, True) == {"handed_over": 0}
    assert {row.cause_id for row in requests_of(users)} == {proposed.pk}


def test_a_proposer_who_lost_the_right_takes_nobody_along(client: Client) -> None:
    proposer = sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(4)]
    proposed = propose(client, users)
    UserGroup.objects.filter(user=proposer).delete()
    second = sign_in(client, APPROVE)
    bulk.approve_bulk(actor=actor_of(second), bulk_id=proposed.pk, now=timezone.now())
    done = bulk.carry_out(bulk_id=proposed.pk, clock=timezone.now)
    assert {type(error) for error in done.refused.values()} == {RightMissing}
    assert all(row.due_at > timezone.now() for row in requests_of(users))


def test_it_is_decided_once(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(4)]
    proposed = propose(client, users)
    sign_in(client, APPROVE)
    seen = client.get(f"{URL}{proposed.pk}/change/").context["sum"].digest
    answer = client.post(f"{URL}{proposed.pk}/reject/", follow=True)
    assert said(answer) == ["Rejected. Nothing happens to anybody."]
    answer = client.post(f"{URL}{proposed.pk}/approve/", {"seen": seen}, follow=True)
    assert said(answer) == ["Nothing was done: it is rejected already."]
    assert {row.cause_id for row in requests_of(users)} == {None}


def test_the_proposer_may_withdraw_and_a_stranger_may_not(client: Client) -> None:
    sign_in(client, LOOK, ERASE, "erasure.view_bulkerasure")
    proposed = propose(client, [delete_softly() for _ in range(4)])
    sign_in(client, LOOK, ERASE, "erasure.view_bulkerasure")
    url = f"{URL}{proposed.pk}/"
    for verb in ("approve", "reject"):
        assert client.post(f"{url}{verb}/", {"seen": ""}).status_code in (302, 403)
    proposed.refresh_from_db()
    assert proposed.state == "proposed"
    client.force_login(User.objects.get(pk=proposed.proposed_by_id))
    client.post(f"{url}reject/")
    proposed.refresh_from_db()
    assert proposed.state == "rejected"
