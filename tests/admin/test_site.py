import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from accounts.exceptions import NameTaken
from accounts.models import UserGroup
from apikeys.exceptions import ApiKeyError
from erasure import refusals
from erasure.desk.refusals import explain
from erasure.exceptions import DeletionError, RestoreError
from tests.admin.desk import delete_softly, sign_in, sign_in_superuser, text_of
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db


def test_the_index_names_the_house_and_only_what_one_may_see(client: Client) -> None:
    sign_in(client, "audit.view_auditevent")
    page = text_of(client.get("/admin/"))
    assert "<title>Accounts and deletions | Sexton</title>" in page
    assert "Audit events" in page
    for hidden in ("Users", "Deleted accounts", "Organizations", "API keys", "Legal holds"):
        assert hidden not in page


def test_those_who_are_no_staff_or_gone_cannot_enter(client: Client) -> None:
    client.force_login(UserFactory())
    assert client.get("/admin/").status_code == 302
    staff = sign_in(client, "accounts.view_user")
    assert client.get("/admin/").status_code == 200
    delete_softly(staff)
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    "path",
    [
        "",
        "accounts/user/",
        "accounts/user/add/",
        "accounts/deleteduser/",
        "organizations/organization/add/",
        "apikeys/apikey/add/",
        "erasure/legalhold/add/",
        "erasure/deletionrequest/",
        "audit/auditevent/",
        "auth/group/add/",
    ],
)
def test_no_page_needs_more_than_the_content_policy_allows(client: Client, path: str) -> None:
    sign_in_superuser(client)
    answer = client.get(f"/admin/{path}")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "style-src 'self';" in policy
    assert "script-src 'self';" in policy
    page = text_of(answer)
    assert "<style" not in page
    assert " style=" not in page
    assert "<script>" not in page
    assert " onclick=" not in page


def test_groups_stay_usable(client: Client) -> None:
    sign_in_superuser(client)
    erase = Permission.objects.get(codename="erase_user")
    client.post("/admin/auth/group/add/", {"name": "erasers", "permissions": [str(erase.pk)]})
    group = Group.objects.get(name="erasers")
    UserGroup.objects.create(user=UserFactory(), group=group)
    url = f"/admin/auth/group/{group.pk}/delete/"
    assert client.get(url).status_code == 200
    assert client.post(url, {"post": "yes"}).status_code == 302
    assert not UserGroup.objects.filter(group_id=group.pk).exists()


def test_choices_name_live_users_by_account_id(client: Client) -> None:
    sign_in(client, "accounts.view_user")
    alice = UserFactory(username="alice")
    delete_softly(username="alison")
    query = {"app_label": "apikeys", "model_name": "apikey", "field_name": "user", "term": "ali"}
    results = client.get("/admin/autocomplete/", query).json()["results"]
    assert [result["id"] for result in results] == [str(alice.pk)]
    assert results[0]["text"].startswith("alice (usr_")
    sign_in(client, "apikeys.add_apikey")
    assert client.get("/admin/autocomplete/", query).status_code == 403


def test_every_refusal_has_words() -> None:
    families = [DeletionError, RestoreError, ApiKeyError]
    named = {child for family in families for child in family.__subclasses__()}
    missing = {error.__name__ for error in named if not refusals.has_words(error)}
    assert not missing, f"Tell staff what these mean, by put_into_words: {missing}"
    assert explain(NameTaken(UserFactory().pk, "username")) == (
        "nothing was done: somebody else bears its username."
    )
    assert explain(KeyError("x")) == "nothing was done: KeyError."
