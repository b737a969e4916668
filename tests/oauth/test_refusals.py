"""What is refused at the token endpoint and at consent, and in which words."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apikeys import scopes
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken
from tests.factories import ApplicationFactory, UserFactory, secret_of
from tests.oauth.flow import CALLBACK, FORM, Flow, ask_for_own_token, call, failure, told

pytestmark = pytest.mark.django_db


def new_flow(**fields: Any) -> Flow:
    return Flow(ApplicationFactory(**fields), UserFactory())


def expire(model: Any) -> None:
    model.objects.update(expires=timezone.now() - timedelta(seconds=1))


def test_an_application_must_show_its_secret() -> None:
    application = ApplicationFactory(machine=True)
    application.name += "x"  # and so the secret that the test sends
    answer = ask_for_own_token(application)
    assert failure(answer) == (401, "invalid_client")
    assert answer["WWW-Authenticate"] == 'Basic realm="oauth"'
    assert failure(call("token", grant_type="client_credentials")) == (401, "invalid_client")
    ApplicationFactory(machine=True, client_secret="")
    bare = Application.objects.get(client_secret="")
    form = {"client_id": bare.client_id, "client_secret": ""}
    answer = call("token", None, grant_type="client_credentials", **form)
    assert failure(answer) == (401, "invalid_client")
    assert not AccessToken.objects.exists()


def test_the_secret_may_stand_in_the_body() -> None:
    it = ApplicationFactory(machine=True)
    form = {"client_id": it.client_id, "client_secret": secret_of(it)}
    assert call("token", grant_type="client_credentials", **form).status_code == 200


def test_the_verifier_must_fit_the_challenge() -> None:
    flow = new_flow()
    code = flow.code()
    for wrong in ("x" * 43, flow.challenge, ""):
        status, error = failure(flow.exchange(code, code_verifier=wrong))
        assert (status, error) in {(400, "invalid_grant"), (400, "invalid_request")}
    assert flow.exchange(code).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"scope": scopes.KEYS_MANAGE},
        {"scope": "nonsense"},
        {"response_type": "token"},
        {"response_type": "none"},
        {"resource": "https://api.example"},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
def test_the_application_is_told_what_is_wrong_with_its_request(changes: Any) -> None:
    flow = new_flow()
    for answer in (flow.look(**changes), flow.decide(**changes)):
        sent = told(answer)
        assert sent["error"] in {
            "invalid_request",
            "invalid_scope",
            "invalid_target",
            "unauthorized_client",
            "unsupported_response_type",
        }
        assert (sent["state"], sent["iss"]) == ("st4te", "http://testserver")
    assert not Grant.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": CALLBACK + "/more"},
        {"redirect_uri": CALLBACK + "?x=1"},
        {"redirect_uri": "https://client.example:444/callback"},
        {"redirect_uri": "http://client.example/callback"},
        {"redirect_uri": "https://client.example@evil.example/callback"},
        {"redirect_uri": "//client.example/callback"},
        {"redirect_uri": "javascript:alert(1)"},
        {"client_id": "app_01m8dbs5sje9zsat42bgtn6ecm"},
        {"client_id": None},
        {"client_id": "a\0b"},
    ],
    ids=lambda changes: str(next(iter(changes.values()))),
)
def test_nobody_is_sent_to_an_address_that_is_not_registered(changes: Any) -> None:
    flow = new_flow()
    for browser in (flow.browser, Client()):
        flow.browser = browser
        for answer in (flow.look(**changes), flow.decide(**changes)):
            assert answer.status_code == 400
            assert "Location" not in answer.headers
            assert "evil.example" not in answer.content.decode()


def test_a_port_on_the_loopback_interface_may_be_any() -> None:
    flow = new_flow(redirect_uris="http://127.0.0.1/callback")
    address = "http://127.0.0.1:40123/callback"
    answer = flow.decide(redirect_uri=address)
    assert answer["Location"].startswith(f"{address}?code=")
    refused = flow.look(redirect_uri=address, scope="nonsense")
    assert refused["Location"].startswith(f"{address}?error=invalid_scope")


def test_who_refuses_sends_no_code() -> None:
    flow = new_flow()
    for decision in ("refuse", "", "ALLOW"):
        sent = told(flow.decide(decision))
        assert (sent["error"], sent["state"]) == ("access_denied", "st4te")
        assert sent["iss"]
    assert not Grant.objects.exists()


def test_an_expired_code_is_worth_nothing() -> None:
    flow = new_flow()
    code = flow.code()
    expire(Grant)
    assert failure(flow.exchange(code)) == (400, "invalid_grant")


def test_a_code_belongs_to_one_application_and_one_address() -> None:
    flow, other = new_flow(), new_flow(redirect_uris=f"{CALLBACK} https://client.example/other")
    code = flow.code()
    stolen = Flow(other.application, verifier=flow.verifier)
    assert failure(stolen.exchange(code)) == (400, "invalid_grant")
    mine = other.code()
    elsewhere = other.exchange(mine, redirect_uri="https://client.example/other")
    assert elsewhere.status_code == 400
    assert flow.exchange(code).status_code == 200


def test_a_digest_is_not_the_code() -> None:
    flow = new_flow()
    code = flow.code()
    kept = hashlib.sha256(code.encode()).hexdigest()
    assert Grant.objects.filter(code=code).values_list("code", flat=True).get() == kept
    assert failure(flow.exchange(kept)) == (400, "invalid_grant")


def test_who_sends_a_code_again_ends_what_came_of_it() -> None:
    flow = new_flow()
    code = flow.code()
    tokens = flow.exchange(code).json()
    assert failure(flow.exchange(code)) == (400, "invalid_grant")
    assert failure(flow.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert (AccessToken.objects.count(), RefreshToken.objects.count()) == (0, 0)


def test_who_refreshes_with_a_stale_token_ends_the_authorization() -> None:
    flow = new_flow()
    first = flow.tokens()
    second = flow.refresh(first["refresh_token"]).json()
    assert failure(flow.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert failure(flow.refresh(second["refresh_token"])) == (400, "invalid_grant")
    assert not RefreshToken.objects.exists()


def test_another_application_cannot_use_or_end_a_refresh_token() -> None:
    flow, other = new_flow(), new_flow()
    tokens = flow.tokens()
    thief = Flow(other.application)
    assert failure(thief.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert flow.refresh(tokens["refresh_token"]).status_code == 200


def test_an_unused_authorization_ends_by_itself() -> None:
    flow = new_flow()
    tokens = flow.tokens()
    expire(RefreshToken)
    assert failure(flow.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


def test_a_refresh_never_widens_what_was_agreed_to() -> None:
    flow = Flow(ApplicationFactory(), UserFactory(), scope=scopes.ACCOUNT_READ)
    tokens = flow.tokens()
    wider = f"{scopes.ACCOUNT_READ} {scopes.ACCOUNT_DELETE}"
    assert failure(flow.refresh(tokens["refresh_token"], scope=wider)) == (400, "invalid_scope")
    narrow = flow.refresh(tokens["refresh_token"], scope=scopes.ACCOUNT_READ)
    assert narrow.json()["scope"] == scopes.ACCOUNT_READ


def test_each_application_has_its_own_way_to_a_token() -> None:
    machine = ApplicationFactory(machine=True)
    assert failure(ask_for_own_token(new_flow().application)) == (400, "unauthorized_client")
    assert failure(ask_for_own_token(machine, scope=scopes.ACCOUNT_READ)) == (400, "invalid_scope")
    flow = Flow(machine, UserFactory())
    assert flow.look().status_code == 400
    for grant in ("password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", "x", ""):
        answer = call("token", machine, grant_type=grant, username="a", password="b")
        assert answer.status_code == 400
        assert failure(answer)[1] in ("unsupported_grant_type", "invalid_request")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=client_credentials&grant_type=client_credentials", FORM),
        (b"grant_type=client%00credentials", FORM),
        (json.dumps({"grant_type": "client_credentials"}).encode(), "application/json"),
        (b"", "text/plain"),
    ],
)
def test_a_request_that_is_no_form_is_refused(body: bytes, kind: str) -> None:
    for path in ("token", "revoke", "introspect"):
        answer = Client().generic("POST", f"/oauth/{path}", body, kind)
        assert failure(answer) == (400, "invalid_request")


def test_every_answer_under_the_prefix_speaks_the_same_dialect() -> None:
    browser = Client(raise_request_exception=False)
    for answer, expected in (
        (browser.get("/oauth/token"), 405),
        (browser.get("/oauth/nothing"), 404),
        (browser.post("/oauth/nothing"), 404),
        (browser.post("/oauth/token", headers={"Host": "evil.example"}), 400),
        (browser.generic("POST", "/oauth/token", b"a=" + b"b" * 70_000, FORM), 413),
        (browser.generic("POST", "/oauth/token?client_secret=x", b"", FORM), 400),
    ):
        assert answer.status_code == expected
        assert answer.json()["error"] == "invalid_request"
        assert answer["X-Request-ID"].startswith("req_")
    assert browser.get("/oauth/token")["Allow"] == "POST"


def test_failures_of_one_address_are_slowed_down_and_successes_are_not(settings: Any) -> None:
    settings.THROTTLE_FAILED_AUTHENTICATION = "2/min"
    for _ in range(2):
        assert call("token", grant_type="client_credentials").status_code == 401
    answer = call("token", grant_type="client_credentials")
    assert failure(answer) == (429, "temporarily_unavailable")
    assert int(answer["Retry-After"]) > 0
    assert ask_for_own_token(ApplicationFactory(machine=True)).status_code == 200
    settings.THROTTLE_CREDENTIAL = "1/min"
    other = ApplicationFactory(machine=True)
    assert ask_for_own_token(other).status_code == 429
