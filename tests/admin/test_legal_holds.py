import pytest
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from contracts import ids
from erasure.holds import is_held, place_hold
from erasure.models import LegalHold
from tests.admin.desk import days_ago, delete_softly, said, sign_in, text_of
from tests.bystanders import charlie_untouched
from tests.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

URL = "/admin/erasure/legalhold/"
VIEW, ADD, CHANGE = (f"erasure.{verb}_legalhold" for verb in ("view", "add", "change"))


def hold(subject: Reference) -> LegalHold:
    pk = place_hold(
        actor=Actor.system("test"),
        subject=subject,
        reason="case 1",
        review_at=None,
        now=timezone.now(),
    )
    return LegalHold.objects.get(pk=pk)


def fill(subject: str, **fields: str) -> dict[str, str]:
    return {"subject": subject, "reason": "case 2", "review_at": "2999-01-01", **fields}


def test_a_hold_is_placed_on_a_user_or_an_organization(client: Client) -> None:
    staff = sign_in(client, ADD, VIEW)
    with charlie_untouched():
        alice, bob, acme = UserFactory(), UserFactory(), OrganizationFactory()
        for text in (ids.encode(ids.USER, alice.pk), str(bob.pk), str(acme.pk)):
            assert client.post(f"{URL}add/", fill(text)).status_code == 302
    for subject in (
        Reference("user", alice.pk),
        Reference("user", bob.pk),
        Reference("organization", acme.pk),
    ):
        assert is_held(subject)
    placed = LegalHold.objects.get(subject_id=alice.pk)
    assert (placed.reason, placed.placed_by_id) == ("case 2", staff.pk)
    event = AuditEvent.objects.get(subject_id=alice.pk)
    assert (event.action, event.actor_id, event.channel) == ("hold.placed", staff.pk, "admin")


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ("alice", "This is the id of nobody here."),
        ("0190a5e0-0000-7000-8000-000000000000", "This is the id of nobody here."),
        ("usr_01h2xcejqtf2nbrexx3vqjhp41", "there is no such user any more"),
    ],
)
def test_an_unknown_subject_is_refused(client: Client, subject: str, words: str) -> None:
    sign_in(client, ADD)
    assert words in text_of(client.post(f"{URL}add/", fill(subject)))
    assert not LegalHold.objects.exists()


def test_a_reason_and_a_review_date_are_required(client: Client) -> None:
    sign_in(client, ADD)
    alice = UserFactory()
    for missing in ("reason", "review_at"):
        data = fill(ids.encode(ids.USER, alice.pk), **{missing: ""})
        assert "This field is required" in text_of(client.post(f"{URL}add/", data))
    assert not LegalHold.objects.exists()


def test_releasing_asks_first_and_says_what_follows(client: Client) -> None:
    staff = sign_in(client, VIEW, CHANGE)
    alice = delete_softly(at=days_ago(20))
    placed = hold(Reference("user", alice.pk))
    page = text_of(client.get(f"{URL}release/?id={placed.pk}"))
    assert "What happens next to the subject: due: erased by the next purge." in page
    data = {"action": "release", "index": "0", "_selected_action": str(placed.pk)}
    assert "Release legal holds" in text_of(client.post(URL, data))
    assert is_held(Reference("user", alice.pk))
    name = f"Legal hold on {ids.encode(ids.USER, alice.pk)}"
    messages = said(client.post(f"{URL}release/", {"id": str(placed.pk)}, follow=True))
    assert messages == [f"{name}: released."]
    placed.refresh_from_db()
    assert placed.released_by_id == staff.pk
    again = said(client.post(f"{URL}release/", {"id": str(placed.pk)}, follow=True))
    assert again == [f"{name}: it had ended before."]


def test_each_right_needs_its_own_permission(client: Client) -> None:
    alice = UserFactory()
    placed = hold(Reference("user", alice.pk))
    release = {"id": str(placed.pk)}
    sign_in(client, VIEW)
    assert client.get(URL).status_code == 200
    assert client.post(f"{URL}add/", fill(str(alice.pk))).status_code == 403
    assert client.post(f"{URL}release/", release).status_code == 403
    sign_in(client, ADD)
    assert client.get(URL).status_code == 403
    assert client.post(f"{URL}release/", release).status_code == 403
    sign_in(client)
    assert client.get(f"{URL}add/").status_code == 403
    assert LegalHold.objects.active().count() == 1


def test_a_hold_is_neither_changed_nor_deleted(client: Client) -> None:
    sign_in(client, VIEW, CHANGE, "erasure.delete_legalhold")
    placed = hold(Reference("user", UserFactory().pk))
    assert client.post(f"{URL}{placed.pk}/change/", {"reason": "x"}).status_code == 403
    assert client.post(f"{URL}{placed.pk}/delete/", {"post": "yes"}).status_code == 403


def test_holds_are_found_by_subject_and_state(client: Client) -> None:
    sign_in(client, VIEW)
    alice, bob = UserFactory(), UserFactory()
    placed, other = hold(Reference("user", alice.pk)), hold(Reference("user", bob.pk))
    now = timezone.now()
    LegalHold.objects.filter(pk=other.pk).update(released_at=now)
    LegalHold.objects.filter(pk=placed.pk).update(review_at=now.date())
    page = client.get(URL, {"q": ids.encode(ids.USER, alice.pk)})
    assert [row.pk for row in page.context["cl"].result_list] == [placed.pk]
    for state, row in {"active": placed, "released": other, "review": placed}.items():
        shown = client.get(URL, {"state": state}).context["cl"].result_list
        assert [each.pk for each in shown] == [row.pk]
