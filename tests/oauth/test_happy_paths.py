"""From an application to a token that works: both flows, step by step."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys import scopes
from audit.models import AuditEvent
from contracts import ids
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken
from tests.factories import ApplicationFactory, ManagedUserFactory, UserFactory
from tests.house.asking import ask
from tests.oauth.flow import Flow, ask_for_own_token, told

pytestmark = pytest.mark.django_db


def test_a_token_by_client_credentials_speaks_for_the_organization() -> None:
    application = ApplicationFactory(machine=True)
    managed = ManagedUserFactory(organization=application.organization).user
    stranger = UserFactory()
    answer = ask_for_own_token(application, scope=scopes.USERS_DELETE)
    assert answer.status_code == 200
    body = answer.json()
    token = body.pop("access_token")
    assert body == {"expires_in": 3600, "token_type": "Bearer", "scope": scopes.USERS_DELETE}
    assert answer["Cache-Control"] == "no-store"
    version = {"x-api-version": "2025-09"}
    for user, status in ((stranger, 404), (managed, 200), (managed, 404)):
        path = f"/users/{ids.encode(ids.USER, user.pk)}"
        assert ask("DELETE", path, token, headers=version).status_code == status
    event = AuditEvent.objects.filter(action="user.erased").get()
    assert (event.actor_kind, event.actor_id) == ("organization", application.organization_id)
    assert event.credential_id == application.pk


def test_a_token_by_authorization_code_speaks_for_the_person() -> None:
    alice = UserFactory()
    flow = Flow(ApplicationFactory(), alice, scope=scopes.ACCOUNT_READ)
    page = flow.look()
    assert page.status_code == 200
    assert flow.application.name in page.content.decode()
    assert "read your profile" in page.content.decode()
    sent = told(flow.decide())
    assert sent["state"] == "st4te"
    assert sent["iss"] == "http://testserver"
    answer = flow.exchange(sent["code"])
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"access_token", "refresh_token", "expires_in", "token_type", "scope"}
    path = f"/v1/user/{ids.encode(ids.USER, alice.pk)}"
    profile = ask("GET", path, body["access_token"])
    assert (profile.status_code, profile.json()["username"]) == (200, alice.username)
    assert ask("DELETE", path, body["access_token"]).status_code == 403
    granted = AuditEvent.objects.get(action="authorization.granted")
    assert granted.subject_id == alice.pk
    assert granted.facts == {
        "application": str(flow.application.pk),
        "scopes": [scopes.ACCOUNT_READ],
    }


def test_a_refresh_brings_new_tokens_and_ends_the_old_ones() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    first = flow.tokens()
    second = flow.refresh(first["refresh_token"]).json()
    assert second["scope"] == first["scope"]
    assert {first["access_token"], first["refresh_token"]}.isdisjoint(second.values())
    assert ask("GET", "/v1/user/usr_x", first["access_token"]).status_code == 401
    assert ask("GET", "/v1/user/usr_x", second["access_token"]).status_code == 404
    assert (AccessToken.objects.count(), RefreshToken.objects.count()) == (1, 1)


def test_a_public_application_needs_no_secret() -> None:
    public = ApplicationFactory(client_type=Application.CLIENT_PUBLIC, client_secret="")
    flow = Flow(public, UserFactory())
    tokens = flow.tokens()
    assert flow.refresh(tokens["refresh_token"]).status_code == 200


def test_nothing_that_could_be_used_is_kept() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    code = flow.code()
    tokens = flow.exchange(code).json()
    rows = [
        row
        for model in (Application, Grant, AccessToken, RefreshToken)
        for row in model.objects.values()
    ]
    kept = repr(rows) + repr(list(AuditEvent.objects.values()))
    for secret in (code, tokens["access_token"], tokens["refresh_token"], flow.verifier):
        assert secret not in kept


def test_an_authorization_that_is_used_goes_on() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    tokens = flow.tokens()
    RefreshToken.objects.update(expires=timezone.now() + timedelta(minutes=1))
    assert flow.refresh(tokens["refresh_token"]).status_code == 200
    assert RefreshToken.objects.get().expires > timezone.now() + timedelta(days=29)
