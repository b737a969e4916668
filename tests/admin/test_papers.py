"""What staff take away from a deletion's page: the copy of the data, and the receipt."""

import io
import json
import zipfile
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure.desk.shown import show_deletion
from erasure.executor import erase_now
from erasure.models import DeletionRequest
from erasure.receipts import verify
from erasure.signing import key_set
from tests.admin.desk import delete_softly, sign_in, text_of
from tests.bystanders import charlie_untouched
from tests.factories import give_key

pytestmark = pytest.mark.django_db

URL = "/admin/erasure/deletionrequest/"
LOOK, EXPORT = "erasure.view_deletionrequest", "erasure.export_subject"


def request_of(subject: Any) -> DeletionRequest:
    found: DeletionRequest = DeletionRequest.objects.get(subject_id=subject.pk)
    return found


def erased(user: Any) -> DeletionRequest:
    subject = Reference("user", user.pk)
    erase_now(actor=Actor.system("test"), subject=subject, now=timezone.now())
    return request_of(user)


def test_the_export_is_a_zip_of_what_is_held_on_her_and_is_written_down(client: Client) -> None:
    staff = sign_in(client, LOOK, EXPORT)
    with charlie_untouched():
        alice = delete_softly(username="alice-archer")
        row = request_of(alice)
        assert "Export" in text_of(client.get(f"{URL}{row.pk}/change/"))
        answer: Any = client.post(f"{URL}{row.pk}/export/")
    assert answer.headers["Content-Type"] == "application/zip"
    assert "no-store" in answer.headers["Cache-Control"]
    assert f"{show_deletion(row.pk)}.zip" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(b"".join(answer.streaming_content))) as archive:
        text = "".join(archive.read(name).decode() for name in archive.namelist())
    assert "alice-archer" in text
    assert "charlie" not in text
    event = AuditEvent.objects.get(action="user.exported", subject_id=alice.pk)
    assert (event.actor_id, event.channel) == (staff.pk, "admin")


def test_an_export_takes_its_own_permission_and_a_considered_click(client: Client) -> None:
    row = request_of(delete_softly())
    sign_in(client, LOOK, "accounts.erase_user", "accounts.view_user")
    assert client.post(f"{URL}{row.pk}/export/").status_code == 403
    sign_in(client, EXPORT)
    assert client.post(f"{URL}{row.pk}/export/").status_code == 403
    sign_in(client, LOOK, EXPORT)
    assert client.get(f"{URL}{row.pk}/export/").status_code == 403
    assert not AuditEvent.objects.filter(action="user.exported").exists()


def test_nothing_is_left_to_export_afterwards(client: Client) -> None:
    sign_in(client, LOOK, EXPORT)
    row = erased(delete_softly())
    assert "Export" not in text_of(client.get(f"{URL}{row.pk}/change/"))
    assert client.post(f"{URL}{row.pk}/export/").status_code == 404


def test_the_receipt_is_shown_and_verifies(client: Client) -> None:
    sign_in(client, LOOK)
    alice = delete_softly(username="alice-archer")
    give_key(alice)
    row = erased(alice)
    page = text_of(client.get(f"{URL}{row.pk}/receipt/"))
    for words in ("API key", "Art. 17(1) GDPR", "What is kept, and why", show_deletion(row.pk)):
        assert words in page
    assert "alice-archer" not in page
    answer = client.get(f"{URL}{row.pk}/receipt.jws")
    assert answer.headers["Content-Type"] == "application/jose"
    claims = verify(text_of(answer), key_set()["keys"])
    assert claims["jti"] == str(row.pk)
    assert claims["removed"] == {"accounts.User": 1, "apikeys.ApiKey": 1}
    assert "alice-archer" not in json.dumps(claims)


@pytest.mark.parametrize("paper", ["receipt/", "receipt.jws"])
def test_without_a_receipt_there_is_none_to_show(client: Client, paper: str) -> None:
    sign_in(client, LOOK)
    row = request_of(delete_softly())
    assert client.get(f"{URL}{row.pk}/{paper}").status_code == 404
    sign_in(client, "accounts.view_user")
    row = erased(delete_softly())
    assert client.get(f"{URL}{row.pk}/{paper}").status_code == 403


def test_a_preview_of_whom_is_gone_leads_back(client: Client) -> None:
    sign_in(client, LOOK)
    row = erased(delete_softly())
    answer = client.get(f"{URL}{row.pk}/preview/")
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{URL}{row.pk}/change/"
