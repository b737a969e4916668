"""Above a threshold nobody erases alone: one proposes, another one approves what both saw."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure import bulk
from erasure.models import BulkErasure, DeletionRequest
from erasure.purging import purge_due
from tests.admin.desk import delete_softly, said, sign_in, text_of
from tests.bystanders import charlie_untouched
from tests.factories import give_key

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


def test_up_to_the_threshold_one_is_enough(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(3)]
    page = text_of(choose(client, users))
    assert "Erase now" in page
    assert "Propose" not in page


def test_above_it_the_list_leads_to_a_proposal_of_exactly_these(client: Client) -> None:
    sign_in(client, LOOK, ERASE, "accounts.view_user")
    users = [delete_softly(username=f"leaver-{n}") for n in range(4)]
    delete_softly(username="stranger")
    give_key(users[0])
    page = text_of(choose(client, users))
    assert "Propose to erase 4 subjects" in page
    assert "4 subjects, 5 rows" in page
    for user in users:
        assert f"{user.username} ({ids.encode(ids.USER, user.pk)})" in page
        assert f'value="user:{user.pk}"' in page
    assert "stranger" not in page
    assert not BulkErasure.objects.exists()
    assert not DeletionRequest.objects.exclude(state="scheduled").exists()


def test_the_accounts_list_is_no_way_around(client: Client) -> None:
    sign_in(client, "accounts.view_deleteduser", ERASE)
    users = [delete_softly() for _ in range(4)]
    pks = [str(user.pk) for user in users]
    data = {"action": "erase", "index": "0", "_selected_action": pks}
    assert "Propose to erase 4 subjects" in text_of(client.post(ACCOUNTS, data))
    form = {"id": pks, "reference": "CASE-7", "understood": "on"}
    answer = client.post(f"{ACCOUNTS}erase/", form, follow=True)
    assert said(answer) == ["Choose between 1 and 3 of the list. Nothing was done."]
    form["id"] = [str(row.pk) for row in requests_of(users)]
    sign_in(client, LOOK, ERASE)
    answer = client.post(f"{DESK}erase/", form, follow=True)
    assert said(answer) == ["Choose between 1 and 3 of the list. Nothing was done."]
    assert User.objects.filter(pk__in=pks).count() == 4


def test_proposing_writes_it_down_and_does_nothing_else(client: Client) -> None:
    staff = sign_in(client, LOOK, ERASE)
    with charlie_untouched():
        users = [delete_softly() for _ in range(4)]
        proposed = propose(client, users)
    assert (proposed.state, proposed.size, proposed.reference) == ("proposed", 4, "CASE-7")
    assert proposed.proposed_by_id == staff.pk
    assert proposed.subjects == [["user", str(user.pk)] for user in users]
    event = AuditEvent.objects.get(action="bulk.proposed")
    assert (event.actor_id, event.facts) == (staff.pk, {"subjects": 4, "reference": "CASE-7"})
    assert {row.state for row in requests_of(users)} == {"scheduled"}
    assert not LogEntry.objects.exists()


def test_without_a_case_or_with_nobody_there_is_no_proposal(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(4)]
    data = {"subject": [f"user:{user.pk}" for user in users], "reference": ""}
    assert "Please correct" in text_of(client.post(f"{URL}propose/", data))
    client.post(f"{URL}propose/", {"subject": ["nonsense"], "reference": "CASE-7"})
    assert not BulkErasure.objects.exists()


def test_whoever_proposed_it_cannot_approve_it(client: Client) -> None:
    staff = sign_in(client, LOOK, ERASE, APPROVE)
    users = [delete_softly() for _ in range(4)]
    proposed = propose(client, users)
    page = text_of(client.get(f"{URL}{proposed.pk}/change/"))
    assert "It is your own proposal" in page
    assert "Approve" not in page
    answer = approve(client, proposed)
    assert said(answer) == [
        "Nothing was done: whoever proposed it cannot approve it. Somebody else has to."
    ]
    with pytest.raises(bulk.OwnProposal):
        bulk.approve_bulk(actor=actor_of(staff), bulk_id=proposed.pk, now=timezone.now())
    proposed.refresh_from_db()
    assert proposed.state == "proposed"
    assert {row.state for row in requests_of(users)} == {"scheduled"}


def test_the_second_person_sees_the_same_and_approves_it(client: Client) -> None:
    proposer = sign_in(client, LOOK, ERASE)
    with charlie_untouched():
        users = [delete_softly() for _ in range(4)]
        proposed = propose(client, users)
        second = sign_in(client, APPROVE)
        page = text_of(client.get(f"{URL}{proposed.pk}/change/"))
        assert ids.encode(ids.USER, proposer.pk) in page
        assert all(ids.encode(ids.USER, user.pk) in page for user in users)
        answer = approve(client, proposed)
        assert said(answer) == ["Approved. 4 subjects are due now; the next purge erases them."]
        proposed.refresh_from_db()
        assert (proposed.state, proposed.decided_by_id) == ("approved", second.pk)
        rows = requests_of(users)
        assert {row.cause_id for row in rows} == {proposed.pk}
        assert all(row.due_at <= timezone.now() for row in rows)
        assert User.objects.filter(pk__in=[user.pk for user in users]).count() == 4
        purge_due(actor=Actor.system("purge"), clock=timezone.now, canary=False)
    assert not User.objects.filter(pk__in=[user.pk for user in users]).exists()
    page = text_of(client.get(f"{URL}{proposed.pk}/change/"))
    assert 'Erased</td><td class="count">4<' in page
    sign_in(client, LOOK)
    link = client.get(DESK, {"cause": str(proposed.pk)})
    assert len(link.context["cl"].result_list) == 4


def test_what_has_grown_since_the_page_was_shown_is_refused(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    users = [delete_softly() for _ in range(4)]
    proposed = propose(client, users)
    sign_in(client, APPROVE)
    seen = client.get(f"{URL}{proposed.pk}/change/").context["sum"].digest
    give_key(users[0])
    answer = client.post(f"{URL}{proposed.pk}/approve/", {"seen": seen}, follow=True)
    assert "no longer what the page showed" in said(answer)[0]
    proposed.refresh_from_db()
    assert proposed.state == "proposed"


@pytest.mark.parametrize("permissions", [(), (LOOK, ERASE), ("accounts.view_user",)])
def test_each_right_needs_its_own_permission(client: Client, permissions: tuple[str, ...]) -> None:
    proposer = sign_in(client, ERASE)
    users = [delete_softly() for _ in range(4)]
    subjects = [Reference("user", user.pk) for user in users]
    pk = bulk.propose_bulk(
        actor=actor_of(proposer), subjects=subjects, reference="C-1", now=timezone.now()
    )
    sign_in(client, *permissions)
    assert client.get(URL).status_code == 403
    assert client.get(f"{URL}{pk}/change/").status_code == 403
    for verb in ("approve", "reject", "carry-on"):
        assert client.post(f"{URL}{pk}/{verb}/").status_code == 403
        assert client.get(f"{URL}{pk}/{verb}/").status_code == 403
    if ERASE not in permissions:
        data = {"subject": [f"user:{user.pk}" for user in users], "reference": "C-2"}
        assert client.post(f"{URL}propose/", data).status_code == 403
    assert BulkErasure.objects.count() == 1


def test_the_page_of_forty_costs_as_many_queries_as_that_of_four(client: Client) -> None:
    proposer = sign_in(client, ERASE, APPROVE, "accounts.view_user")

    def count(number: int) -> int:
        subjects = [Reference("user", delete_softly().pk) for _ in range(number)]
        pk = bulk.propose_bulk(
            actor=actor_of(proposer), subjects=subjects, reference="C-1", now=timezone.now()
        )
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{URL}{pk}/change/").status_code == 200
        return len(queries)

    count(4)
    few = count(4)
    assert count(40) == few
    assert few <= 20


def test_a_waiting_proposal_is_a_banner_for_those_who_decide(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    propose(client, [delete_softly() for _ in range(4)])
    assert "Bulk erasures are proposed" not in text_of(client.get(DESK))
    sign_in(client, LOOK, APPROVE)
    assert "Bulk erasures are proposed" in text_of(client.get(DESK))
