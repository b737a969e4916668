import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.models import AuditEvent
from erasure.brakes import place_pause
from erasure.models import Pause
from tests.admin.desk import said, sign_in, text_of
from tests.bystanders import charlie_untouched
from tests.factories import OrganizationFactory

pytestmark = pytest.mark.django_db

URL = "/admin/erasure/pause/"
DESK = "/admin/erasure/deletionrequest/"
VIEW, ADD, CHANGE = (f"erasure.{verb}_pause" for verb in ("view", "add", "change"))
LOOK = "erasure.view_deletionrequest"


def pause(**fields: object) -> Pause:
    given = {"reason": "The ledger is being moved", "now": timezone.now(), **fields}
    pk = place_pause(actor=Actor.system("test"), **given)  # type: ignore[arg-type]
    return Pause.objects.get(pk=pk)


def test_everything_is_paused_with_a_reason(client: Client) -> None:
    staff = sign_in(client, ADD, VIEW)
    with charlie_untouched():
        answer = client.post(f"{URL}add/", {"reason": "Ledger moves"}, follow=True)
    assert said(answer) == ["Erasure of everything is paused."]
    placed = Pause.objects.get()
    assert (placed.organization_id, placed.reason) == (None, "Ledger moves")
    assert placed.placed_by_id == staff.pk
    event = AuditEvent.objects.get(action="pause.placed")
    assert (event.actor_id, event.channel) == (staff.pk, "admin")


def test_one_organization_is_paused(client: Client) -> None:
    sign_in(client, ADD)
    acme = OrganizationFactory()
    client.post(f"{URL}add/", {"reason": "Audit", "organization_id": str(acme.pk)})
    assert Pause.objects.get().organization_id == acme.pk


def test_a_reason_is_required(client: Client) -> None:
    sign_in(client, ADD)
    assert "This field is required" in text_of(client.post(f"{URL}add/", {"reason": ""}))
    assert not Pause.objects.exists()


def test_releasing_asks_first(client: Client) -> None:
    staff = sign_in(client, VIEW, CHANGE)
    placed = pause()
    page = text_of(client.get(f"{URL}release/?id={placed.pk}"))
    assert "The ledger is being moved" in page
    assert "Due by now, and erased by the next purge: 0." in page
    assert Pause.objects.standing().exists()
    messages = said(client.post(f"{URL}release/", {"id": str(placed.pk)}, follow=True))
    assert messages == ["Pause of everything: released."]
    placed.refresh_from_db()
    assert placed.released_by_id == staff.pk
    assert not LogEntry.objects.exists()
    again = said(client.post(f"{URL}release/", {"id": str(placed.pk)}, follow=True))
    assert again == ["Pause of everything: it had ended before."]


def test_a_standing_pause_is_a_banner_on_the_desk(client: Client) -> None:
    sign_in(client, LOOK, VIEW)
    assert "Erasure is paused" not in text_of(client.get(DESK))
    placed = pause()
    page = text_of(client.get(DESK))
    assert "Erasure is paused" in page
    assert "The ledger is being moved." in page
    assert f"{URL}?state=standing" in page
    Pause.objects.filter(pk=placed.pk).update(released_at=timezone.now())
    assert "Erasure is paused" not in text_of(client.get(DESK))


def test_each_right_needs_its_own_permission(client: Client) -> None:
    placed = pause()
    sign_in(client, VIEW)
    assert client.get(URL).status_code == 200
    assert client.get(f"{URL}add/").status_code == 403
    assert client.post(f"{URL}add/", {"reason": "x"}).status_code == 403
    assert client.post(f"{URL}release/", {"id": str(placed.pk)}).status_code == 403
    sign_in(client, ADD)
    assert client.get(URL).status_code == 403
    sign_in(client, LOOK, "erasure.view_legalhold")
    assert client.get(URL).status_code == 403
    page = text_of(client.get(DESK))
    assert "Erasure is paused" in page
    assert f'href="{URL}' not in page
    assert Pause.objects.standing().count() == 1


def test_a_pause_is_neither_changed_nor_deleted(client: Client) -> None:
    sign_in(client, VIEW, CHANGE, "erasure.delete_pause")
    placed = pause()
    assert client.post(f"{URL}{placed.pk}/change/", {"reason": "x"}).status_code == 403
    assert client.post(f"{URL}{placed.pk}/delete/", {"post": "yes"}).status_code == 403


def test_pauses_are_found_by_state_and_organization(client: Client) -> None:
    sign_in(client, VIEW)
    acme = OrganizationFactory()
    standing, gone = pause(organization_id=acme.pk), pause()
    Pause.objects.filter(pk=gone.pk).update(released_at=timezone.now())
    queries = ({"state": "standing"}, {"q": str(acme.pk)}, {"q": "ledger", "state": "standing"})
    for query in queries:
        rows = client.get(URL, query).context["cl"].result_list
        assert [row.pk for row in rows] == [standing.pk]
