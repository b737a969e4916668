"""A token on the API: where it is taken, what it costs, how its requests are counted."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys import scopes
from apikeys.verification import verify_key
from contracts import ids
from organizations.oauth.verification import verify_token
from tests.factories import (
    ApplicationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
    give_token,
)
from tests.house.asking import ask, refused
from tests.oauth.flow import Flow, call, works

pytestmark = pytest.mark.django_db


def test_verifying_a_token_is_one_query_and_a_typo_none() -> None:
    for token in (give_token(UserFactory()), give_token(ApplicationFactory(machine=True))):
        with CaptureQueriesContext(connection) as captured:
            assert verify_token(token, now=timezone.now())
        assert len(captured) == 1
        with CaptureQueriesContext(connection) as captured:
            for typo in (token[:-1], token + "0", token.swapcase(), token[:9] + "_" + token[10:]):
                assert not verify_token(typo, now=timezone.now())
        assert len(captured) == 0


def test_a_key_costs_what_it_cost_before() -> None:
    key = give_key(UserFactory())
    for text, queries in ((key, 1), (give_token(UserFactory()), 0), ("nonsense", 0)):
        with CaptureQueriesContext(connection) as captured:
            verify_key(text, now=timezone.now())
        assert len(captured) == queries


def test_it_is_taken_in_authorization_only_and_where_a_contract_says_so() -> None:
    alice = UserFactory()
    path = f"/v1/user/{ids.encode(ids.USER, alice.pk)}"
    token = give_token(alice)
    assert ask("GET", path, token).status_code == 200
    assert ask("GET", path, headers={"X-API-Key": token}).status_code == 401
    assert ask("GET", f"{path}?access_token={token}").status_code == 401
    assert ask("DELETE", "/account", token, {"confirm": True}).status_code == 401
    assert ask("DELETE", f"/user/{ids.encode(ids.USER, alice.pk)}", token).status_code == 401


def test_an_owner_deletes_an_organization_by_a_token() -> None:
    owner = MembershipFactory(role="owner")
    path = f"/organizations/{owner.organization.pk}"
    narrow = give_token(owner.user, scopes.ACCOUNT_READ)
    assert ask("DELETE", path, narrow).status_code == 403
    assert ask("DELETE", path, give_token(UserFactory())).status_code == 403
    assert ask("DELETE", path, give_token(owner.user)).status_code == 204
    assert ask("DELETE", path, give_token(owner.user)).status_code == 404


def test_an_owner_deletes_even_the_organization_whose_application_asks() -> None:
    owner = MembershipFactory(role="owner")
    application = ApplicationFactory(organization=owner.organization)
    token = give_token(owner.user, application=application)
    path = f"/organizations/{owner.organization.pk}"
    assert ask("DELETE", path, token).status_code == 204
    assert ask("DELETE", path, token).status_code == 401


def test_a_staff_persons_token_is_no_operator() -> None:
    staff = UserFactory(is_staff=True, is_superuser=True)
    token = verify_token(give_token(staff), now=timezone.now())
    assert token is not None
    assert not token.is_staff
    assert not token.scopes & {scopes.USERS_ERASE, scopes.DELETIONS_RESTORE}


def test_an_application_that_runs_an_organization_counts_its_requests_together(
    settings: Any,
) -> None:
    settings.THROTTLE_CREDENTIAL = "2/min"
    machine, other = (ApplicationFactory(machine=True) for _ in range(2))
    for _ in range(2):
        assert ask("GET", "/v1/user/usr_x", give_token(machine)).status_code == 403
    assert refused(ask("GET", "/v1/user/usr_x", give_token(machine)))[0] == 403
    assert ask("DELETE", "/users/x", give_token(machine), headers=VERSION).status_code == 404
    assert ask("DELETE", "/users/x", give_token(machine), headers=VERSION).status_code == 404
    assert ask("DELETE", "/users/x", give_token(machine), headers=VERSION).status_code == 429
    assert ask("DELETE", "/users/x", give_token(other), headers=VERSION).status_code == 404


VERSION = {"x-api-version": "2025-09"}


def test_a_closed_organization_ends_the_tokens_of_its_applications_meanwhile() -> None:
    acme = OrganizationFactory()
    own = give_token(ApplicationFactory(machine=True, organization=acme))
    personal = give_token(UserFactory(), application=ApplicationFactory(organization=acme))
    for is_active in (False, True):
        acme.is_active = is_active
        acme.save()
        assert works(own) is is_active
        assert works(personal) is is_active


def test_a_managed_users_token_ends_with_an_organization_that_goes_piece_by_piece() -> None:
    managed = ManagedUserFactory()
    flow = Flow(ApplicationFactory(), managed.user)
    tokens, code = flow.tokens(), flow.code()
    assert works(tokens["access_token"])
    managed.organization.is_deleted = True
    managed.organization.save()
    assert not works(tokens["access_token"])
    told = call("introspect", flow.application, token=tokens["access_token"]).json()
    assert told == {"active": False}
    assert flow.refresh(tokens["refresh_token"]).status_code == 400
    assert flow.exchange(code).status_code == 400


def test_a_dead_token_that_is_repeated_is_told_so_and_not_slowed(settings: Any) -> None:
    settings.THROTTLE_FAILED_AUTHENTICATION = "2/min"
    token = give_token(UserFactory(), expires=timezone.now())
    for _ in range(5):
        answer = Client().get("/v1/api-keys", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
