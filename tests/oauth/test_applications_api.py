"""``/v1/organizations/{id}/applications``: who may, what is shown, what is refused."""

from typing import Any

import pytest

from apikeys import scopes
from audit.models import AuditEvent
from contracts import ids
from organizations.models import Organization
from organizations.oauth.models import AccessToken, Application
from tests.bystanders import charlie_untouched
from tests.factories import (
    ApplicationFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
    give_key,
    give_token,
)
from tests.house.asking import ask, faults, refused
from tests.oauth.flow import call

pytestmark = pytest.mark.django_db


def at(organization: Organization, *rest: str) -> str:
    return "/".join((f"/v1/organizations/{organization.pk}/applications", *rest))


def run_by(role: str = "admin") -> tuple[Organization, str]:
    membership = MembershipFactory(role=role)
    return membership.organization, give_key(membership.user)


def machine(**changes: Any) -> dict[str, Any]:
    return {"name": "Report", "flow": "client_credentials", **changes}


def personal(**changes: Any) -> dict[str, Any]:
    uris = ["https://client.example/callback"]
    return {"name": "Planner", "flow": "authorization_code", "redirect_uris": uris, **changes}


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_its_secret_is_shown_once_and_works(role: str) -> None:
    with charlie_untouched():
        acme, key = run_by(role)
        answer = ask("POST", at(acme), key, machine())
        assert answer.status_code == 201
        made = answer.json()
        secret = made.pop("client_secret")
        row = Application.objects.get(organization=acme)
        assert made.pop("created_at")
        assert made == {
            "id": ids.encode(ids.APPLICATION, row.pk),
            "organization_id": str(acme.pk),
            "client_id": ids.encode(ids.APPLICATION, row.pk),
            "name": "Report",
            "flow": "client_credentials",
            "client_type": "confidential",
            "redirect_uris": [],
            "scopes": [scopes.USERS_DELETE],
        }
        for kept in (
            ask("GET", at(acme), key).content.decode(),
            ask("GET", at(acme, made["id"]), key).content.decode(),
            str(list(Application.objects.values())),
            str(list(AuditEvent.objects.values())),
        ):
            assert secret not in kept
        form = {"client_id": made["client_id"], "client_secret": secret}
        assert call("token", grant_type="client_credentials", **form).status_code == 200
        event = AuditEvent.objects.get(action="application.created")
        assert (event.subject_kind, event.subject_id) == ("organization", acme.pk)
        assert event.facts == {"application": str(row.pk), "scopes": row.scopes}


def test_a_public_one_has_no_secret() -> None:
    acme, key = run_by()
    made = ask("POST", at(acme), key, personal(client_type="public")).json()
    assert made["client_secret"] is None
    assert Application.objects.get().client_secret == ""
    assert refused(ask("POST", at(acme, made["id"], "secret"), key)) == (409, "NO_SECRET")
    assert refused(ask("POST", at(acme), key, machine(client_type="public")))[0] == 409


def test_another_secret_takes_the_place_of_the_first() -> None:
    acme, key = run_by()
    made = ask("POST", at(acme), key, machine()).json()
    again = ask("POST", at(acme, made["id"], "secret"), key)
    assert again.status_code == 200
    for answer, status in ((made, 401), (again.json(), 200)):
        form = {"client_id": made["client_id"], "client_secret": answer["client_secret"]}
        assert call("token", grant_type="client_credentials", **form).status_code == status
    assert AuditEvent.objects.filter(action="application.secret_rotated").count() == 1


def test_it_goes_with_its_tokens() -> None:
    with charlie_untouched():
        acme, key = run_by()
        mine = ApplicationFactory(organization=acme, machine=True)
        kept = give_token(ApplicationFactory(organization=acme, machine=True))
        give_token(mine)
        assert ask("DELETE", at(acme, mine.client_id), key).status_code == 204
        again = ask("DELETE", at(acme, mine.client_id), key)
        assert refused(again) == (404, "APPLICATION_NOT_FOUND")
        assert not AccessToken.objects.filter(application_id=mine.pk).exists()
        assert kept


