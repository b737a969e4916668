"""``/v1/organizations/{id}/webhooks`` and the deliveries below it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from apikeys import scopes
from audit.models import AuditEvent
from contracts import ids
from organizations.models import Organization
from organizations.webhooks.models import Delivery, Endpoint
from organizations.webhooks.sealing import unseal
from tests.bystanders import charlie_untouched
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory, give_key
from tests.house.asking import ask, faults, refused
from tests.webhooks.conftest import receiver  # noqa: F401 - a fixture
from tests.webhooks.endpoints import deliver_all, make_endpoint
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db

URL = "https://hooks.example.com/in"
BODY = {"url": URL, "events": ["user.erased", "organization.deleted"]}


def run_by(user: User, role: str = "owner") -> Organization:
    organization: Organization = MembershipFactory(user=user, role=role).organization
    return organization


def at(organization: Organization, *rest: str) -> str:
    return "/".join([f"/v1/organizations/{organization.pk}/webhooks", *rest])


def spell(endpoint: Endpoint) -> str:
    return ids.encode("whk", endpoint.pk)


def test_a_webhook_is_made_read_changed_and_removed() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key, organization = give_key(alice), run_by(alice, "admin")
        made = ask("POST", at(organization), key, BODY)
        assert made.status_code == 201
        secret = made.json()["secret"]
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
        endpoint = Endpoint.objects.get(organization=organization)
        shown = spell(endpoint)
        assert made.json()["id"] == shown
        assert unseal(endpoint.secret) == secret
        assert secret not in endpoint.secret
        listed = ask("GET", at(organization), key)
        assert [one["id"] for one in listed.json()["data"]] == [shown]
        read = ask("GET", at(organization, shown), key)
        assert "secret" not in read.json()
        assert secret not in read.content.decode() + listed.content.decode()
        changed = ask(
            "PATCH",
            at(organization, shown),
            key,
            {"name": "Ours", "events": ["member.removed"], "is_active": False},
        ).json()
        assert (changed["name"], changed["events"]) == ("Ours", ["member.removed"])
        assert (changed["url"], changed["is_active"]) == (URL, False)
        assert changed["disabled_reason"]
        on = ask("PATCH", at(organization, shown), key, {"is_active": True}).json()
        assert (on["is_active"], on["disabled_reason"]) == (True, "")
        assert ask("DELETE", at(organization, shown), key).status_code == 204
        assert refused(ask("GET", at(organization, shown), key)) == (404, "WEBHOOK_NOT_FOUND")
    events = AuditEvent.objects.filter(subject_id=organization.pk).order_by("at", "id")
    assert [one.action for one in events] == [
        "webhook.created",
        "webhook.updated",
        "webhook.updated",
        "webhook.deleted",
    ]
    assert "hooks.example.com" not in str([one.facts for one in events])


def test_an_organizations_own_key_manages_its_webhooks_and_no_others() -> None:
    organization, other = OrganizationFactory(), OrganizationFactory()
    key = give_key(organization)
    assert ask("POST", at(organization), key, BODY).status_code == 201
    for method in ("GET", "POST"):
        found = ask(method, at(other), key, BODY if method == "POST" else None)
        assert refused(found) == (404, "ORGANIZATION_NOT_FOUND")


def test_what_one_does_not_run_looks_like_nothing() -> None:
    with charlie_untouched():
        alice = UserFactory()
        key, joined = give_key(alice), run_by(alice, "member")
        endpoint, _ = make_endpoint(joined)
        theirs, _ = make_endpoint(Organization.objects.get(slug="charlies"))
        mine = run_by(alice)
        for path in (at(joined), at(joined, spell(endpoint)), at(OrganizationFactory())):
            assert refused(ask("GET", path, key)) == (404, "ORGANIZATION_NOT_FOUND")
        assert refused(ask("GET", "/v1/organizations/x/webhooks", key))[0] == 404
        for shown in (spell(endpoint), spell(theirs), "whk_x", ids.encode("key", theirs.pk)):
            for method in ("GET", "PATCH", "DELETE"):
                body = {"name": "x"} if method == "PATCH" else None
                found = ask(method, at(mine, shown), key, body)
                assert refused(found) == (404, "WEBHOOK_NOT_FOUND")
            for end in ("test", "rotate-secret", "deliveries/msg_x/redeliver"):
                assert refused(ask("POST", at(mine, shown, end), key))[0] == 404
            assert refused(ask("GET", at(mine, shown, "deliveries"), key))[0] == 404
    assert Endpoint.objects.count() == 3


def test_of_an_archived_organization_nothing_is_changed() -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, _ = make_endpoint(organization)
    Organization.objects.filter(pk=organization.pk).update(archived_at=timezone.now())
    assert ask("GET", at(organization), key).status_code == 200
    for method, path, body in (
        ("POST", at(organization), BODY),
        ("PATCH", at(organization, spell(endpoint)), {"name": "x"}),
        ("DELETE", at(organization, spell(endpoint)), None),
        ("POST", at(organization, spell(endpoint), "test"), None),
        ("POST", at(organization, spell(endpoint), "rotate-secret"), None),
    ):
        assert refused(ask(method, path, key, body)) == (409, "ARCHIVED")


def test_scopes_are_asked_for() -> None:
    alice = UserFactory()
    organization = run_by(alice)
    endpoint, _ = make_endpoint(organization)
    reading = give_key(alice, scopes.WEBHOOKS_READ)
    writing = give_key(alice, scopes.WEBHOOKS_WRITE)
    assert ask("GET", at(organization), reading).status_code == 200
    assert refused(ask("POST", at(organization), reading, BODY))[0] == 403
    assert refused(ask("POST", at(organization, spell(endpoint), "test"), reading))[0] == 403
    assert refused(ask("GET", at(organization), writing))[0] == 403
    assert refused(ask("GET", at(organization))) == (401, "AUTHENTICATION_REQUIRED")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**BODY, "url": "http://hooks.example.com/"}, "url"),
        ({**BODY, "url": "https://10.0.0.1/"}, "url"),
        ({**BODY, "url": "https://localhost/"}, "url"),
        ({**BODY, "url": "https://hooks.example.com:22/"}, "url"),
        ({**BODY, "url": "https://a:b@hooks.example.com/"}, "url"),
        ({**BODY, "url": f"https://hooks.example.com/{'x' * 2000}"}, "url"),
        ({**BODY, "url": 7}, "url"),
        ({"events": ["user.erased"]}, "url"),
        ({**BODY, "events": []}, "events"),
        ({**BODY, "events": ["user.created"]}, "events"),
        ({**BODY, "events": ["webhook.test"]}, "events"),
        ({**BODY, "events": "user.erased"}, "events"),
        ({**BODY, "name": "a\u0000b"}, "name"),
        ({**BODY, "secret": "whsec_mine"}, "secret"),
    ],
)
def test_each_fault_in_a_body_is_named(body: Any, field: str) -> None:
    alice = UserFactory()
    response = ask("POST", at(run_by(alice)), give_key(alice), body)
    assert refused(response) == (422, "VALIDATION_ERROR")
    assert {loc[1] for loc in faults(response)} == {field}
    assert not Endpoint.objects.exists()


def test_an_organization_has_so_many_and_no_more(settings: Any) -> None:
    settings.WEBHOOKS_MOST_ENDPOINTS = 1
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    assert ask("POST", at(organization), key, BODY).status_code == 201
    assert refused(ask("POST", at(organization), key, BODY)) == (409, "TOO_MANY_WEBHOOKS")


def test_both_secrets_sign_until_the_former_ones_time_is_over(
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, former = make_endpoint(organization, receiver.url)
    place = at(organization, spell(endpoint))
    made = ask("POST", f"{place}/rotate-secret", key, {"overlap_hours": 2})
    assert made.status_code == 200
    secret = made.json()["secret"]
    assert secret != former
    assert ask("POST", f"{place}/test", key).status_code == 202
    deliver_all()
    [request] = receiver.requests
    assert len(request.headers["webhook-signature"].split()) == 2
    for one in (former, secret):
        assert request.verify(one)["type"] == "webhook.test"
    Endpoint.objects.update(former_until=timezone.now() - timedelta(seconds=1))
    assert ask("POST", f"{place}/test", key).status_code == 202
    deliver_all()
    assert len(receiver.requests[1].headers["webhook-signature"].split()) == 1
    receiver.requests[1].verify(secret)
    over = ask("POST", f"{place}/rotate-secret", key, {"overlap_hours": 0})
    assert over.json()["former_secret_signs_until"] is None
    assert Endpoint.objects.get().former_secret == ""


@pytest.mark.parametrize(
    ("hours", "status"), [(2.0, 200), (2, 200), (2.5, 422), ("2", 422), (True, 422), (721, 422)]
)
def test_hours_are_a_whole_number_as_json_schema_has_it(hours: object, status: int) -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, _ = make_endpoint(organization)
    place = f"{at(organization, spell(endpoint))}/rotate-secret"
    assert ask("POST", place, key, {"overlap_hours": hours}).status_code == status


@pytest.mark.parametrize("is_active", [0, 1, "true", "yes", None])
def test_a_webhook_is_switched_by_true_and_false_only(is_active: object) -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, _ = make_endpoint(organization)
    place = at(organization, spell(endpoint))
    assert ask("PATCH", place, key, {"is_active": is_active}).status_code == 422
    assert Endpoint.objects.get().is_active


def test_the_history_shows_what_was_sent_and_what_came_back(
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, _ = make_endpoint(organization, receiver.url)
    place = at(organization, spell(endpoint))
    receiver.answer = lambda request: (500, {}, b"not today" + b"!" * 2000)
    sent = ask("POST", f"{place}/test", key).json()
    assert sent["state"] == "pending"
    again = ask("POST", f"{place}/deliveries/{sent['id']}/redeliver", key)
    assert refused(again) == (409, "DELIVERY_PENDING")
    deliver_all()
    [listed] = ask("GET", f"{place}/deliveries", key).json()["data"]
    assert (listed["id"], listed["state"], listed["attempts_made"]) == (sent["id"], "pending", 1)
    assert listed["next_try_at"]
    detail = ask("GET", f"{place}/deliveries/{sent['id']}", key).json()
    assert detail["request_body"]["type"] == "webhook.test"
    [attempt] = detail["attempts"]
    assert attempt["response_status"] == 500
    assert attempt["response_body"].startswith("not today")
    assert len(attempt["response_body"]) == 1024
    assert attempt["request_headers"]["webhook-id"] == sent["id"]
    receiver.answer = lambda request: (204, {}, b"")
    deliver_all(timezone.now() + timedelta(minutes=1))
    again = ask("POST", f"{place}/deliveries/{sent['id']}/redeliver", key)
    assert again.status_code == 202
    deliver_all()
    assert {one.id for one in receiver.requests} == {sent["id"]}
    assert len({one.body for one in receiver.requests}) == 1
    detail = ask("GET", f"{place}/deliveries/{sent['id']}", key).json()
    assert [one["response_status"] for one in detail["attempts"]] == [500, 204, 204]
    assert detail["state"] == "delivered"


def test_the_list_is_paged_and_filtered() -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, _ = make_endpoint(organization)
    place = at(organization, spell(endpoint))
    sent = [ask("POST", f"{place}/test", key).json()["id"] for _ in range(3)]
    listed = ask("GET", f"{place}/deliveries", key).json()["data"]
    assert [one["id"] for one in listed] == sent[::-1]
    older = ask("GET", f"{place}/deliveries?before={sent[1]}&state=pending", key).json()["data"]
    assert [one["id"] for one in older] == sent[:1]
    assert ask("GET", f"{place}/deliveries?state=dead", key).json() == {"data": []}
    for wrong in ("state=x", "state=prepared", "before=x"):
        found = ask("GET", f"{place}/deliveries?{wrong}", key)
        assert refused(found) == (422, "VALIDATION_ERROR")


def test_to_a_webhook_that_is_off_nothing_is_sent() -> None:
    alice = UserFactory()
    key, organization = give_key(alice), run_by(alice)
    endpoint, _ = make_endpoint(organization)
    place = at(organization, spell(endpoint))
    sent = ask("POST", f"{place}/test", key).json()["id"]
    ask("PATCH", place, key, {"is_active": False})
    assert Delivery.objects.get().state == "dead"
    for path in ("test", f"deliveries/{sent}/redeliver"):
        assert refused(ask("POST", f"{place}/{path}", key)) == (409, "WEBHOOK_DISABLED")
