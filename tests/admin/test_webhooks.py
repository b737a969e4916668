"""Webhooks on the staff's pages."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import refusals
from erasure.executor import erase_now
from organizations.webhooks.exceptions import WebhookError
from organizations.webhooks.models import Delivery, Endpoint
from organizations.webhooks.sealing import unseal
from tests.admin.desk import said, sign_in, sign_in_superuser, text_of
from tests.bystanders import charlie_untouched
from tests.factories import OrganizationFactory, UserFactory
from tests.webhooks.conftest import receiver  # noqa: F401 - a fixture
from tests.webhooks.endpoints import deliver_all, make_endpoint
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db

URL = "/admin/webhooks/endpoint/"
DELIVERIES = "/admin/webhooks/delivery/"


def act(client: Client, action: str, *rows: Any, url: str = URL) -> Any:
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(url, data, follow=True)


def test_a_recipient_of_the_whole_instance_is_made_and_its_secret_shown_once(
    client: Client,
) -> None:
    with charlie_untouched():
        sign_in(client, "webhooks.add_endpoint", "webhooks.view_endpoint")
        assert "user.erased" in text_of(client.get(f"{URL}add/"))
        form = {
            "name": "Mailing list",
            "url": "https://hooks.example.com/in",
            "events": ["user.erased"],
        }
        page = text_of(client.post(f"{URL}add/", form))
        endpoint = Endpoint.objects.get(organization=None)
        secret = unseal(endpoint.secret)
        assert secret in page
        assert endpoint.chosen == ["user.erased"]
        for path in ("", f"{endpoint.pk}/change/"):
            shown = text_of(client.get(f"{URL}{path}"))
            assert "Mailing list" in shown
            assert secret not in shown
    assert AuditEvent.objects.get(action="webhook.created").subject_id == endpoint.pk
    assert secret not in str(list(LogEntry.objects.values()))


def test_an_address_inside_is_refused_in_words(client: Client) -> None:
    sign_in(client, "webhooks.add_endpoint")
    form = {"name": "x", "url": "https://10.0.0.1/", "events": ["user.erased"]}
    page = text_of(client.post(f"{URL}add/", form))
    assert "Its host is not on the open Internet" in page
    assert not Endpoint.objects.exists()


def test_who_may_only_look_changes_nothing(client: Client) -> None:
    endpoint, _ = make_endpoint(OrganizationFactory())
    sign_in(client, "webhooks.view_endpoint")
    assert client.get(f"{URL}add/").status_code == 403
    for action in ("send_test", "rotate", "switch_off", "remove"):
        act(client, action, endpoint)
    endpoint.refresh_from_db()
    assert endpoint.is_active
    assert not Delivery.objects.exists()


def test_staff_switch_an_endpoint_off_and_on_rotate_test_and_remove_it(client: Client) -> None:
    with charlie_untouched():
        sign_in_superuser(client)
        endpoint, former = make_endpoint(OrganizationFactory())
        assert "is on its way" in said(act(client, "send_test", endpoint))[0]
        assert "switched off" in said(act(client, "switch_off", endpoint))[0]
        assert Delivery.objects.get(endpoint=endpoint).state == "dead"
        assert "is switched off" in said(act(client, "send_test", endpoint))[0]
        assert "switched on" in said(act(client, "switch_on", endpoint))[0]
        page = text_of(act(client, "rotate", endpoint))
        endpoint.refresh_from_db()
        assert unseal(endpoint.secret) in page
        assert unseal(endpoint.former_secret) == former
        assert "removed" in said(act(client, "remove", endpoint))[0]
    assert not Endpoint.objects.filter(pk=endpoint.pk).exists()


def test_the_history_is_shown_and_sent_once_more(
    client: Client,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    sign_in_superuser(client)
    make_endpoint(None, receiver.url, name="Mailing list")
    receiver.answer = lambda request: (410, {}, b"<b>gone</b>")
    subject = Reference("user", UserFactory().pk)
    erase_now(actor=Actor.system("test"), subject=subject, now=timezone.now())
    deliver_all()
    delivery = Delivery.objects.get()
    page = text_of(client.get(f"{DELIVERIES}{delivery.pk}/change/"))
    assert "status 410" in page
    assert "&lt;b&gt;gone&lt;/b&gt;" in page
    assert "user.erased" in text_of(client.get(DELIVERIES))
    Endpoint.objects.update(is_active=True)
    receiver.answer = lambda request: (200, {}, b"")
    answer = act(client, "redeliver", delivery, url=DELIVERIES)
    assert "once more" in said(answer)[0]
    deliver_all()
    delivery.refresh_from_db()
    assert delivery.state == "delivered"


def test_every_refusal_has_words() -> None:
    missing = {one.__name__ for one in WebhookError.__subclasses__() if not refusals.has_words(one)}
    assert not missing
