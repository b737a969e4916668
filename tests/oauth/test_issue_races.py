"""Tokens that are issued at the very moment in which somebody ends: none survives.

Each race runs on real connections behind a barrier. The control takes the locks out, and tokens
must outlive their person; otherwise the race proves nothing.
"""

from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from accounts.services import restore_user, soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from erasure.deleting import restore
from organizations.oauth import issuing, services
from organizations.oauth.applications import delete_application
from organizations.oauth.exceptions import NotIssued
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken
from organizations.oauth.verification import verify_token
from organizations.services import schedule_deletion
from tests.bystanders import charlie_untouched
from tests.factories import ApplicationFactory, MembershipFactory, UserFactory
from tests.oauth.test_ending import actor_of
from tests.services.test_ownership_races import race

pytestmark = pytest.mark.django_db(transaction=True)

ROUNDS = 4


class Party:
    """A person, an application, its organization and its owner."""

    def __init__(self) -> None:
        owner = MembershipFactory(role="owner")
        self.owner, self.organization = owner.user, owner.organization
        self.application = ApplicationFactory(organization=self.organization)
        self.person = UserFactory()
        self.issued: list[str] = []

    def consent(self) -> None:
        issuing.write_code(
            actor=actor_of(self.person),
            application_id=self.application.pk,
            code=f"code of {self.person.pk}",
            consent=issuing.Consent(["account:read"], "https://client.example/", "x", "S256"),
            now=timezone.now(),
        )

    def exchange(self) -> None:
        found = issuing.exchange_code(
            application_id=self.application.pk,
            code=f"code of {self.person.pk}",
            scope="account:read",
            now=timezone.now(),
        )
        self.issued += [found.access_token, found.refresh_token]

    def refresh(self) -> None:
        access, token = self.issued
        authorization = RefreshToken.objects.get(user_id=self.person.pk)
        found = issuing.refresh_tokens(
            authorization_id=authorization.pk,
            refresh_token=token,
            scope="account:read",
            now=timezone.now(),
        )
        self.issued = [access, found.access_token]

    def issue(self) -> None:
        found = issuing.issue_to_application(
            application_id=self.application.pk, scope="users:delete", now=timezone.now()
        )
        self.issued.append(found.access_token)

    def delete_person(self) -> None:
        person = self.person
        soft_delete_own_account(actor=actor_of(person), user_id=person.pk, now=timezone.now())

    def delete_organization(self) -> None:
        schedule_deletion(
            actor=actor_of(self.owner),
            organization_id=self.organization.pk,
            slug=self.organization.slug,
            now=timezone.now(),
        )

    def delete_application(self) -> None:
        delete_application(
            actor=actor_of(self.owner),
            organization_id=self.organization.pk,
            application_id=self.application.pk,
            now=timezone.now(),
        )

    def take_back(self) -> None:
        (mine,) = RefreshToken.objects.filter(user_id=self.person.pk)
        services.end_authorization(
            actor=actor_of(self.person), authorization_id=mine.pk, now=timezone.now()
        )

    def bring_back(self) -> None:
        """Undo whatever can be undone, so that only what really ended stays dead."""
        now, actor = timezone.now(), Actor.system("test")
        self.person.refresh_from_db()
        self.organization.refresh_from_db()
        if self.person.is_deleted:
            restore_user(actor=actor, user_id=self.person.pk, now=now)
        if self.organization.is_deleted:
            subject = Reference("organization", self.organization.pk)
            restore(actor=actor, subject=subject, now=now)

    def survivors(self) -> int:
        self.bring_back()
        living = [one for one in self.issued if verify_token(one, now=timezone.now())]
        mine = {"application_id": self.application.pk}
        return len(living) + sum(int(model.objects.filter(**mine).count()) for model in MODELS)


MODELS: list[Any] = [AccessToken, RefreshToken, Grant]
PERSONAL = {"consent": "", "exchange": "consent", "refresh": "consent exchange"}
ENDS = ["delete_person", "delete_organization", "delete_application"]


def prepare(steps: str) -> Party:
    party = Party()
    for step in steps.split():
        getattr(party, step)()
    return party


def run(party: Party, issue: str, end: str, patience: float = 0.05) -> list[Any]:
    return race(partial(getattr(party, issue)), partial(getattr(party, end)), patience=patience)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("issue", [*PERSONAL, "issue"])
def test_what_is_issued_meanwhile_ends_too(issue: str, end: str) -> None:
    if issue == "issue" and end == "delete_person":
        return
    with charlie_untouched():
        for _ in range(ROUNDS):
            party = prepare(PERSONAL.get(issue, ""))
            raised = run(party, issue, end)
            assert set(raised) <= {None, NotIssued}
            assert raised[1] is None
            assert party.survivors() == 0


def test_of_two_who_show_the_same_code_one_gets_tokens_and_loses_them() -> None:
    for _ in range(ROUNDS):
        party = prepare("consent")
        raised = run(party, "exchange", "exchange")
        assert sorted(map(str, raised)) == sorted(map(str, [None, NotIssued]))
        assert not any(verify_token(one, now=timezone.now()) for one in party.issued)
        assert not RefreshToken.objects.filter(user_id=party.person.pk).exists()


def test_of_two_who_refresh_at_once_one_gets_tokens() -> None:
    for _ in range(ROUNDS):
        party = prepare("consent exchange")
        raised = run(party, "refresh", "refresh")
        assert sorted(map(str, raised)) == sorted(map(str, [None, NotIssued]))
        assert AccessToken.objects.filter(application_id=party.application.pk).count() == 1


def test_a_refresh_never_outruns_a_person_who_takes_it_back() -> None:
    for _ in range(ROUNDS):
        party = prepare("consent exchange")
        raised = run(party, "refresh", "take_back")
        assert set(raised) <= {None, NotIssued}
        assert not AccessToken.objects.filter(user_id=party.person.pk).exists()


def find_unlocked(user_id: Any, application_id: Any) -> Any:
    known = Application.objects.select_related("organization")
    return known.filter(pk=application_id).first()


def test_without_the_locks_tokens_outlive_their_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL without the locks leaves living tokens; SQLite without BEGIN IMMEDIATE fails."""
    went_wrong = 0
    for _ in range(ROUNDS):
        party = prepare("consent")
        with monkeypatch.context() as patch:
            patch.setattr(issuing, "lock_parties", find_unlocked)
            if connection.vendor == "sqlite":
                options = connection.settings_dict["OPTIONS"]
                patch.setitem(options, "transaction_mode", "DEFERRED")
                patch.setitem(options, "timeout", 0.2)
            # Nobody waits for a lock here, so both come to the meeting, however late.
            raised = run(party, "exchange", "delete_person", patience=10)
        went_wrong += bool(OperationalError in raised or party.survivors())
    assert went_wrong >= ROUNDS // 2
