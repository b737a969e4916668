"""The two sides of OAuth: an application that calls, and a person in a browser."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client

from accounts.models import User
from organizations.oauth.models import Application
from tests.factories import secret_of

FORM = "application/x-www-form-urlencoded"
CALLBACK = "https://client.example/callback"


def call(path: str, application: Application | None = None, **form: str) -> Any:
    """Post a form to an endpoint, as an application that shows its secret, if it has one."""
    headers = {}
    if application is not None and application.client_secret:
        pair = f"{application.client_id}:{secret_of(application)}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif application is not None:
        form = {"client_id": application.client_id, **form}
    client = Client(raise_request_exception=False)
    return client.generic("POST", f"/oauth/{path}", urlencode(form), FORM, headers=headers)


def ask_for_own_token(application: Application, **form: str) -> Any:
    return call("token", application, grant_type="client_credentials", **form)


@dataclass
class Flow:
    """One authorization, step by step."""

    application: Application
    person: User | None = None
    scope: str = ""
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    browser: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def __post_init__(self) -> None:
        if self.person is not None:
            self.browser.force_login(self.person)

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def address(self, **changes: str | None) -> str:
        query = {
            "client_id": self.application.client_id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": self.scope or " ".join(self.application.scopes),
            "state": "st4te",
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        sent = {name: value for name, value in query.items() if value is not None}
        return f"/oauth/authorize?{urlencode(sent)}"

    def look(self, **changes: str | None) -> Any:
        return self.browser.get(self.address(**changes))

    def decide(self, decision: str = "allow", **changes: str | None) -> Any:
        return self.browser.post(self.address(**changes), {"decision": decision})

    def code(self) -> str:
        return told(self.decide())["code"]

    def exchange(self, code: str, **changes: str) -> Any:
        form = {"redirect_uri": CALLBACK, "code_verifier": self.verifier, "code": code, **changes}
        return call("token", self.application, grant_type="authorization_code", **form)

    def tokens(self) -> dict[str, Any]:
        answer = self.exchange(self.code())
        assert answer.status_code == 200, answer.content
        found: dict[str, Any] = answer.json()
        return found

    def refresh(self, refresh_token: str, **form: str) -> Any:
        form = {"refresh_token": refresh_token, **form}
        return call("token", self.application, grant_type="refresh_token", **form)


def told(response: Any) -> dict[str, str]:
    """Return what a redirect tells the application."""
    assert response.status_code == 302, response.content
    parts = urlsplit(response["Location"])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == CALLBACK
    return {name: value for name, (value,) in parse_qs(parts.query).items()}


def failure(response: Any) -> tuple[int, str]:
    """Return the status and error code of a refusal, which must have the RFC's form."""
    body = response.json()
    assert set(body) <= {"error", "error_description", "trace_id"}
    assert response["Cache-Control"] == "no-store"
    return response.status_code, body["error"]


def works(token: str) -> bool:
    """Whether the API takes a token, whatever it may do there."""
    return bool(probe(token).status_code != 401)


def probe(token: str) -> Any:
    return Client().get("/v1/user/usr_x", headers={"Authorization": f"Bearer {token}"})