def test_the_list_holds_those_of_one_organization() -> None:
    acme, key = run_by()
    mine = ApplicationFactory(organization=acme)
    ApplicationFactory()
    assert [one["id"] for one in ask("GET", at(acme), key).json()["data"]] == [mine.client_id]


def test_only_owners_and_admins_may() -> None:
    acme, _ = run_by()
    theirs = ApplicationFactory(organization=acme)
    member = give_key(MembershipFactory(organization=acme).user)
    for key, expected in (
        (member, (403, "INSUFFICIENT_ROLE")),
        (give_key(UserFactory()), (404, "ORGANIZATION_NOT_FOUND")),
    ):
        for method, rest in (("GET", ()), ("POST", ()), ("DELETE", (theirs.client_id,))):
            answer = ask(method, at(acme, *rest), key, machine() if method == "POST" else None)
            assert refused(answer) == expected
    other, key = run_by()
    assert refused(ask("GET", at(other, theirs.client_id), key)) == (404, "APPLICATION_NOT_FOUND")
    assert refused(ask("GET", "/v1/organizations/nonsense/applications", key))[0] == 404
    assert refused(ask("GET", at(other, "nonsense"), key)) == (404, "APPLICATION_NOT_FOUND")
    assert ask("GET", at(OrganizationFactory()), None).status_code == 401


def test_the_scope_is_needed_and_no_token_will_do() -> None:
    membership = MembershipFactory(role="owner")
    narrow = give_key(membership.user, scopes.ACCOUNT_READ)
    acme = membership.organization
    assert refused(ask("GET", at(acme), narrow)) == (403, "INSUFFICIENT_PERMISSIONS")
    token = give_token(membership.user, scopes.APPLICATIONS_WRITE)
    assert ask("GET", at(acme), token).status_code == 401


def test_an_application_never_holds_what_outlives_a_persons_consent() -> None:
    acme, key = run_by()
    for wanted in (scopes.KEYS_MANAGE, scopes.ORGANIZATIONS_KEYS, scopes.APPLICATIONS_WRITE):
        assert wanted not in scopes.DELEGABLE
    for wish in (
        personal(scopes=[scopes.KEYS_MANAGE]),
        personal(scopes=[scopes.USERS_ERASE]),
        personal(scopes=["nonsense"]),
        personal(scopes=[]),
        machine(scopes=[scopes.ACCOUNT_DELETE]),
    ):
        assert refused(ask("POST", at(acme), key, wish)) == (403, "SCOPES_NOT_GRANTABLE")
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    "uri",
    [
        "http://client.example/callback",
        "https://client.example/#fragment",
        "https://user:password@client.example/",
        "https://*.example/callback",
        "https:///callback",
        "https://client.example\\@evil.example/",
        "https://client.example:port/",
        "https://clïent.example/",
        "https://client.example/a b",
        "ftp://client.example/",
        "javascript:alert(1)",
        "myapp:/callback",
        "http://127.0.0.1.evil.example/",
        "//client.example/",
        "",
    ],
)
def test_codes_go_to_https_only(uri: str) -> None:
    acme, key = run_by()
    answer = ask("POST", at(acme), key, personal(redirect_uris=[uri]))
    assert answer.status_code == 422
    assert not Application.objects.exists()


def test_codes_may_go_to_the_same_machine() -> None:
    acme, key = run_by()
    uris = ["http://127.0.0.1/cb", "http://[::1]:8080/cb", "http://localhost:3000/", "https://a.b/"]
    made = ask("POST", at(acme), key, personal(redirect_uris=uris))
    assert made.json()["redirect_uris"] == uris
    for wish in (personal(redirect_uris=[]), machine(redirect_uris=uris)):
        assert refused(ask("POST", at(acme), key, wish)) == (422, "REDIRECT_URI_REFUSED")


def test_each_fault_of_a_body_is_named() -> None:
    acme, key = run_by()
    wish = {"name": "", "flow": "password", "client_type": 1, "scopes": [1], "more": True}
    found = faults(ask("POST", at(acme), key, wish))
    assert {loc[1] for loc in found} == {"name", "flow", "client_type", "scopes", "more"}
