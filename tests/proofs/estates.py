"""An organization that owns one of everything and uses it: the scene of a whole teardown."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.db import connection
from django.test import Client
from django.utils import timezone
from django_tasks_db.models import DBTaskResult

from accounts.models import User
from apikeys import scopes
from contracts import ids
from organizations.invitations import digest
from organizations.models import Organization
from organizations.oauth.models import Application
from organizations.webhooks.delivering import deliver_due
from organizations.webhooks.models import Attempt, Delivery
from tests.billing.fakestripe import FakeStripe
from tests.factories import (
    ApplicationFactory,
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SubscriptionFactory,
    UserFactory,
    authorize,
    give_key,
    give_token,
)
from tests.house.asking import ask, spell
from tests.oauth.flow import Flow, ask_for_own_token
from tests.webhooks.endpoints import make_endpoint
from tests.webhooks.receiver import Receiver, Request

PATIENCE = 60

GUEST = "guest-of-{slug}@example.com"
INVITED = "invited-to-{slug}"
"""The token in the invitation's mail."""


@dataclass
class Estate:
    """An organization, and every credential that speaks for it or for what it owns."""

    organization: Organization
    owner: User
    owner_key: str
    guest: User
    guest_key: str
    platform_key: str
    machine: Application
    machine_token: str
    flow: Flow
    tokens: dict[str, Any]
    code: str
    managed: list[User]
    managed_key: str
    managed_browser: Client
    secret: str
    path: str
    customer: str
    subscription: str
    invoices: list[dict[str, Any]]
    credentials: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.credentials = {
            "platform key": self.platform_key,
            "machine's token": self.machine_token,
            "member's token": self.tokens["access_token"],
            "managed user's key": self.managed_key,
        }

    def at(self, *rest: str) -> str:
        return "/".join([f"/v1/organizations/{self.organization.pk}", *rest])


def found(slug: str, owner: User, stripe: FakeStripe, receiver: Receiver, size: int) -> Estate:
    """Create an organization with every kind of thing that it can own, ``size`` of what it can have
    many of, and a member who has left, which its webhook is to be told."""
    organization: Organization = OrganizationFactory(slug=slug, name=slug.title())
    MembershipFactory(organization=organization, user=owner, role="owner")
    members = [MembershipFactory(organization=organization).user for _ in range(size)]
    guest = UserFactory(email=GUEST.format(slug=slug))
    InvitationFactory(
        organization=organization,
        invited_by=owner,
        email=guest.email,
        token_digest=digest(INVITED.format(slug=slug)),
    )
    for _ in range(size):
        InvitationFactory(organization=organization, invited_by=members[0])
    managed = [ManagedUserFactory(organization=organization).user for _ in range(size)]
    browser = Client()
    browser.force_login(managed[0])
    machine = ApplicationFactory(organization=organization, machine=True)
    token = ask_for_own_token(machine).json()["access_token"]
    personal = ApplicationFactory(organization=organization, created_by=owner)
    flow = Flow(personal, members[0], scope=scopes.ACCOUNT_READ)
    for one in members[1:]:
        give_token(one, application=personal)
    authorize(managed[0], personal)
    path = f"/{slug}"
    _, secret = make_endpoint(organization, receiver.url + path)
    customer = stripe.add_customer()
    subscription = stripe.add_subscription(customer)
    SubscriptionFactory(organization=organization, customer=customer, subscription=subscription)
    estate = Estate(
        organization=organization,
        owner=owner,
        owner_key=give_key(owner),
        guest=guest,
        guest_key=give_key(guest),
        platform_key=give_key(organization),
        machine=machine,
        machine_token=token,
        flow=flow,
        tokens=flow.tokens(),
        code=flow.code(),
        managed=managed,
        managed_key=give_key(managed[0]),
        managed_browser=browser,
        secret=secret,
        path=f"/hook{path}",
        customer=customer,
        subscription=subscription,
        invoices=stripe.invoices_of(subscription),
    )
    gone = MembershipFactory(organization=organization).user
    left = ask("DELETE", estate.at("members", spell(gone)), estate.owner_key)
    assert left.status_code == 204, left.content
    return estate


def fill_history(estate: Estate, size: int) -> None:
    """Repeat what was delivered, so that the history is as long as everything else."""
    [first] = Delivery.objects.filter(endpoint__organization=estate.organization)[:1]
    [attempt] = first.history.all()[:1]
    for number in range(2, size + 2):
        attempt.pk, attempt.number = None, number
        Attempt.objects.create(
            delivery=first, number=number, at=timezone.now(), response_status=200
        )


def send_test(estate: Estate) -> None:
    [endpoint] = estate.organization.endpoints.all()
    place = estate.at("webhooks", ids.encode("whk", endpoint.pk), "test")
    assert ask("POST", place, estate.owner_key).status_code == 202


@contextmanager
def being_delivered(receiver: Receiver, estate: Estate) -> Iterator[None]:
    """While this lasts a delivery to an estate's webhook is under way: it has reached the receiver,
    which has not answered yet."""
    came, enough = threading.Event(), threading.Event()
    answer = receiver.answer

    def wait(request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.path == estate.path and request.data["type"] == "webhook.test":
            came.set()
            enough.wait(PATIENCE)
        return answer(request)

    def deliver() -> None:
        try:
            deliver_due(clock=timezone.now)
        finally:
            connection.close()

    receiver.answer = wait
    send_test(estate)
    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        assert came.wait(PATIENCE), "nothing came"
        yield
    finally:
        enough.set()
        thread.join(PATIENCE)
        receiver.answer = answer
    assert not thread.is_alive()


def paths_to(label: str) -> set[str]:
    """Return the tables of every model from which foreign keys lead to another one."""
    models = [one for one in apps.get_models(include_auto_created=True) if not one._meta.proxy]
    reached = {apps.get_model(label)}
    while more := [
        one
        for one in models
        if one not in reached
        and any(
            it.remote_field is not None and it.remote_field.model._meta.concrete_model in reached
            for it in one._meta.concrete_fields
        )
    ]:
        reached.update(more)
    return {one._meta.db_table for one in reached}


def settled() -> bool:
    """Whether no task is left that could run now."""
    return not DBTaskResult.objects.ready().exists()
