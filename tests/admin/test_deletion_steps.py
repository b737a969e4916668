"""What staff do to a deletion from its own page, each thing behind a permission of its own."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from apikeys.models import ApiKey
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure.deleting import schedule_deletion
from erasure.holds import is_held, place_hold
from erasure.models import DeletionRequest, LegalHold
from erasure.planner import make_plan
from tests.admin.desk import days_ago, delete_softly, said, sign_in, sign_in_superuser, text_of
from tests.bystanders import charlie_untouched
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

URL = "/admin/erasure/deletionrequest/"
LOOK, RESTORE, ERASE = (
    "erasure.view_deletionrequest",
    "accounts.restore_user",
    "accounts.erase_user",
)
HOLD, RELEASE = "erasure.add_legalhold", "erasure.change_legalhold"
SYSTEM = Actor.system("test")


def request_of(subject: Any) -> DeletionRequest:
    found: DeletionRequest = DeletionRequest.objects.get(subject_id=subject.pk)
    return found


def page_of(client: Client, subject: Any) -> str:
    return text_of(client.get(f"{URL}{request_of(subject).pk}/change/"))


def confirmed(row: DeletionRequest, **fields: str) -> dict[str, str]:
    plan = f"{row.pk}:{make_plan(row.subject).id}"
    given = {"id": str(row.pk), "plan": plan, "reference": "CASE-7", "understood": "on"}
    return {**given, **fields}


def hold(subject: Any, kind: str = "user") -> None:
    about = Reference(kind, subject.pk)
    place_hold(actor=SYSTEM, subject=about, reason="Dispute 9", review_at=None, now=timezone.now())


def test_restoring_brings_the_account_back_and_leads_to_its_story(client: Client) -> None:
    sign_in(client, LOOK, RESTORE)
    with charlie_untouched():
        alice = delete_softly()
        row = request_of(alice)
        assert f"{URL}restore/?id={row.pk}" in page_of(client, alice)
        answer = client.post(f"{URL}restore/", {"id": str(row.pk), "reference": ""}, follow=True)
    assert answer.redirect_chain[-1][0] == f"{URL}{row.pk}/change/"
    assert "restored." in said(answer)[0]
    assert "The deletion was taken back" in text_of(answer)
    assert User.live.filter(pk=alice.pk).exists()


def test_an_organization_comes_back_with_those_who_went_along(client: Client) -> None:
    sign_in(client, LOOK, "organizations.restore_organization")
    with charlie_untouched():
        acme = OrganizationFactory()
        MembershipFactory(organization=acme, role="owner")
        erin = ManagedUserFactory(organization=acme).user
        subject = Reference("organization", acme.pk)
        schedule_deletion(actor=SYSTEM, subject=subject, now=timezone.now())
        row = request_of(acme)
        page = text_of(client.get(f"{URL}restore/?id={row.pk}"))
        assert "With it come back those who went along: 1." in page
        client.post(f"{URL}restore/", {"id": str(row.pk), "reference": ""})
    acme.refresh_from_db()
    assert not acme.is_deleted
    assert User.live.filter(pk=erin.pk).exists()


def test_whoever_went_along_comes_back_with_its_organization_only(client: Client) -> None:
    sign_in(client, LOOK, RESTORE)
    acme = OrganizationFactory()
    MembershipFactory(organization=acme, role="owner")
    erin = ManagedUserFactory(organization=acme).user
    subject = Reference("organization", acme.pk)
    schedule_deletion(actor=SYSTEM, subject=subject, now=timezone.now())
    row = request_of(erin)
    words = f"it comes back with organization {acme.pk} only"
    assert words in text_of(client.get(f"{URL}restore/?id={row.pk}"))
    answer = client.post(f"{URL}restore/", {"id": str(row.pk), "reference": ""}, follow=True)
    assert f"it came with the deletion of organization {acme.pk}" in said(answer)[0]
    assert not User.live.filter(pk=erin.pk).exists()


def test_a_hold_is_placed_and_released_from_the_page(client: Client) -> None:
    staff = sign_in(client, LOOK, HOLD, RELEASE)
    alice = delete_softly()
    row = request_of(alice)
    data = {"id": str(row.pk), "reason": "Dispute 9", "review_at": "2999-01-01"}
    with charlie_untouched():
        client.post(f"{URL}hold/", data)
        placed = LegalHold.objects.get()
        assert (placed.subject_id, placed.placed_by_id) == (alice.pk, staff.pk)
        page = text_of(client.get(f"{URL}release/?id={row.pk}"))
        assert "Dispute 9" in page
        client.post(f"{URL}release/", {"id": str(row.pk)})
    assert not is_held(row.subject)


def test_erasing_now_takes_everything_of_hers_and_nothing_else(client: Client) -> None:
    staff = sign_in(client, LOOK, ERASE)
    with charlie_untouched():
        alice = delete_softly()
        give_key(alice)
        row = request_of(alice)
        answer = client.post(f"{URL}erase/", confirmed(row), follow=True)
    assert "erased for ever: 1 user, 1 API key." in said(answer)[0]
    assert not User.objects.filter(pk=alice.pk).exists()
    assert not ApiKey.objects.filter(user_id=alice.pk).exists()
    row.refresh_from_db()
    assert row.state == "completed"
    event = AuditEvent.objects.get(subject_id=alice.pk, action="user.erased")
    assert (event.actor_id, event.channel) == (staff.pk, "admin")


def test_what_has_grown_since_the_page_was_shown_is_refused(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    alice = delete_softly()
    row = request_of(alice)
    data = confirmed(row)
    give_key(alice)
    answer = client.post(f"{URL}erase/", data, follow=True)
    assert "it is no longer what the plan says. Look again" in said(answer)[0]
    assert User.objects.filter(pk=alice.pk).exists()
    row.refresh_from_db()
    assert row.state == "scheduled"


def test_a_failed_one_is_tried_again_at_the_next_purge(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    alice = delete_softly(at=days_ago(15))
    failure = {"state": "failed", "attempts": 2, "last_error": "KeyError in execute"}
    later = {"retry_at": timezone.now() + timedelta(hours=1)}
    DeletionRequest.objects.filter(subject_id=alice.pk).update(**failure, **later)
    row = request_of(alice)
    assert "2 attempts failed" in page_of(client, alice)
    assert "KeyError in execute" in text_of(client.get(f"{URL}retry/?id={row.pk}"))
    answer = client.post(f"{URL}retry/", {"id": str(row.pk)}, follow=True)
    assert "the next purge tries it again." in said(answer)[0]
    row.refresh_from_db()
    assert row.retry_at is None
    assert AuditEvent.objects.filter(action="deletion.retried", subject_id=alice.pk).exists()
    DeletionRequest.objects.filter(pk=row.pk).update(state="scheduled")
    again = client.post(f"{URL}retry/", {"id": str(row.pk)}, follow=True)
    assert "it has not failed" in said(again)[0]


STEPS = {
    "restore": RESTORE,
    "hold": HOLD,
    "release": RELEASE,
    "retry": ERASE,
    "erase": ERASE,
}


@pytest.mark.parametrize("slug", STEPS)
def test_each_step_needs_its_own_permission(client: Client, slug: str) -> None:
    others = {LOOK, *STEPS.values(), "erasure.export_subject"} - {STEPS[slug]}
    sign_in(client, *others)
    alice = delete_softly()
    hold(alice)
    row = request_of(alice)
    assert client.get(f"{URL}{slug}/?id={row.pk}").status_code == 403
    data = confirmed(row, reason="x", review_at="2999-01-01")
    assert client.post(f"{URL}{slug}/", data).status_code == 403
    sign_in(client, STEPS[slug])
    assert client.post(f"{URL}{slug}/", data).status_code == 403
    row.refresh_from_db()
    assert row.state == "scheduled"
    assert LegalHold.objects.active().count() == 1


def test_the_right_over_users_is_none_over_organizations(client: Client) -> None:
    sign_in(client, LOOK, ERASE, RESTORE)
    acme = OrganizationFactory()
    MembershipFactory(organization=acme, role="owner")
    subject = Reference("organization", acme.pk)
    schedule_deletion(actor=SYSTEM, subject=subject, now=timezone.now())
    row = request_of(acme)
    page = page_of(client, acme)
    assert "Erase now" not in page
    for slug in ("erase", "restore"):
        client.post(f"{URL}{slug}/", confirmed(row))
    row.refresh_from_db()
    assert row.state == "scheduled"


def test_nothing_is_changed_by_hand(client: Client) -> None:
    sign_in_superuser(client)
    row = request_of(delete_softly(UserFactory()))
    assert client.post(f"{URL}{row.pk}/change/", {"state": "completed"}).status_code == 403
    assert client.get(f"{URL}{row.pk}/delete/").status_code == 403
    assert client.get(f"{URL}add/").status_code == 403


def shown(client: Client, row: DeletionRequest) -> dict[str, str]:
    """Return the form as the page itself would send it."""
    page = text_of(client.get(f"{URL}erase/?id={row.pk}"))
    found = re.search(r'name="plan" value="([^"]+)"', page)
    assert found
    return confirmed(row, plan=found[1])


def test_a_key_more_than_the_page_showed_does_not_stop_an_erasure(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    with charlie_untouched():
        alice = UserFactory()
        give_key(alice)
        row = request_of(delete_softly(alice))
        form = shown(client, row)
        give_key(alice)
        answer = client.post(f"{URL}erase/", form, follow=True)
    assert "erased for ever" in said(answer)[0]
    assert not User.objects.filter(pk=alice.pk).exists()


def test_what_the_page_did_not_show_at_all_does(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    alice = UserFactory()
    row = request_of(delete_softly(alice))
    form = shown(client, row)
    MembershipFactory(user=alice)
    [told] = said(client.post(f"{URL}erase/", form, follow=True))
    assert "organizations.Membership: 1 rows to be removed, none was planned" in told
    assert User.objects.filter(pk=alice.pk).exists()


def test_the_plan_of_another_page_or_a_forged_one_is_refused(client: Client) -> None:
    sign_in(client, LOOK, ERASE)
    alice, bob = (request_of(delete_softly()) for _ in range(2))
    others = shown(client, bob)["plan"].partition(":")[2]
    for plan in (f"{alice.pk}:{others}", f"{alice.pk}:{others[:-1]}", f"{alice.pk}:plan_0"):
        [told] = said(client.post(f"{URL}erase/", confirmed(alice, plan=plan), follow=True))
        assert "The plan that was named is not what would happen now" in told
    assert User.objects.filter(pk=alice.subject_id).exists()
