"""A token dies at once with its application, its organization or its person, and stays dead."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.services import erase_own_account, restore_user, set_active, soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import subjects
from erasure.deleting import restore
from organizations.models import Organization
from organizations.oauth.applications import delete_application
from organizations.oauth.introspection import describe_token
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken
from organizations.oauth.services import list_authorizations
from organizations.services import delete_organization, schedule_deletion
from tests.bystanders import charlie_untouched
from tests.factories import (
    ApplicationFactory,
    ManagedUserFactory,
    MembershipFactory,
    UserFactory,
)
from tests.oauth.flow import Flow, ask_for_own_token, call, failure, told, works

pytestmark = pytest.mark.django_db


@dataclass
class Scene:
    """An organization with both kinds of application, each with a token in use, and a code that
    was not yet exchanged."""

    owner: User
    person: User
    organization: Organization
    machine: Application
    flow: Flow
    own: str
    personal: str
    refresh: str
    code: str

    def assert_dead(self, *, own: bool) -> None:
        assert works(self.own) is not own
        assert not works(self.personal)
        assert self.flow.refresh(self.refresh).status_code in (400, 401)
        assert self.flow.exchange(self.code).status_code in (400, 401)
        assert not works(self.personal)
        assert call("introspect", self.machine, token=self.own).status_code == (401 if own else 200)


def set_scene() -> Scene:
    organization = MembershipFactory(role="owner").organization
    owner = MembershipFactory(organization=organization, role="owner").user
    machine = ApplicationFactory(machine=True, organization=organization)
    person = UserFactory()
    flow = Flow(ApplicationFactory(organization=organization), person)
    tokens = flow.tokens()
    own = ask_for_own_token(machine).json()["access_token"]
    scene = Scene(
        owner=owner,
        person=person,
        organization=organization,
        machine=machine,
        flow=flow,
        own=own,
        personal=tokens["access_token"],
        refresh=tokens["refresh_token"],
        code=flow.code(),
    )
    assert works(scene.own)
    assert works(scene.personal)
    return scene


def actor_of(user: User) -> Actor:
    return Actor(kind="user", id=user.pk, channel="test", person_id=user.pk)


def soft_delete_person(scene: Scene) -> None:
    person = scene.person
    soft_delete_own_account(actor=actor_of(person), user_id=person.pk, now=timezone.now())


def erase_person(scene: Scene) -> None:
    erase_own_account(actor=actor_of(scene.person), now=timezone.now())


def soft_delete_organization(scene: Scene) -> None:
    schedule_deletion(
        actor=actor_of(scene.owner),
        organization_id=scene.organization.pk,
        slug=scene.organization.slug,
        now=timezone.now(),
    )


def tear_down_organization(scene: Scene) -> None:
    delete_organization(
        actor=actor_of(scene.owner), organization_id=scene.organization.pk, now=timezone.now()
    )


def rows() -> tuple[int, int, int]:
    return AccessToken.objects.count(), RefreshToken.objects.count(), Grant.objects.count()


@pytest.mark.parametrize("end", [soft_delete_person, erase_person])
def test_with_the_person(end: Callable[[Scene], None]) -> None:
    with charlie_untouched():
        scene = set_scene()
        end(scene)
        scene.assert_dead(own=False)
        assert not RefreshToken.objects.filter(user_id=scene.person.pk).exists()
        assert not Grant.objects.filter(user_id=scene.person.pk).exists()


@pytest.mark.parametrize("end", [soft_delete_organization, tear_down_organization])
def test_with_the_organization(end: Callable[[Scene], None]) -> None:
    with charlie_untouched():
        scene = set_scene()
        end(scene)
        scene.assert_dead(own=True)
        mine = {"application__organization_id": scene.organization.pk}
        for model in (AccessToken, RefreshToken, Grant):
            assert not model.objects.filter(**mine).exists()
        assert scene.flow.look().status_code == 400
        assert failure(ask_for_own_token(scene.machine)) == (401, "invalid_client")


def test_with_the_organization_that_manages_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its users are too many to end each of them in the request: the access of all ends at once,
    to applications of others as well, while their rows wait for a worker."""
    monkeypatch.setattr(subjects, "FEW", 1)
    with charlie_untouched():
        scene, other = set_scene(), set_scene()
        school = MembershipFactory(role="owner")
        for person in (scene.person, UserFactory()):
            ManagedUserFactory(organization=school.organization, user=person)
        assert works(scene.personal)
        delete_organization(
            actor=actor_of(school.user), organization_id=school.organization_id, now=timezone.now()
        )
        # Nothing of the person themselves has changed yet.
        assert User.objects.filter(pk=scene.person.pk, is_active=True, is_deleted=False).exists()
        held = AccessToken.objects.get(user_id=scene.person.pk)
        assert held.expires > timezone.now()
        assert not describe(scene, scene.personal)["active"]
        assert not describe(scene, scene.refresh)["active"]
        scene.assert_dead(own=False)
        assert describe(other, other.personal)["active"]
        assert other.flow.refresh(other.refresh).status_code == 200


def describe(scene: Scene, token: str) -> dict[str, Any]:
    return describe_token(application=scene.flow.application, text=token, now=timezone.now())


