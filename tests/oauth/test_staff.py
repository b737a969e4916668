"""What staff see of applications and tokens and end; what housekeeping removes; what an export
tells a person."""

import io
import json
import zipfile
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure.export import export_subject
from organizations.oauth.chores import count_tokens, remove_tokens
from organizations.oauth.models import AccessToken, Application, Grant, RefreshToken
from tests.admin.desk import said, sign_in, text_of
from tests.bystanders import charlie_untouched, read_rows
from tests.factories import ApplicationFactory, UserFactory, authorize, give_key, give_token
from tests.house.asking import ask
from tests.oauth.flow import Flow, works

pytestmark = pytest.mark.django_db

APPLICATIONS, TOKENS = "/admin/oauth/application/", "/admin/oauth/accesstoken/"
SEE = ("oauth.view_application", "oauth.view_accesstoken")
CHANGE = ("oauth.change_application", "oauth.change_accesstoken")


def test_staff_see_who_may_do_what_and_no_secret(client: Client) -> None:
    sign_in(client, *SEE)
    application = ApplicationFactory(name="Planner")
    alice = UserFactory()
    token = give_token(alice, application=application)
    row = AccessToken.objects.get()
    for url in (
        APPLICATIONS,
        TOKENS,
        f"{APPLICATIONS}{application.pk}/change/",
        f"{TOKENS}{row.pk}/change/",
    ):
        page = client.get(url)
        assert page.status_code == 200
        assert "Planner" in text_of(page)
        for hidden in (token, row.token_checksum, application.client_secret, "Save"):
            assert hidden not in text_of(page)
    for term in (application.client_id, str(application.organization_id), "Planner"):
        assert application.client_id in text_of(client.get(APPLICATIONS, {"q": term}))
    for absent in ("grant", "refreshtoken", "idtoken"):
        assert client.get(f"/admin/oauth/{absent}/").status_code == 404


def test_staff_end_a_token_and_all_tokens_of_an_application(client: Client) -> None:
    with charlie_untouched():
        sign_in(client, *SEE, *CHANGE)
        application = ApplicationFactory()
        tokens = [give_token(UserFactory(), application=application) for _ in range(3)]
        row = AccessToken.objects.filter(application=application).earliest("created")
        data = {"action": "revoke", "_selected_action": [str(row.pk)]}
        answer = client.post(TOKENS, data, follow=True)
        assert said(answer) == [f"Access token {row.pk}: revoked."]
        assert [works(one) for one in tokens] == [False, True, True]
        assert AuditEvent.objects.get(action="authorization.revoked").actor_kind == "user"
        data = {"action": "end_tokens", "_selected_action": [str(application.pk)]}
        answer = client.post(APPLICATIONS, data, follow=True)
        assert said(answer)[0].endswith(": 2 access tokens ended.")
        assert not any(map(works, tokens))
        assert not RefreshToken.objects.filter(application=application).exists()
        assert Application.objects.filter(pk=application.pk).exists()


def test_without_the_right_nothing_is_ended(client: Client) -> None:
    sign_in(client, *SEE)
    token = give_token(UserFactory())
    before = read_rows()["oauth.AccessToken"]
    for url, action, row in (
        (TOKENS, "revoke", AccessToken.objects.get()),
        (APPLICATIONS, "end_tokens", Application.objects.get()),
    ):
        client.post(url, {"action": action, "_selected_action": [str(row.pk)]})
    assert read_rows()["oauth.AccessToken"] == before
    assert works(token)


def test_housekeeping_removes_what_has_expired() -> None:
    with charlie_untouched():
        now = timezone.now()
        Flow(ApplicationFactory(), UserFactory()).code()
        Grant.objects.update(expires=now - timedelta(seconds=1))
        application = ApplicationFactory()
        living = give_token(UserFactory(), application=application)
        give_token(UserFactory(), application=application, expires=now)
        authorize(UserFactory(), application, expires=now)
        later = timezone.now()
        assert count_tokens(later) == 3
        assert remove_tokens(later) == 3
        assert (Grant.objects.count(), remove_tokens(later)) == (0, 0)
        assert works(living)


def test_an_export_tells_which_applications_have_access() -> None:
    alice = UserFactory()
    application = ApplicationFactory(name="Travel planner")
    token = give_token(alice, application=application)
    file = io.BytesIO()
    subject = Reference("user", alice.pk)
    export_subject(actor=Actor.system("test"), subject=subject, into=file, now=timezone.now())
    archive = zipfile.ZipFile(file)
    told = json.loads(archive.read("data/oauth.refreshtoken.json"))
    (row,) = told["rows"]
    assert row["application_name"] == "Travel planner"
    assert row["scope"].split() == application.scopes
    assert "applications that have access" in archive.read("README.txt").decode().lower()
    everything = "".join(archive.read(name).decode() for name in archive.namelist())
    assert token not in everything
    assert RefreshToken.objects.get().token_checksum not in everything


def test_an_archived_organizations_applications_wait(client: Client) -> None:
    flow = Flow(ApplicationFactory(), UserFactory())
    acme = flow.application.organization
    machine = ApplicationFactory(machine=True, organization=acme)
    own, tokens, code = give_token(machine), flow.tokens(), flow.code()
    acme.archived_at = timezone.now()
    acme.save()
    assert not works(own)
    assert not works(tokens["access_token"])
    assert flow.refresh(tokens["refresh_token"]).status_code in (400, 401)
    assert flow.exchange(code).status_code in (400, 401)
    assert flow.look().status_code == 400
    acme.archived_at = None
    acme.save()
    assert works(own)
    assert works(tokens["access_token"])
    assert flow.exchange(code).status_code == 200


def test_nothing_new_is_made_in_an_archived_organization() -> None:
    from tests.oauth.test_applications_api import at, machine, run_by

    acme, key = run_by("owner")
    made = ask("POST", at(acme), key, machine()).json()
    acme.archived_at = timezone.now()
    acme.save()
    assert ask("POST", at(acme), key, machine()).status_code == 409
    assert ask("POST", at(acme, made["id"], "secret"), key).status_code == 409
    assert ask("GET", at(acme), key).status_code == 200
    assert ask("DELETE", at(acme, made["id"]), key).status_code == 204
    assert give_key(acme)
