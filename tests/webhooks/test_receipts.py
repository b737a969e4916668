"""What recipients of the whole instance answer stands in the receipt and in the story (Art. 19)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import receipts, signing
from erasure.desk.sources import gather
from erasure.desk.story import tell_story
from erasure.executor import erase_now
from erasure.models import DeletionRequest
from erasure.notified import recipients_of
from erasure.typeids import spell_id
from organizations.webhooks.delivering import give_up
from organizations.webhooks.events import USER_ERASED
from organizations.webhooks.models import Delivery, Endpoint
from tests.bystanders import charlie_untouched
from tests.factories import MembershipFactory, UserFactory
from tests.webhooks.endpoints import deliver_all, make_endpoint
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


def erase(user: Any) -> DeletionRequest:
    erase_now(actor=SYSTEM, subject=Reference("user", user.pk), now=timezone.now())
    return DeletionRequest.objects.get(subject_id=user.pk)


def claims_of(request: DeletionRequest) -> dict[str, Any]:
    return receipts.verify(receipts.receipt_of(request), signing.key_set()["keys"])


def chapters(request: DeletionRequest) -> str:
    told = tell_story(gather(request), now=timezone.now())
    return "\n".join("\n".join((one.title, *one.lines)) for one in told)


def test_an_acknowledgement_is_added_and_the_receipt_signed_again(receiver: Receiver) -> None:
    with charlie_untouched():
        alice = UserFactory()
        endpoint, _ = make_endpoint(None, receiver.url, USER_ERASED, name="Mailing list")
        make_endpoint(MembershipFactory(user=alice).organization, receiver.url, USER_ERASED)
        deletion = erase(alice)
        before = receipts.receipt_of(deletion)
        assert "Mailing list" not in str(claims_of(deletion)["told"])
        assert "is told next" in chapters(deletion)
        deliver_all()
        deletion.refresh_from_db()
    assert receipts.receipt_of(deletion) != before
    shown = spell_id("whk", endpoint.pk)
    [line] = [one for one in claims_of(deletion)["told"] if "Mailing" in one]
    assert line.startswith(f"Mailing list ({shown}): acknowledged on 2")
    [recipient] = recipients_of(deletion)
    assert recipient.state == "acknowledged"
    assert "Every recipient acknowledged the erasure" in chapters(deletion)
    assert chapters(deletion).count("Mailing list") == 1
    event = AuditEvent.objects.get(action="recipient.told")
    assert (event.outcome, event.facts["recipient"]) == ("done", shown)


def test_a_recipient_that_cannot_be_told_is_named_in_the_receipt(receiver: Receiver) -> None:
    receiver.answer = lambda request: (500, {}, b"no")
    make_endpoint(None, receiver.url, USER_ERASED, name="Analytics")
    deletion = erase(UserFactory())
    at = timezone.now()
    deliver_all(at)
    assert "has not answered yet, after 1 try (status 500)" in chapters(deletion)
    while left := Delivery.objects.pending().first():
        at = max(at, left.next_try_at or at)
        deliver_all(at)
    deletion.refresh_from_db()
    [line] = claims_of(deletion)["told"][-1:]
    assert "Analytics" in str(claims_of(deletion)["told"])
    assert "not reached, given up" in str(claims_of(deletion)["told"])
    assert line
    assert "A recipient could not be told of the erasure" in chapters(deletion)
    assert AuditEvent.objects.get(action="recipient.told").outcome == "failed"
    # It is the law that it is told: it is never switched off by itself.
    assert Endpoint.objects.get().is_active


def test_switching_a_recipient_off_tells_of_whom_it_was_not_told(receiver: Receiver) -> None:
    endpoint, _ = make_endpoint(None, receiver.url, USER_ERASED, name="Analytics")
    deletion = erase(UserFactory())
    with transaction.atomic():
        assert give_up(endpoint.pk, "given up: the endpoint is disabled", now=timezone.now()) == 1
    deletion.refresh_from_db()
    assert "given up: the endpoint is disabled" in str(claims_of(deletion)["told"])


def test_a_row_that_was_changed_is_not_signed_again(receiver: Receiver) -> None:
    make_endpoint(None, receiver.url, USER_ERASED)
    deletion = erase(UserFactory())
    DeletionRequest.objects.update(counts={"accounts.User": 7})
    deliver_all()
    assert Delivery.objects.get().state == "delivered"
    deletion.refresh_from_db()
    assert "acknowledged" not in str(deletion.told)
    with pytest.raises(signing.InvalidReceipt):
        claims_of(deletion)


def test_an_acknowledgement_is_stated_once(receiver: Receiver) -> None:
    endpoint, _ = make_endpoint(None, receiver.url, USER_ERASED)
    deletion = erase(UserFactory())
    now = timezone.now()
    deliver_all(now)
    Delivery.objects.filter(endpoint=endpoint).update(state="pending", next_try_at=now)
    deliver_all(now + timedelta(seconds=1))
    deletion.refresh_from_db()
    assert len([one for one in claims_of(deletion)["told"] if "acknowledged" in one]) == 1


def test_a_recipient_that_answers_at_last_is_no_failure_any_more(receiver: Receiver) -> None:
    endpoint, _ = make_endpoint(None, receiver.url, USER_ERASED)
    deletion = erase(UserFactory())
    now = timezone.now()
    with transaction.atomic():
        give_up(endpoint.pk, "given up", now=now)
    Delivery.objects.update(state="pending", next_try_at=now)
    deliver_all(now)
    deletion.refresh_from_db()
    told = str(claims_of(deletion)["told"])
    assert "acknowledged" in told
    assert "given up" not in told