def test_with_the_application() -> None:
    with charlie_untouched():
        scene = set_scene()
        for application in (scene.machine, scene.flow.application):
            delete_application(
                actor=actor_of(scene.owner),
                organization_id=scene.organization.pk,
                application_id=application.pk,
                now=timezone.now(),
            )
        scene.assert_dead(own=True)
        deleted = AuditEvent.objects.filter(action="application.deleted")
        assert {event.subject_id for event in deleted} == {scene.organization.pk}


def test_a_locked_out_person_is_refused_meanwhile() -> None:
    scene = set_scene()
    for is_active in (False, True):
        set_active(
            actor=Actor.system("test"),
            user_id=scene.person.pk,
            is_active=is_active,
            now=timezone.now(),
        )
        assert works(scene.personal) is is_active
        assert (scene.flow.refresh(scene.refresh).status_code == 200) is is_active
        scene.flow = Flow(scene.flow.application, verifier=scene.flow.verifier)


def test_a_restored_person_gets_no_token_back() -> None:
    scene = set_scene()
    soft_delete_person(scene)
    restore_user(actor=Actor.system("test"), user_id=scene.person.pk, now=timezone.now())
    scene.assert_dead(own=False)
    again = Flow(scene.flow.application, User.objects.get(pk=scene.person.pk))
    assert works(again.tokens()["access_token"])


def test_a_restored_organization_gets_its_applications_back_and_no_credential() -> None:
    scene = set_scene()
    soft_delete_organization(scene)
    subject = Reference("organization", scene.organization.pk)
    restore(actor=Actor.system("test"), subject=subject, now=timezone.now())
    assert Application.objects.filter(organization=scene.organization).count() == 2
    scene.assert_dead(own=True)
    assert failure(ask_for_own_token(scene.machine)) == (401, "invalid_client")


def test_an_expired_token_is_refused() -> None:
    scene = set_scene()
    AccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert not works(scene.own)
    assert not works(scene.personal)
    assert call("introspect", scene.machine, token=scene.own).json() == {"active": False}


@pytest.mark.parametrize("what", ["personal", "refresh"])
@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", ""])
def test_an_application_gives_a_token_back(what: str, hint: str) -> None:
    with charlie_untouched():
        scene = set_scene()
        token = getattr(scene, what)
        form = {"token": token, "token_type_hint": hint} if hint else {"token": token}
        for _ in range(2):
            answer = call("revoke", scene.flow.application, **form)
            assert (answer.status_code, answer.content) == (200, b"")
        assert not works(scene.personal)
        assert failure(scene.flow.refresh(scene.refresh)) == (400, "invalid_grant")
        event = AuditEvent.objects.get(action="authorization.revoked")
        assert (event.subject_kind, event.subject_id) == ("user", scene.person.pk)
        assert works(scene.own)


def test_an_application_gives_its_own_token_back() -> None:
    scene = set_scene()
    assert call("revoke", scene.machine, token=scene.own).status_code == 200
    assert not works(scene.own)
    assert AuditEvent.objects.get(action="access_token.revoked").organization_id is None


def test_nobody_revokes_what_is_not_theirs() -> None:
    scene, other = set_scene(), ApplicationFactory()
    for token in (scene.own, scene.personal, scene.refresh, "nonsense"):
        assert call("revoke", other, token=token).status_code == 200
    assert failure(call("revoke", token=scene.own)) == (401, "invalid_client")
    assert call("revoke", other).status_code == 400
    assert works(scene.own)
    assert works(scene.personal)
    assert scene.flow.refresh(scene.refresh).status_code == 200


def test_a_person_takes_back_what_was_allowed() -> None:
    with charlie_untouched():
        scene, other = set_scene(), set_scene()
        page = scene.flow.browser.get("/oauth/access")
        assert scene.flow.application.name in page.content.decode()
        (mine,) = list_authorizations(user_id=scene.person.pk, now=timezone.now())
        (theirs,) = list_authorizations(user_id=other.person.pk, now=timezone.now())
        for pk in (theirs.id, "nonsense", mine.id):
            answer = scene.flow.browser.post("/oauth/access", {"authorization": str(pk)})
            assert answer.status_code == 303
        assert not works(scene.personal)
        assert works(other.personal)
        page = scene.flow.browser.get("/oauth/access")
        assert "No application may act for you." in page.content.decode()


def test_consent_comes_too_late_for_a_person_who_is_gone() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    flow.look()
    User.objects.update(is_active=False)
    answer = flow.decide()
    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in?")
    assert rows() == (0, 0, 0)


def test_a_secret_that_was_replaced_is_refused_and_tokens_go_on() -> None:
    from organizations.oauth.applications import rotate_secret

    scene = set_scene()
    made = rotate_secret(
        actor=actor_of(scene.owner),
        organization_id=scene.organization.pk,
        application_id=scene.machine.pk,
        now=timezone.now(),
    )
    assert failure(ask_for_own_token(scene.machine)) == (401, "invalid_client")
    form: dict[str, Any] = {"client_id": scene.machine.client_id, "client_secret": made.secret}
    assert call("token", grant_type="client_credentials", **form).status_code == 200
    assert works(scene.own)
    assert told(scene.flow.decide())["code"]
