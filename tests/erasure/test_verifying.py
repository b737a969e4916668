"""The residual search after an erasure, and what the receipt says of it."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import override_settings
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import signing
from erasure.executor import erase_now
from erasure.models import DeletionRequest, Statement
from erasure.receipts import ReceiptMissing, receipt_of, verify
from erasure.residue import Findings, Hit, search
from erasure.signing import InvalidReceipt
from erasure.subjects import get_kind
from erasure.verifying import record_search, search_erased, take_identifiers
from tests.bystanders import charlie_untouched
from tests.factories import ManagedUserFactory, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db

ACTOR = Actor.system("test")
MAIL = "ann.canary@example.org"


def keys() -> list[dict[str, str]]:
    return signing.key_set()["keys"]


def erase(subject: Reference) -> DeletionRequest:
    done = erase_now(actor=ACTOR, subject=subject, now=timezone.now())
    found: DeletionRequest = DeletionRequest.objects.get(pk=done.request_id)
    return found


def erased() -> DeletionRequest:
    return erase(Reference("user", UserFactory(username="ann.canary", email=MAIL).pk))


def write_result(request: DeletionRequest, findings: Findings) -> None:
    record_search(request, findings, actor=ACTOR, now=timezone.now())
    request.refresh_from_db()


def test_the_receipt_states_the_result_and_verifies() -> None:
    with charlie_untouched():
        request = erased()
        before = verify(receipt_of(request), keys())
        write_result(request, search([MAIL, str(request.subject_id)]))
    claims = verify(receipt_of(request), keys())
    result = claims["residual_search"]
    assert before["residual_search"] is None
    assert {**before, "residual_search": result} == claims
    assert (result["identifiers"], result["hits"]) == (2, 0)
    assert result.keys() == {"at", "identifiers", "hits", "not_searched"}
    assert any("every process keeps one of its own" in one for one in result["not_searched"])


def test_a_leftover_is_counted_and_no_identifier_is_written_down() -> None:
    request = erased()
    Group.objects.create(name=f"friends of {MAIL}")
    write_result(request, search([MAIL]))
    claims = verify(receipt_of(request), keys())
    assert claims["residual_search"]["hits"] == 1
    event = AuditEvent.objects.get(action="user.searched")
    assert (event.subject_id, event.channel, event.outcome) == (
        request.subject_id,
        "test",
        "failed",
    )
    assert event.facts == {
        "deletion": str(request.pk),
        "identifiers": 1,
        "hits": 1,
        "not_searched": len(claims["residual_search"]["not_searched"]),
    }
    assert "canary" not in json.dumps([claims, event.facts]).lower()


def test_a_later_search_takes_the_place_of_an_earlier_one() -> None:
    request = erased()
    note = Group.objects.create(name=MAIL)
    write_result(request, search([MAIL]))
    note.delete()
    write_result(request, search([MAIL]))
    assert verify(receipt_of(request), keys())["residual_search"]["hits"] == 0


@pytest.mark.parametrize("changes", [{"hits": 0}, {"identifiers": 9}, {"not_searched": []}])
def test_a_result_that_somebody_changes_no_longer_verifies(changes: dict[str, Any]) -> None:
    request = erased()
    write_result(request, Findings([Hit(0, "t", "c", "1", "plain")], unsearched=["a"]))
    request.searched |= changes
    request.save()
    with pytest.raises(InvalidReceipt):
        verify(receipt_of(request), keys())


def test_a_row_that_was_changed_is_not_signed_anew() -> None:
    request = erased()
    DeletionRequest.objects.filter(pk=request.pk).update(counts={"accounts.User": 7})
    with pytest.raises(InvalidReceipt):
        record_search(request, Findings(), actor=ACTOR, now=timezone.now())
    request.refresh_from_db()
    assert request.searched == {}
    assert not AuditEvent.objects.filter(action="user.searched").exists()


def test_an_open_deletion_takes_no_result() -> None:
    now = timezone.now()
    request = DeletionRequest.objects.create(
        subject_kind="user",
        subject_id=UserFactory().pk,
        channel="test",
        requested_by_kind="system",
        requested_at=now,
        due_at=now + timedelta(days=14),
    )
    with pytest.raises(ReceiptMissing):
        record_search(request, Findings(), actor=ACTOR, now=now)


def test_what_the_receipt_stated_stays_under_other_settings_and_another_key() -> None:
    request = erased()
    before = verify(receipt_of(request), keys())
    old, new = json.dumps(signing.key_set()), signing.make_key()
    with override_settings(
        RECEIPT_SIGNING_KEY=json.dumps(new), RECEIPT_KEYS=old, BACKUP_RETENTION_DAYS=900
    ):
        write_result(request, search([MAIL]))
        after = verify(receipt_of(request), keys())
        assert signing.read_keys(json.dumps(new))[0]["kid"] in str(
            Statement.objects.get(pk=request.statement).content["header"]
        )
    for claim in ("statement", "backups_until", "iat", "iss"):
        assert after[claim] == before[claim]


def test_a_list_that_was_cut_is_named_as_not_searched() -> None:
    request = erased()
    write_result(request, Findings(is_cut=True))
    assert any("at most" in one for one in request.searched["not_searched"])


def test_each_of_a_family_has_its_own_part() -> None:
    with charlie_untouched():
        acme = OrganizationFactory(name="Acme of 1998", slug="acme")
        ann = ManagedUserFactory(organization=acme, user__email=MAIL).user
        subject, since = Reference("organization", acme.pk), timezone.now()
        sought = take_identifiers(subject)
        Group.objects.create(name=f"friends of {MAIL}")
        erase(subject)
        found = search_erased(sought, actor=ACTOR, since=since, now=timezone.now())
    assert len(found) == 1
    hits = {
        one.subject_id: (one.searched["identifiers"], one.searched["hits"])
        for one in DeletionRequest.objects.filter(subject_id__in=[acme.pk, ann.pk])
    }
    assert hits == {acme.pk: (2, 0), ann.pk: (2, 1)}
    assert {str(acme.pk), "Acme of 1998"} == set(sought[subject])


def test_whoever_was_not_erased_is_not_searched_for() -> None:
    ann = UserFactory(email=MAIL)
    sought = take_identifiers(Reference("user", ann.pk))
    now = timezone.now()
    assert not search_erased(sought, actor=ACTOR, since=now, now=now)
    assert not AuditEvent.objects.filter(action="user.searched").exists()


@pytest.mark.parametrize(
    ("username", "wanted"),
    [
        ("ann.canary", ["ann.canary", MAIL]),
        ("charlotte", [MAIL]),
        ("user10", [MAIL]),
        ("1234567", [MAIL]),
        ("ann.1", [MAIL]),
    ],
)
def test_mere_words_are_not_looked_for(username: str, wanted: list[str]) -> None:
    assert get_kind("user").identifiers(UserFactory(username=username, email=MAIL)) == wanted


def test_what_somebody_else_bears_by_now_is_not_looked_for() -> None:
    user = UserFactory(username="ann.canary", email=MAIL, is_deleted=True, is_active=False)
    assert get_kind("user").identifiers(user) == ["ann.canary", MAIL]
    UserFactory(username="ann.canary", email=MAIL.upper())
    assert get_kind("user").identifiers(user) == []
    acme = OrganizationFactory(name="Acme of 1998", slug="acme-1998")
    assert get_kind("organization").identifiers(acme) == ["acme-1998", "Acme of 1998"]
    OrganizationFactory(name="Acme of 1998", slug="another-one")
    assert get_kind("organization").identifiers(acme) == ["acme-1998"]
