import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure.holds import place_hold
from organizations.models import Organization
from tests.admin.desk import said, sign_in, sign_in_superuser, text_of
from tests.bystanders import charlie_untouched
from tests.factories import ManagedUserFactory, MembershipFactory, OrganizationFactory, give_key

pytestmark = pytest.mark.django_db

LIST = "/admin/organizations/organization/"
URL = f"{LIST}teardown/"
VIEW, TEARDOWN = "organizations.view_organization", "organizations.teardown_organization"


def confirmed(*organizations: Organization, **fields: str) -> dict[str, object]:
    wanted = [str(organization.pk) for organization in organizations]
    return {"id": wanted, "reference": "CASE-9", "understood": "on", **fields}


def test_the_page_says_what_goes_and_changes_nothing(client: Client) -> None:
    sign_in(client, VIEW, TEARDOWN)
    acme = OrganizationFactory(name="Acme")
    MembershipFactory(organization=acme, role="owner")
    erin = ManagedUserFactory(organization=acme, user__username="erin").user
    give_key(acme)
    data = {"action": "teardown", "index": "0", "_selected_action": str(acme.pk)}
    for page in (client.post(LIST, data), client.get(f"{URL}?id={acme.pk}")):
        text = text_of(page)
        assert "5 rows would be removed for ever" in text
        assert f"erin ({ids.encode(ids.USER, erin.pk)}) is erased with it" in text
    assert Organization.objects.filter(pk=acme.pk).exists()
    assert f"{URL}?id={acme.pk}" in text_of(client.get(f"{LIST}{acme.pk}/change/"))


def test_confirming_tears_down_with_the_managed_users(client: Client) -> None:
    staff = sign_in(client, VIEW, TEARDOWN)
    with charlie_untouched():
        acme = OrganizationFactory(name="Acme")
        alice = MembershipFactory(organization=acme, role="owner").user
        erin = ManagedUserFactory(organization=acme).user
        give_key(acme)
        messages = said(client.post(URL, confirmed(acme), follow=True))
    assert messages[0].startswith(f"Organization {acme.pk}: torn down: 1 organization")
    assert "and 1 that went along, with all their data." in messages[0]
    assert not Organization.objects.filter(pk=acme.pk).exists()
    assert not User.objects.filter(pk=erin.pk).exists()
    assert User.live.filter(pk=alice.pk).exists()
    event = AuditEvent.objects.get(subject_id=acme.pk, action="organization.erased")
    assert (event.actor_id, event.channel) == (staff.pk, "admin")
    assert event.facts["reference"] == "CASE-9"


def test_refusals_are_told_one_by_one(client: Client) -> None:
    sign_in(client, VIEW, TEARDOWN)
    held, entangled, plain = (OrganizationFactory(name=name) for name in ("A", "B", "C"))
    place_hold(
        actor=Actor.system("test"),
        subject=Reference("organization", held.pk),
        reason="case 1",
        review_at=None,
        now=timezone.now(),
    )
    managed = ManagedUserFactory(organization=entangled)
    MembershipFactory(user=managed.user, organization__name="Elsewhere", role="owner")
    messages = said(client.post(URL, confirmed(held, entangled, plain), follow=True))
    by_id = {message.split()[1].rstrip(":"): message for message in messages}
    assert "a legal hold forbids it" in by_id[str(held.pk)]
    assert "is the only owner of: Elsewhere" in by_id[str(entangled.pk)]
    assert "torn down" in by_id[str(plain.pk)]
    assert set(Organization.objects.values_list("name", flat=True)) == {"A", "B", "Elsewhere"}


@pytest.mark.parametrize("missing", [{"reference": ""}, {"understood": ""}])
def test_without_case_or_considered_yes_nothing_happens(
    client: Client, missing: dict[str, str]
) -> None:
    sign_in(client, VIEW, TEARDOWN)
    acme = OrganizationFactory()
    assert "Please correct" in text_of(client.post(URL, confirmed(acme, **missing)))
    assert Organization.objects.filter(pk=acme.pk).exists()


@pytest.mark.parametrize("held", [(), (VIEW,), (TEARDOWN,), ("organizations.delete_organization",)])
def test_it_takes_both_permissions_on_every_way(client: Client, held: tuple[str, ...]) -> None:
    sign_in(client, *held)
    acme = OrganizationFactory()
    assert client.get(f"{URL}?id={acme.pk}").status_code == 403
    assert client.post(URL, confirmed(acme)).status_code == 403
    client.post(LIST, {"action": "teardown", "index": "0", "_selected_action": str(acme.pk)})
    assert Organization.objects.filter(pk=acme.pk).exists()


def test_there_is_no_hard_delete_and_no_name_in_the_history(client: Client) -> None:
    sign_in_superuser(client)
    acme = OrganizationFactory(name="Acme")
    assert client.post(f"{LIST}{acme.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "delete_selected" not in text_of(client.get(LIST))
    assert not LogEntry.objects.filter(object_repr__contains="Acme").exists()
