"""A second opinion: a Stripe that somebody else wrote, over real HTTP. It knows no idempotency and
no pauses, and so much of the API that a subscription can be made, paid, cancelled and read."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe as library
from django.utils import timezone

from erasure.executor import erase_now
from tests.billing.subscribers import SYSTEM, about, name_of, order_of, settle
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.factories import MembershipFactory, OrganizationFactory
from tests.live.servers import ROOT, free_port

pytestmark = pytest.mark.django_db

KEY = "sk_test_local"


@pytest.fixture(scope="module")
def base(tmp_path_factory: Any) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log: Path = tmp_path_factory.mktemp("localstripe") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.billing.localstripe_server", str(port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdout=out,
            stderr=out,
        )
        try:
            _wait(process, url, log)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=60)
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def client(base: str, settings: Any) -> library.StripeClient:
    settings.STRIPE_API_BASE, settings.STRIPE_API_KEY = base, KEY
    settings.STRIPE_TIMEOUT = 60.0
    return library.StripeClient(KEY, base_addresses={"api": base})


def subscribe(client: library.StripeClient) -> tuple[str, str]:
    """Make a customer with a card, who subscribes and pays the first invoice."""

    def post(path: str, **fields: Any) -> Any:
        told: Any = client.raw_request("post", f"/v1/{path}", **fields)
        return told.data["id"]

    method = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2030, "cvc": "123"}
    customer = post("customers", email="alice@example.com")
    paying = post("payment_methods", type="card", card=method)
    post(f"payment_methods/{paying}/attach", customer=customer)
    post(f"customers/{customer}", invoice_settings={"default_payment_method": paying})
    product = post("products", name="Plan", type="service")
    plan = post("plans", amount=1000, currency="eur", interval="month", product=product)
    return customer, post("subscriptions", customer=customer, items=[{"plan": plan}])


def test_a_subscription_that_was_paid_ends_with_its_organization(
    client: library.StripeClient,
) -> None:
    customer, name = subscribe(client)
    _, beside = subscribe(client)
    with charlie_untouched():
        acme = OrganizationFactory(slug="acme")
        MembershipFactory(organization=acme, role="owner")
        assert run("attach_subscription", "acme", name)[0] == 0
        assert name_of(acme) == name
        erase_now(actor=SYSTEM, subject=about(acme), now=timezone.now())
        assert settle().confirmed == 1, order_of(acme).last_error
    assert order_of(acme).outcome == "cancelled"
    assert client.v1.subscriptions.retrieve(name).status == "canceled"
    assert client.v1.subscriptions.retrieve(beside).status == "active"
    assert client.v1.customers.retrieve(customer).id == customer
    invoices: Any = client.raw_request("get", "/v1/invoices", customer=customer)
    assert [one["status"] for one in invoices.data["data"]] == ["paid"]
