"""Closing an organization and changing one's mind: who is told, who may take it back, and that it
never comes back without an owner."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client, TestCase
from django.utils import timezone

from accounts.models import User
from accounts.services import soft_delete_own_account
from apikeys.verification import verify_key
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import links
from erasure.deleting import restore
from erasure.exceptions import OwnersGone
from erasure.models import DeletionRequest
from erasure.notices import find_unwarned, warn
from erasure.purging import purge_due
from organizations.models import Organization
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.factories import ManagedUserFactory, MembershipFactory, UserFactory, give_key
from tests.house.asking import ask, deletion_of, make_due, owned_by, refused
from tests.house.test_organizations import join, path_of

pytestmark = pytest.mark.django_db

IMMEDIATE = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
SYSTEM = Actor.system("test")


@pytest.fixture(autouse=True)
def _engine(settings: Any, mailoutbox: Any) -> None:
    settings.TASKS = IMMEDIATE


@contextmanager
def told() -> Iterator[list[tuple[str, str]]]:
    """Collect who is mailed what when the block's transactions have committed."""
    found: list[tuple[str, str]] = []
    mail.outbox.clear()
    with TestCase.captureOnCommitCallbacks(execute=True):
        yield found
    found += sorted((message.to[0], message.subject.split(" will")[0]) for message in mail.outbox)


def close(acme: Organization, key: str) -> Any:
    return ask("POST", path_of(acme, "deletion"), key, {"slug": acme.slug})


def reopen(acme: Organization, key: str) -> Any:
    return ask("POST", path_of(acme, "deletion/cancel"), key)


def test_all_living_owners_are_told_at_each_step() -> None:
    with charlie_untouched():
        alice, bob, gone = (UserFactory(username=name) for name in ("alice", "bob", "gone"))
        acme, key = owned_by(alice), give_key(alice)
        for user in (bob, gone):
            MembershipFactory(organization=acme, user=user, role="owner")
        join(acme, "admin")
        User.objects.filter(pk=gone.pk).update(is_active=False)
        both = ["alice@example.com", "bob@example.com"]
        with told() as mails:
            assert close(acme, key).status_code == 202
        assert [it for it, _ in mails] == both
        with told() as mails:
            assert reopen(acme, give_key(bob)).status_code == 200
        assert [it for it, _ in mails] == both
        with told():
            close(acme, key)
        due = timezone.now() + timedelta(days=2)
        DeletionRequest.objects.filter(subject_id=acme.pk, state="scheduled").update(
            due_at=due, requested_at=due - timedelta(days=14)
        )
        with told() as mails:
            [near] = find_unwarned(now=timezone.now())
            assert warn(near)
        assert [it for it, _ in mails] == both
        DeletionRequest.objects.filter(subject_id=acme.pk, state="scheduled").update(
            due_at=timezone.now()
        )
        with told() as mails:
            purge_due(actor=SYSTEM, clock=timezone.now, canary=False, jobs=1)
        assert [it for it, _ in mails] == both
        assert not Organization.objects.filter(pk=acme.pk).exists()
        assert User.live.filter(pk__in=[alice.pk, bob.pk]).count() == 2


def test_any_owner_takes_it_back_with_what_went_along() -> None:
    with charlie_untouched():
        alice, bob = UserFactory(), UserFactory()
        acme = owned_by(alice)
        MembershipFactory(organization=acme, user=bob, role="owner")
        erin = ManagedUserFactory(organization=acme).user
        platform = give_key(acme)
        close(acme, give_key(alice))
        assert not User.objects.get(pk=erin.pk).is_active
        response = reopen(acme, give_key(bob))
        assert (response.status_code, response.json()["state"]) == (200, "cancelled")
        acme.refresh_from_db()
        assert (acme.is_deleted, acme.is_active) == (False, True)
        assert User.objects.get(pk=erin.pk).is_active
        # Keys stay ended.
        assert verify_key(platform, now=timezone.now()) is None
        event = AuditEvent.objects.get(action="organization.restored")
        assert (event.actor_id, event.subject_id) == (bob.pk, acme.pk)
        assert refused(reopen(acme, give_key(bob))) == (409, "NOT_RESTORABLE")


def test_nobody_else_takes_it_back() -> None:
    alice = UserFactory()
    acme = owned_by(alice)
    admin = join(acme, "admin")
    close(acme, give_key(alice))
    for user in (admin, UserFactory()):
        assert refused(reopen(acme, give_key(user))) == (403, "INSUFFICIENT_PERMISSIONS")
    for name in ("00000000-0000-7000-8000-000000000000", "x"):
        response = ask("POST", f"/v1/organizations/{name}/deletion/cancel", give_key(alice))
        assert refused(response) == (404, "ORGANIZATION_NOT_FOUND")
    assert deletion_of(acme).state == "scheduled"


def test_too_late_is_too_late() -> None:
    alice = UserFactory()
    acme = owned_by(alice)
    close(acme, give_key(alice))
    make_due(acme)
    assert refused(reopen(acme, give_key(alice))) == (409, "GRACE_EXPIRED")


def test_a_slug_that_somebody_took_meanwhile_stands_in_the_way() -> None:
    alice = UserFactory()
    acme, key = owned_by(alice), give_key(alice)
    close(acme, key)
    body = {"name": "New", "slug": acme.slug}
    assert ask("POST", "/v1/organizations", key, body).status_code == 201
    assert refused(reopen(acme, key)) == (409, "NAME_TAKEN")


def test_it_does_not_come_back_to_nobody() -> None:
    """Its only owner left while it was closed, which its deletion does not hinder."""
    with charlie_untouched():
        alice = UserFactory()
        acme = owned_by(alice)
        close(acme, give_key(alice))
        oneself = Actor("user", alice.pk, "test", person_id=alice.pk)
        soft_delete_own_account(actor=oneself, user_id=alice.pk, now=timezone.now())
        subject = Reference("organization", acme.pk)
        with pytest.raises(OwnersGone):
            restore(actor=SYSTEM, subject=subject, now=timezone.now())
        page = links.restore_url(deletion_of(acme)).removeprefix("http://127.0.0.1:8000")
        shown = Client().get(page).content.decode()
        assert "None of its owners is left" in shown
        Client().post(page)
        operator = give_key(UserFactory(is_staff=True, is_superuser=True))
        path = f"/v1/deletions/{links.spell_deletion(deletion_of(acme).pk)}/restore"
        assert refused(ask("POST", path, operator)) == (409, "OWNERS_GONE")
        code, said = run("restore_account", str(acme.pk), "--execute")
        assert (code, "owners" in said) == (1, True)
        assert Organization.objects.get(pk=acme.pk).is_deleted
        restore(actor=SYSTEM, subject=Reference("user", alice.pk), now=timezone.now())
        restore(actor=SYSTEM, subject=subject, now=timezone.now())
        assert not Organization.objects.get(pk=acme.pk).is_deleted


def test_an_owner_whom_it_manages_comes_back_with_it() -> None:
    erin = ManagedUserFactory().user
    acme = Organization.objects.get(managed_users__user=erin)
    MembershipFactory(organization=acme, user=erin, role="owner")
    close(acme, give_key(erin))
    assert not User.objects.get(pk=erin.pk).is_active
    subject = Reference("organization", acme.pk)
    restore(actor=SYSTEM, subject=subject, now=timezone.now())
    assert User.objects.get(pk=erin.pk).is_active
