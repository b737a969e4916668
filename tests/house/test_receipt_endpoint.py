"""The receipt over HTTP: whoever may follow a deletion may have it, once it is finished."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from erasure.executor import erase_now
from erasure.receipts import receipt_of
from tests.bystanders import charlie_untouched
from tests.factories import UserFactory, give_key
from tests.house.asking import ask, deletion_of, refused, spell

pytestmark = pytest.mark.django_db


def leave(user: Any) -> str:
    """Delete a user and return the status link, as path and query."""
    answer = ask("POST", f"/v1/user/{spell(user)}/deletion", give_key(user)).json()
    parts = urlsplit(answer["status_url"])
    return f"{parts.path}?{parts.query}"


def receipt(address: str, key: str | None = None) -> Any:
    path, _, query = address.partition("?")
    return ask("GET", f"{path}/receipt" + (f"?{query}" if query else ""), key)


def erase(user: Any) -> None:
    erase_now(actor=Actor.system("test"), subject=Reference("user", user.pk), now=timezone.now())


def test_a_finished_erasure_has_a_receipt_for_the_status_link() -> None:
    with charlie_untouched():
        alice = UserFactory()
        address = leave(alice)
        erase(alice)
        response = receipt(address)
    assert response.status_code == 200
    assert response["Content-Type"] == "application/jose"
    assert response["Cache-Control"] == "no-store"
    assert response.content.decode() == receipt_of(deletion_of(alice))
    assert response.content.count(b".") == 2


def test_there_is_none_before_the_end() -> None:
    alice = UserFactory()
    response = receipt(leave(alice))
    assert refused(response) == (409, "RECEIPT_NOT_READY")


def test_strangers_learn_nothing() -> None:
    alice = UserFactory()
    address = leave(alice)
    erase(alice)
    path = address.partition("?")[0]
    assert refused(receipt(path)) == (401, "AUTHENTICATION_REQUIRED")
    assert refused(receipt(f"{path}?token=x")) == (404, "DELETION_NOT_FOUND")
    stranger = give_key(UserFactory())
    assert refused(receipt(path, stranger)) == (404, "DELETION_NOT_FOUND")
    operator = UserFactory(is_staff=True, is_superuser=True)
    assert receipt(path, give_key(operator)).status_code == 200


def test_other_methods_are_refused() -> None:
    response = ask("POST", "/v1/deletions/del_x/receipt?token=x")
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")
