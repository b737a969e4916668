"""Subscriptions attached, read and heard of: the shell, the API, Stripe's own calls, staff."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from stripe import WebhookSignature

from apikeys import scopes
from audit.actors import Actor
from audit.models import AuditEvent
from erasure.exceptions import RightMissing
from organizations.billing.models import BillingOrder, Subscription
from organizations.billing.orders import order_cancel
from organizations.billing.subscriptions import attach_subscription
from tests.admin.desk import said, sign_in, text_of
from tests.billing.fakestripe import FakeStripe, Fault
from tests.billing.subscribers import (
    SYSTEM,
    acting,
    name_of,
    order_of,
    orders_of,
    owner_of,
    settle,
    subscribed,
)
from tests.bystanders import charlie_untouched, read_rows
from tests.commands.shell import run, run_json
from tests.factories import OrganizationFactory, UserFactory, give_key
from tests.house.asking import ask, refused

pytestmark = pytest.mark.django_db

SECRET = "whsec_test"
ORDERS = "/admin/billing/billingorder/"
VIEW, CHANGE = "billing.view_billingorder", "billing.change_billingorder"


# --- attaching ------------------------------------------------------------------------------------


def test_a_subscription_is_attached_after_a_look_at_it(stripe: FakeStripe) -> None:
    with charlie_untouched():
        acme = OrganizationFactory(slug="acme")
        name = stripe.add_subscription(status="trialing")
        assert run("attach_subscription", "acme", name) == (0, f"acme pays by {name}.\n")
    found = Subscription.objects.get(organization=acme)
    assert (found.subscription, found.status) == (name, "trialing")
    assert found.customer == stripe.objects[name]["customer"]
    event = AuditEvent.objects.get(action="subscription.attached")
    assert (event.subject_id, event.facts) == (acme.pk, {"subscription": name})


def test_what_cannot_be_attached_is_refused_in_plain_words(stripe: FakeStripe) -> None:
    with charlie_untouched():
        acme, other = OrganizationFactory(slug="acme"), subscribed(stripe)
        before = read_rows()
        taken = name_of(other)
        ended = stripe.add_subscription(status="canceled")
        fresh = stripe.add_subscription()
        none = "Refused: Stripe knows no such subscription, or it has ended."
        has = "Refused: the organization has a subscription, or another one has this."
        assert run("attach_subscription", "acme", "sub_none") == (1, none)
        assert run("attach_subscription", "acme", ended) == (1, none)
        assert run("attach_subscription", "acme", taken) == (1, has)
        assert run("attach_subscription", str(other.pk), fresh) == (1, has)
        assert run("attach_subscription", "nobody", fresh)[0] == 2
        stripe.faults.append(Fault("GET", 500))
        assert run("attach_subscription", str(acme.pk), fresh) == (
            1,
            "Refused: Stripe fails (500).",
        )
        assert read_rows() == before


def test_without_a_key_the_shell_says_so() -> None:
    OrganizationFactory(slug="acme")
    told = "Refused: STRIPE_API_KEY is not set, so Stripe cannot be asked."
    assert run("attach_subscription", "acme", "sub_1") == (1, told)


def test_one_that_was_ordered_to_end_is_never_attached_again(stripe: FakeStripe) -> None:
    acme, gone = OrganizationFactory(slug="acme"), subscribed(stripe)
    name = name_of(gone)
    order_cancel([gone.pk], actor=SYSTEM, now=timezone.now())
    gone.delete()
    assert run("attach_subscription", "acme", name)[0] == 1
    assert not Subscription.objects.filter(organization=acme).exists()


@pytest.mark.parametrize("is_staff", [False, True])
def test_an_owner_attaches_nothing(stripe: FakeStripe, is_staff: bool) -> None:
    """Nor do staff without the right: whoever names a stranger's subscription could end it."""
    somebody = UserFactory(is_staff=is_staff)
    acme, name = OrganizationFactory(), stripe.add_subscription()
    with pytest.raises(RightMissing):
        attach_subscription(
            actor=acting(somebody), organization_id=acme.pk, subscription=name, now=timezone.now()
        )
    assert not stripe.calls


# --- reading --------------------------------------------------------------------------------------


def path_of(organization: Any) -> str:
    return f"/v1/organizations/{organization.pk}/subscription"


def test_a_member_reads_it() -> None:
    with charlie_untouched():
        acme = subscribed()
        key = give_key(owner_of(acme))
        answer = ask("GET", path_of(acme), key)
    found = Subscription.objects.get(organization=acme)
    told_at = found.told_at.isoformat().replace("+00:00", "Z")
    assert answer.status_code == 200
    assert answer.json() == {
        "id": found.subscription,
        "status": "active",
        "told_at": told_at,
        "ordered": None,
    }
    order_cancel([acme.pk], actor=SYSTEM, now=timezone.now())
    assert ask("GET", path_of(acme), key).json()["ordered"] == "cancel"


def test_nobody_else_does() -> None:
    acme = subscribed()
    stranger = give_key(UserFactory())
    assert refused(ask("GET", path_of(acme), stranger)) == (404, "ORGANIZATION_NOT_FOUND")
    assert refused(ask("GET", path_of(acme), give_key(acme)))[0] == 403
    assert refused(ask("GET", path_of(acme)))[0] == 401
    assert refused(ask("GET", "/v1/organizations/x/subscription", stranger))[0] == 404
    narrow = give_key(owner_of(acme), scopes.ACCOUNT_READ)
    assert refused(ask("GET", path_of(acme), narrow))[0] == 403


def test_one_that_has_none_says_so() -> None:
    acme = subscribed()
    Subscription.objects.filter(organization=acme).delete()
    answer = ask("GET", path_of(acme), give_key(owner_of(acme)))
    assert refused(answer) == (404, "SUBSCRIPTION_NOT_FOUND")


