"""What an application is told about its own tokens, and nobody else about them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys import scopes
from contracts import ids
from organizations.oauth.models import Application, RefreshToken
from tests.factories import ApplicationFactory, UserFactory, give_token
from tests.oauth.flow import Flow, ask_for_own_token, call, failure

pytestmark = pytest.mark.django_db
INACTIVE = {"active": False}


def test_a_token_for_a_person_names_the_person_by_id_only() -> None:
    alice = UserFactory()
    flow = Flow(ApplicationFactory(), alice, scope=scopes.ACCOUNT_READ)
    tokens = flow.tokens()
    for token, lifetime, more in (
        (tokens["access_token"], timedelta(hours=1), {"token_type": "Bearer"}),
        (tokens["refresh_token"], timedelta(days=30), {}),
    ):
        told = call("introspect", flow.application, token=token).json()
        expires = timezone.now() + lifetime
        assert abs(told.pop("exp") - expires.timestamp()) < 300
        assert abs(told.pop("iat") - timezone.now().timestamp()) < 300
        assert told == {
            "active": True,
            "scope": scopes.ACCOUNT_READ,
            "client_id": flow.application.client_id,
            "sub": ids.encode(ids.USER, alice.pk),
            **more,
        }


def test_a_token_for_the_organization_names_the_organization() -> None:
    machine = ApplicationFactory(machine=True)
    token = ask_for_own_token(machine).json()["access_token"]
    told = call("introspect", machine, token=token).json()
    assert told["sub"] == str(machine.organization_id)


def test_only_its_own_tokens_are_told_of() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    tokens = flow.tokens()
    other = ApplicationFactory(organization=flow.application.organization)
    for token in (tokens["access_token"], tokens["refresh_token"], "nonsense", give_token(other)):
        asking = other if token in tokens.values() else flow.application
        answer = call("introspect", asking, token=token)
        assert (answer.status_code, answer.json()) == (200, INACTIVE)


def test_a_stale_refresh_token_is_inactive() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    tokens = flow.tokens()
    flow.refresh(tokens["refresh_token"])
    stale = call("introspect", flow.application, token=tokens["refresh_token"])
    assert stale.json() == INACTIVE
    assert RefreshToken.objects.exists()


def test_the_application_must_prove_who_it_is() -> None:
    token = give_token(ApplicationFactory(machine=True))
    public = ApplicationFactory(client_type=Application.CLIENT_PUBLIC, client_secret="")
    for asking in (None, public):
        assert failure(call("introspect", asking, token=token)) == (401, "invalid_client")
    assert failure(call("introspect", ApplicationFactory())) == (400, "invalid_request")
