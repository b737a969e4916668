"""The pages for people: signing in, consent, and what guards them against other sites."""

from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from apikeys import scopes
from organizations.oauth.models import Grant
from organizations.oauth.wording import explain_scope
from tests.factories import ApplicationFactory, UserFactory
from tests.oauth.flow import CALLBACK, Flow, told

pytestmark = pytest.mark.django_db


def test_a_stranger_signs_in_first_and_comes_back_to_the_question() -> None:
    alice = UserFactory()
    alice.set_password("correct horse")
    alice.save()
    flow = Flow(ApplicationFactory())
    for answer in (flow.look(), flow.decide()):
        assert answer.status_code == 302
        assert answer["Location"] == f"/sign-in?next={quote(flow.address(), safe='/')}"
    assert not Grant.objects.exists()
    page = flow.browser.get(answer["Location"])
    assert page.status_code == 200
    form = {"username": alice.username, "password": "wrong", "next": flow.address()}
    refused = flow.browser.post("/sign-in", form)
    assert "do not belong together" in refused.content.decode()
    answer = flow.browser.post("/sign-in", {**form, "password": "correct horse"})
    assert answer["Location"] == flow.address()
    assert told(flow.decide())["code"]


@pytest.mark.parametrize("field", [{"is_active": False}, {"is_deleted": True}])
def test_a_closed_account_cannot_sign_in(field: Any) -> None:
    alice = UserFactory(**field)
    alice.set_password("correct horse")
    alice.save()
    form = {"username": alice.username, "password": "correct horse"}
    browser = Client()
    assert browser.post("/sign-in", form).status_code == 200
    assert browser.get("/oauth/access").status_code == 302


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_signing_in_and_out_leads_to_no_other_site(to: str) -> None:
    alice = UserFactory()
    alice.set_password("correct horse")
    alice.save()
    browser = Client()
    form = {"username": alice.username, "password": "correct horse", "next": to}
    assert browser.post(f"/sign-in?next={quote(to)}", form)["Location"] == "/oauth/access"
    assert browser.get("/sign-out").status_code == 405
    assert browser.post("/sign-out", {"next": to})["Location"] == "/sign-in"


def test_guesses_from_one_address_are_stopped_before_the_password_is_looked_at(
    settings: Any,
) -> None:
    settings.THROTTLE_FAILED_AUTHENTICATION = "2/min"
    alice = UserFactory()
    alice.set_password("correct horse")
    alice.save()
    browser = Client()
    form = {"username": alice.username, "password": "wrong"}
    for _ in range(2):
        assert browser.post("/sign-in", form).status_code == 200
    answer = browser.post("/sign-in", {**form, "password": "correct horse"})
    assert answer.status_code == 429
    assert int(answer["Retry-After"]) > 0
    assert browser.get("/oauth/access").status_code == 302


def test_other_sites_can_neither_frame_nor_post() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    for page in (flow.look(), flow.browser.get("/oauth/access"), Client().get("/sign-in")):
        assert page["X-Frame-Options"] == "DENY"
        policy = page["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "no-store" in page["Cache-Control"]
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = flow.browser.cookies
    for path in (flow.address(), "/oauth/access", "/sign-in", "/sign-out"):
        assert strict.post(path, {"decision": "allow"}).status_code == 403
    assert not Grant.objects.exists()


def test_the_browser_may_follow_the_answer_to_this_application_only() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    policy = flow.look()["Content-Security-Policy"]
    assert "form-action 'self' https://client.example;" in f"{policy};"
    assert "client.example" not in flow.browser.get("/oauth/access")["Content-Security-Policy"]


def test_names_of_others_are_shown_as_text() -> None:
    flow = Flow(ApplicationFactory(name="<script>alert(1)</script>"), UserFactory())
    page = flow.look().content.decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_nothing_changes_on_get() -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    flow.look()
    flow.browser.get(flow.address() + "&decision=allow&allow=true&approval_prompt=auto")
    flow.tokens()
    flow.browser.get(flow.address() + "&approval_prompt=auto")
    assert Grant.objects.count() == 1


def test_the_server_describes_itself() -> None:
    document = Client().get("/.well-known/oauth-authorization-server")
    described = document.json()
    base = "http://testserver"
    assert described["issuer"] == base
    assert described["authorization_endpoint"] == f"{base}/oauth/authorize"
    assert described["token_endpoint"] == f"{base}/oauth/token"
    assert described["revocation_endpoint"] == f"{base}/oauth/revoke"
    assert described["introspection_endpoint"] == f"{base}/oauth/introspect"
    assert described["code_challenge_methods_supported"] == ["S256"]
    assert described["response_types_supported"] == ["code"]
    assert described["grant_types_supported"] == [
        "authorization_code",
        "client_credentials",
        "refresh_token",
    ]
    assert described["authorization_response_iss_parameter_supported"] is True
    assert "keys:manage" not in described["scopes_supported"]
    assert "none" in described["token_endpoint_auth_methods_supported"]
    assert "none" not in described["introspection_endpoint_auth_methods_supported"]
    assert CALLBACK not in document.content.decode()


def test_every_scope_that_a_person_may_grant_is_put_in_words_for_them() -> None:
    for scope in scopes.DELEGABLE:
        assert explain_scope(scope) != scopes.DESCRIPTIONS[scope], (
            f"Say in organizations/oauth/wording.py what {scope} means to the person who is asked."
        )