# --- hearing --------------------------------------------------------------------------------------


def send(event: Any, secret: str = SECRET, at: int | None = None, body: str = "") -> Any:
    text = json.dumps(event)
    header = WebhookSignature.generate_signature_header(text, secret, at)
    return Client().post(
        "/billing/stripe",
        body or text,
        content_type="application/json",
        headers={"Stripe-Signature": header},
    )


def event_about(name: str, status: str, at: datetime) -> dict[str, Any]:
    return {
        "object": "event",
        "type": "customer.subscription.updated",
        "created": int(at.timestamp()),
        "data": {"object": {"id": name, "object": "subscription", "status": status}},
    }


def test_stripe_tells_of_a_change(settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    with charlie_untouched():
        acme = subscribed()
        now = datetime.now(UTC)
        later, earlier = now + timedelta(minutes=2), now - timedelta(days=1)
        name = name_of(acme)
        assert send(event_about(name, "past_due", later)).status_code == 200
        # Events may come in any order, and of strangers.
        assert send(event_about(name, "trialing", earlier)).status_code == 200
        assert send(event_about("sub_strange", "active", later)).status_code == 200
        other = {**event_about(name, "active", later), "type": "invoice.paid"}
        assert send(other).status_code == 200
    assert Subscription.objects.get(organization=acme).status == "past_due"


def test_what_is_not_genuine_is_refused(settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    acme = subscribed()
    event = event_about(name_of(acme), "canceled", datetime.now(UTC) + timedelta(minutes=1))
    assert send(event, secret="whsec_other").status_code == 400
    assert send(event, at=int(time.time()) - 3600).status_code == 400
    assert send(event, body=json.dumps(event).replace("canceled", "trialing")).status_code == 400
    assert Client().post("/billing/stripe", b"\xff", content_type="text/plain").status_code == 400
    assert Client().get("/billing/stripe").status_code == 405
    assert Subscription.objects.get(organization=acme).status == "active"
    settings.STRIPE_WEBHOOK_SECRET = ""
    assert send(event).status_code == 404


# --- staff and shell ------------------------------------------------------------------------------


def waiting(stripe: FakeStripe) -> BillingOrder:
    """Return an order that has failed once."""
    acme = subscribed(stripe)
    order_cancel([acme.pk], actor=SYSTEM, now=timezone.now())
    stripe.faults.append(Fault("GET", 500))
    settle()
    return order_of(acme)


def test_staff_try_again_at_once(stripe: FakeStripe, client: Client) -> None:
    sign_in(client, VIEW, CHANGE)
    with charlie_untouched():
        order = waiting(stripe)
        page = text_of(client.get(f"{ORDERS}retry/?id={order.pk}"))
        assert "The last try ended with: Stripe fails (500)." in page
        told = said(client.post(f"{ORDERS}retry/", {"id": str(order.pk)}, follow=True))
        assert told == [f"Billing order to cancel {order.subscription}: is tried at once."]
        assert settle().confirmed == 1
    assert stripe.cancels == {order.subscription: 1}
    assert AuditEvent.objects.filter(action="subscription.order_retried").count() == 1


def test_staff_settle_by_hand_under_a_case(stripe: FakeStripe, client: Client) -> None:
    staff = sign_in(client, VIEW, CHANGE)
    order = waiting(stripe)
    data = {"id": str(order.pk), "reference": ""}
    assert "This field is required" in text_of(client.post(f"{ORDERS}settle/", data))
    client.post(f"{ORDERS}settle/", {**data, "reference": "CASE-9"}, follow=True)
    order.refresh_from_db()
    assert (order.state, order.outcome) == ("confirmed", "settled by hand")
    event = AuditEvent.objects.get(action="subscription.cancelled")
    assert (event.actor_id, event.facts["reference"]) == (staff.pk, "CASE-9")


def test_who_may_only_look_changes_nothing(stripe: FakeStripe, client: Client) -> None:
    sign_in(client, VIEW)
    order = waiting(stripe)
    page = text_of(client.get(ORDERS))
    assert order.subscription in page
    assert "Stripe fails (500)" in page
    assert client.get(f"{ORDERS}{order.pk}/change/").status_code == 200
    for step in ("retry", "settle"):
        assert client.post(f"{ORDERS}{step}/", {"id": str(order.pk)}).status_code == 403


def test_subscriptions_are_read_and_found(client: Client) -> None:
    sign_in(client, "billing.view_subscription")
    acme = subscribed()
    page = text_of(client.get(f"/admin/billing/subscription/?q={acme.pk}"))
    assert name_of(acme) in page


def test_the_shell_shows_and_settles(stripe: FakeStripe) -> None:
    order = waiting(stripe)
    code, told = run_json("settle_billing")
    assert (code, told["executed"], told["confirmed"]) == (1, False, 0)
    assert told["open"][0]["subscription"] == order.subscription
    assert told["open"][0]["last_error"] == "Stripe fails (500)"
    code, text = run("settle_billing", "--execute")
    assert (code, "confirmed: 0" in text) == (1, True)
    assert run("settle_billing", "--execute", "--all") == (0, "confirmed: 1\nNothing is open.\n")
    assert run_json("settle_billing")[1]["open"] == []


def test_an_order_is_no_affair_of_whoever_has_no_account_here() -> None:
    nobody = Actor(kind="organization", id=None, channel="test")
    acme = subscribed()
    with pytest.raises(RightMissing):
        attach_subscription(
            actor=nobody, organization_id=acme.pk, subscription="sub_1", now=timezone.now()
        )
    assert orders_of(acme) == []
