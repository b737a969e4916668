"""Orders that wait are seen: by readiness, at the desk, and by a monitor."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from erasure import metrics
from organizations.billing.models import BillingOrder
from organizations.billing.orders import order_cancel
from tests.admin.desk import sign_in, text_of
from tests.billing.subscribers import SYSTEM, order_of, subscribed

pytestmark = pytest.mark.django_db

DESK = "/admin/erasure/deletionrequest/"


@pytest.fixture(autouse=True)
def _key(settings: Any) -> None:
    settings.STRIPE_API_KEY = "sk_test_fake"


def waiting(age: timedelta, **fields: Any) -> BillingOrder:
    organization = subscribed()
    order_cancel([organization.pk], actor=SYSTEM, now=timezone.now() - age)
    BillingOrder.objects.filter(organization_id=organization.pk).update(**fields)
    return order_of(organization)


def ready() -> tuple[int, str]:
    answer = Client().get("/readyz")
    return answer.status_code, answer.json()["checks"]["billing"]


def test_without_orders_all_is_well(settings: Any) -> None:
    assert ready() == (200, "ok")
    settings.STRIPE_API_KEY = ""
    assert ready() == (200, "ok")


def test_an_order_may_wait_for_an_hour() -> None:
    waiting(timedelta(minutes=59))
    assert ready() == (200, "ok")
    waiting(timedelta(minutes=61))
    status, text = ready()
    assert status == 503
    assert text == "orders to Stripe that wait for more than an hour: 1: run manage.py worker"


def test_it_says_what_the_oldest_one_met() -> None:
    waiting(timedelta(hours=3), last_error="Stripe cannot be reached: ConnectTimeout")
    waiting(timedelta(hours=2), last_error="Stripe asks to wait (429)")
    text = "orders to Stripe that wait for more than an hour: 2"
    assert ready() == (503, f"{text} (Stripe cannot be reached: ConnectTimeout)")


def test_what_is_confirmed_or_replaced_waits_no_more() -> None:
    waiting(timedelta(hours=2), state="confirmed")
    waiting(timedelta(hours=2), state="superseded")
    assert ready() == (200, "ok")


def test_without_a_key_an_order_is_red_at_once(settings: Any) -> None:
    settings.STRIPE_API_KEY = ""
    waiting(timedelta())
    assert ready() == (503, "orders to Stripe that wait: 1, and STRIPE_API_KEY is not set")


def test_the_desk_says_it_on_top(client: Client) -> None:
    sign_in(client, "erasure.view_deletionrequest")
    assert "Billing needs somebody" not in text_of(client.get(DESK))
    waiting(timedelta(hours=2))
    page = text_of(client.get(DESK))
    assert "Billing needs somebody" in page
    assert "Orders to Stripe that wait for more than an hour: 1" in page


def test_a_monitor_reads_how_many_and_since_when() -> None:
    def read() -> dict[str, float]:
        lines = metrics.render_metrics().decode().splitlines()
        pairs = (line.split() for line in lines if line.startswith("billing_"))
        return {name: float(value) for name, value in pairs}

    empty = {"billing_orders_open": 0, "billing_oldest_order_age_seconds": 0}
    assert read() == empty
    waiting(timedelta(hours=2))
    waiting(timedelta(hours=1))
    told = read()
    assert told["billing_orders_open"] == 2
    assert told["billing_oldest_order_age_seconds"] >= 7200
