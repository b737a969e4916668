"""Two members of staff, each removing one of two owners at the same moment."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client

from organizations.models import Membership, Organization
from tests.admin.desk import sign_in_superuser
from tests.admin.test_organization_members import form_of, save
from tests.factories import MembershipFactory, OrganizationFactory

ROUNDS = 5


def remove_both_at_once(acme: Organization, clients: list[Client]) -> list[str]:
    """Let each client remove another owner; return the pages of those who were refused."""
    forms = [form_of(acme, **{f"{index}__DELETE": "on"}) for index in range(2)]
    start = threading.Barrier(2)

    def remove(client: Client, data: dict[str, str]) -> str:
        try:
            start.wait(60)
            return save(client, acme, data)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        return [page for page in pool.map(remove, clients, forms) if page]


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_removed_at_once_one_stays() -> None:
    clients = [Client(), Client()]
    for client in clients:
        sign_in_superuser(client)
    for _ in range(ROUNDS):
        acme = OrganizationFactory()
        for _ in clients:
            MembershipFactory(organization=acme, role="owner")
        assert len(remove_both_at_once(acme, clients)) == 1
        assert Membership.objects.live_owners().filter(organization=acme).count() == 1
