"""The link in the mail: what it shows, that looking changes nothing, and every way it can end."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import links
from erasure.deleting import restore, schedule_deletion
from erasure.executor import erase_now
from erasure.holds import place_hold
from erasure.models import DeletionRequest
from organizations.models import Organization
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import (
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
)
from tests.house.asking import make_due

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


def refer(subject: User | Organization) -> Reference:
    return Reference("user" if isinstance(subject, User) else "organization", subject.pk)


def delete(subject: User | Organization) -> str:
    """Soft delete a subject and return the path of its restore link."""
    request = schedule_deletion(actor=SYSTEM, subject=refer(subject), now=timezone.now())
    return f"/restore/{links.sign_link(links.RESTORE, request)}"


def look(path: str) -> Any:
    return Client().get(path)


def press(path: str) -> Any:
    """Open a link and press its button, as a browser would, CSRF token and all."""
    browser = Client(enforce_csrf_checks=True)
    page = browser.get(path).content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    return browser.post(path, {"csrfmiddlewaretoken": token[1] if token else ""}, follow=True)


def says(response: Any, *words: str) -> None:
    page = re.sub(r"\s+", " ", response.content.decode())
    for word in words:
        assert word in page, page


def is_deleted(subject: User | Organization) -> bool:
    return bool(type(subject)._default_manager.get(pk=subject.pk).is_deleted)


def test_looking_shows_what_comes_back_and_changes_nothing() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        MembershipFactory(user=alice)
        path = delete(alice)
        before = read_rows()
        for _ in range(2):
            response = look(path)
            assert response.status_code == 200
        assert Client().head(path).status_code == 200
        assert read_rows() == before
    says(response, "Restore this account?", "alice", "1 user", "1 membership", "API keys")


def test_pressing_restores_the_user() -> None:
    with charlie_untouched():
        alice = UserFactory()
        give_key(alice)
        path = delete(alice)
        response = press(path)
    assert response.redirect_chain == [(path, 303)]
    says(response, "The account is restored")
    assert not is_deleted(alice)
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    assert request.state == "cancelled"
    event = AuditEvent.objects.get(action="user.restored")
    assert (event.actor_kind, event.actor_id) == ("user", alice.pk)
    assert (event.channel, event.facts["deletion"]) == ("restore-link", str(request.pk))
    assert not alice.api_keys.filter(revoked_at=None).exists()


def test_pressing_restores_an_organization_with_what_went_along() -> None:
    with charlie_untouched():
        organization = MembershipFactory(role="owner").organization
        managed = ManagedUserFactory(organization=organization).user
        path = delete(organization)
        says(look(path), "Restore this organization?", organization.name, "1 user")
        response = press(path)
    says(response, "The organization is restored")
    assert not is_deleted(organization)
    assert not is_deleted(managed)


def test_who_was_taken_along_comes_back_with_the_taker_only() -> None:
    with charlie_untouched():
        organization = MembershipFactory(role="owner").organization
        managed = ManagedUserFactory(organization=organization).user
        path = delete(organization)
        theirs = DeletionRequest.objects.get(subject_id=managed.pk)
        alone = f"/restore/{links.sign_link(links.RESTORE, theirs)}"
        for response in (look(alone), Client().post(alone)):
            assert response.status_code == 409
            says(response, "cannot be restored alone", "along with the organization")
        assert is_deleted(managed)
        assert is_deleted(organization)
        press(path)
    assert not is_deleted(managed)
    says(look(alone), "The account is restored")


def test_without_the_csrf_token_nothing_happens() -> None:
    alice = UserFactory()
    path = delete(alice)
    response = Client(enforce_csrf_checks=True).post(path)
    assert response.status_code == 403
    assert is_deleted(alice)


def test_the_link_names_nobody_and_cannot_be_made_up() -> None:
    alice = UserFactory(username="alice", email="alice@example.com")
    path = delete(alice)
    assert "alice" not in path
    assert alice.pk.hex not in path
    assert str(alice.pk) not in path
    token = path.rpartition("/")[2]
    value, _, signature = token.rpartition(".")
    others = "00000000000000000000000000000000-1"
    for wrong in (f"{value}.", f"{others}.{signature}", f"{value[:-1]}2.{signature}", "x", "é.x"):
        response = look(f"/restore/{wrong}")
        assert response.status_code == 404
        says(response, "This link is not valid")
        assert Client().post(f"/restore/{wrong}").status_code == 404
    assert is_deleted(alice)


def test_a_status_link_restores_nothing() -> None:
    alice = UserFactory()
    delete(alice)
    request = DeletionRequest.objects.get(subject_id=alice.pk)
    token = links.sign_link(links.STATUS, request)
    assert Client().post(f"/restore/{token}").status_code == 404
    assert Client().post(f"/deletions/{token}").status_code == 405
    assert is_deleted(alice)


def test_a_rotated_secret_keeps_links_alive_as_long_as_it_is_a_fallback(settings: Any) -> None:
    path = delete(UserFactory())
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-for-tests-" * 3
    assert look(path).status_code == 404
    settings.SECRET_KEY_FALLBACKS = [former]
    assert look(path).status_code == 200


def test_it_dies_with_the_grace_period() -> None:
    alice = UserFactory()
    path = delete(alice)
    make_due(alice)
    for response in (look(path), Client().post(path)):
        assert response.status_code == 410
        says(response, "The time to restore is over")
    assert is_deleted(alice)


def test_under_a_hold_it_restores_in_time_and_not_afterwards() -> None:
    alice, bob = UserFactory(), UserFactory()
    for user in (alice, bob):
        now = timezone.now()
        place_hold(actor=SYSTEM, subject=refer(user), reason="Case 4711", review_at=None, now=now)
    in_time, late = delete(alice), delete(bob)
    press(in_time)
    assert not is_deleted(alice)
    make_due(bob)
    response = Client().post(late)
    assert response.status_code == 410
    says(response, "A legal hold keeps its data")
    assert b"4711" not in response.content
    assert is_deleted(bob)


def test_used_once_it_says_so() -> None:
    alice = UserFactory()
    path = delete(alice)
    press(path)
    for response in (look(path), Client().post(path)):
        assert response.status_code == 200
        says(response, "The account is restored")
    assert AuditEvent.objects.filter(action="user.restored").count() == 1


def test_the_link_of_an_earlier_deletion_undoes_no_later_one() -> None:
    alice = UserFactory()
    early = delete(alice)
    restore(actor=SYSTEM, subject=refer(alice), now=timezone.now())
    late = delete(alice)
    response = Client().post(early)
    says(response, "The account is restored", "deleted again since")
    assert is_deleted(alice)
    press(late)
    assert not is_deleted(alice)


def test_a_taken_name_is_said_and_nothing_is_changed() -> None:
    with charlie_untouched():
        alice = UserFactory(username="alice")
        path = delete(alice)
        UserFactory(username="alice", email="another@example.com")
        for response in (look(path), Client().post(path)):
            assert response.status_code == 409
            says(response, "cannot be restored as it is", "Somebody else bears the username")
    assert is_deleted(alice)


@pytest.mark.parametrize("state", ["running", "failed"])
def test_once_the_erasure_has_begun_it_is_too_late(state: str) -> None:
    alice = UserFactory()
    path = delete(alice)
    DeletionRequest.objects.filter(subject_id=alice.pk).update(state=state)
    for response in (look(path), Client().post(path)):
        assert response.status_code == 410
        says(response, "The account is being erased")
    assert is_deleted(alice)


def test_after_the_erasure_it_says_when_that_was() -> None:
    alice = UserFactory()
    path = delete(alice)
    erase_now(actor=SYSTEM, subject=refer(alice), now=timezone.now())
    for response in (look(path), Client().post(path)):
        assert response.status_code == 410
        says(response, "The account is erased", "Nobody can bring it back")


def test_the_pages_keep_to_themselves() -> None:
    path = delete(UserFactory())
    for response in (look(path), look("/restore/x"), look("/deletions/x")):
        assert response["Cache-Control"] == "no-store"
        assert response["Referrer-Policy"] == "same-origin"
        assert response["X-Frame-Options"] == "DENY"
        assert "noindex" in response["X-Robots-Tag"]
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert "script" not in response["Content-Security-Policy"]
        page = response.content.decode()
        assert "<script" not in page
        assert "style=" not in page
        assert "width=device-width" in page
    styles = re.search(r'href="(/static/[^"]+)"', look(path).content.decode())
    assert styles
    response = look(styles[1])
    assert response.status_code == 200
    response.close()


def test_a_name_that_looks_like_markup_is_shown_as_text() -> None:
    organization = OrganizationFactory(name="<b>Acme</b>")
    says(look(delete(organization)), "&lt;b&gt;Acme&lt;/b&gt;")


def test_the_progress_page_tells_the_story_and_hands_out_the_receipt() -> None:
    with charlie_untouched():
        alice = UserFactory()
        delete(alice)
        request = DeletionRequest.objects.get(subject_id=alice.pk)
        path = f"/deletions/{links.sign_link(links.STATUS, request)}"
        says(look(path), "The account is deleted", links.spell_deletion(request.pk))
        assert look(f"{path}/receipt").status_code == 409
        erase_now(actor=SYSTEM, subject=refer(alice), now=timezone.now())
        says(look(path), "The account is erased", "Download the signed receipt")
        receipt = look(f"{path}/receipt")
    assert receipt.status_code == 200
    assert receipt["Content-Type"] == "application/jose"
    assert "attachment" in receipt["Content-Disposition"]
    assert receipt.content.count(b".") == 2
    assert look("/deletions/x/receipt").status_code == 404


def test_the_progress_page_tells_of_holds_and_failures() -> None:
    alice = UserFactory()
    delete(alice)
    rows = DeletionRequest.objects.filter(subject_id=alice.pk)
    path = f"/deletions/{links.sign_link(links.STATUS, rows.get())}"
    rows.update(state="failed", retry_at=timezone.now() + timedelta(minutes=5))
    says(look(path), "An attempt failed")
    place_hold(
        actor=SYSTEM, subject=refer(alice), reason="Case", review_at=None, now=timezone.now()
    )
    says(look(path), "A legal hold keeps the data")
