import pytest
from django.test import Client

from accounts.models import User
from audit.models import AuditEvent, EventDetail
from contracts import ids
from erasure.models import DeletionRequest
from tests.admin.desk import days_ago, delete_softly, said, sign_in, text_of
from tests.bystanders import charlie_untouched
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/deleteduser/"
URL = f"{LIST}restore/"
VIEW, RESTORE = "accounts.view_deleteduser", "accounts.restore_user"


def test_the_list_action_asks_first_and_changes_nothing(client: Client) -> None:
    sign_in(client, VIEW, RESTORE)
    alice = delete_softly()
    data = {"action": "restore", "index": "0", "_selected_action": str(alice.pk)}
    page = text_of(client.post(LIST, data))
    assert "Restore accounts" in page
    assert "by the user" in page
    alice.refresh_from_db()
    assert alice.is_deleted


def test_confirming_brings_the_account_back(client: Client) -> None:
    staff = sign_in(client, VIEW, RESTORE)
    with charlie_untouched():
        alice = delete_softly()
        answer = client.post(URL, {"id": str(alice.pk), "reference": "T/4"}, follow=True)
    assert said(answer) == [f"Deleted account {ids.encode(ids.USER, alice.pk)}: restored."]
    alice.refresh_from_db()
    assert (alice.is_active, alice.is_deleted, alice.deleted_at) == (True, False, None)
    event = AuditEvent.objects.get(subject_id=alice.pk, action="user.restored")
    assert (event.actor_id, event.channel) == (staff.pk, "admin")
    assert event.facts["reference"] == "T/4"


def test_the_reason_that_staff_typed_is_kept_beside_the_event(client: Client) -> None:
    staff = sign_in(client, VIEW, RESTORE)
    alice = delete_softly()
    client.post(URL, {"id": str(alice.pk), "reason": "She changed her mind."})
    event = AuditEvent.objects.get(action="user.restored")
    [detail] = EventDetail.objects.filter(event_id=event.pk)
    assert (detail.field, detail.value) == ("reason", "She changed her mind.")
    assert (detail.person_id, detail.subject_id) == (staff.pk, alice.pk)


def test_the_case_reference_is_optional_but_checked(client: Client) -> None:
    sign_in(client, VIEW, RESTORE)
    alice = delete_softly()
    refused = client.post(URL, {"id": str(alice.pk), "reference": "for Alice Archer"})
    assert "Please correct" in text_of(refused)
    assert not User.live.filter(pk=alice.pk).exists()
    client.post(URL, {"id": str(alice.pk), "reference": ""})
    assert User.live.filter(pk=alice.pk).exists()


def test_every_refusal_is_told_and_hides_no_other(client: Client) -> None:
    sign_in(client, VIEW, RESTORE)
    late = delete_softly(at=days_ago(15))
    renamed = delete_softly(username="taken")
    moved = delete_softly(email="moved@example.com")
    running = delete_softly()
    alice = delete_softly()
    UserFactory(username="taken")
    UserFactory(email="Moved@example.com")
    DeletionRequest.objects.filter(subject_id=running.pk).update(state="running")
    wanted = [str(user.pk) for user in (late, renamed, moved, running, alice)]
    messages = said(client.post(URL, {"id": wanted}, follow=True))
    by_user = {message.split()[2].rstrip(":"): message for message in messages}
    expected = {
        late: "the time to restore it ended on",
        renamed: "somebody else bears its username",
        moved: "somebody else bears its e-mail address",
        running: "there is no scheduled deletion to undo",
        alice: "restored",
    }
    for user, words in expected.items():
        assert words in by_user[ids.encode(ids.USER, user.pk)]
    assert User.objects.filter(is_deleted=True).count() == 4


@pytest.mark.parametrize("held", [(), (VIEW,), (RESTORE,), (VIEW, "accounts.erase_user")])
def test_it_takes_both_permissions_on_every_way(client: Client, held: tuple[str, ...]) -> None:
    sign_in(client, *held)
    alice = delete_softly()
    assert client.get(f"{URL}?id={alice.pk}").status_code == 403
    assert client.post(URL, {"id": str(alice.pk)}).status_code == 403
    data = {"action": "restore", "index": "0", "_selected_action": str(alice.pk)}
    assert "Restore accounts" not in text_of(client.post(LIST, data))
    alice.refresh_from_db()
    assert alice.is_deleted


def test_an_account_that_was_locked_before_stays_locked(client: Client) -> None:
    sign_in(client, VIEW, RESTORE)
    alice = delete_softly()
    DeletionRequest.objects.filter(subject_id=alice.pk).update(before={"is_active": False})
    assert "stays locked" in text_of(client.get(f"{URL}?id={alice.pk}"))
    client.post(URL, {"id": str(alice.pk)})
    alice.refresh_from_db()
    assert (alice.is_deleted, alice.is_active) == (False, False)
