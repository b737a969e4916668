"""An organization with one of everything that it can own, all of it in use, is torn down over HTTP:
each credential is refused, no row of it is left in any table, nobody is billed, whoever listened
is told, and every other row is byte for byte what it was before.

What belongs to it is read from the database's own catalogue, never from policies or planner.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from apikeys.models import ApiKey
from audit.tasks import seal_and_publish
from erasure import alone, draining, executor, sets, subjects
from erasure.clocks import sweep_every
from erasure.models import DeletionRequest
from erasure.worker import work
from organizations.models import Organization
from organizations.oauth.models import Grant
from organizations.webhooks import sending
from organizations.webhooks.models import Delivery
from tests.billing.conftest import stripe  # noqa: F401 - a fixture
from tests.billing.fakestripe import FakeStripe
from tests.bystanders import SEALED
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory
from tests.house.asking import ask, refused
from tests.oauth.flow import ask_for_own_token, failure
from tests.proofs.catalogue import Belongings, Catalogue, Rows
from tests.proofs.estates import (
    INVITED,
    PATIENCE,
    Estate,
    being_delivered,
    fill_history,
    found,
    paths_to,
    send_test,
    settled,
)
from tests.proofs.sizes import WHOLE
from tests.webhooks.conftest import receiver  # noqa: F401 - a fixture
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")

RECORDS = {
    "audit_auditevent": "what happened, by whom",
    "billing_billingorder": "that Stripe was told",
    "django_tasks_database_dbtaskresult": "wake-ups that were, by the ids of invitations",
    "erasure_deletionrequest": "the deletion itself",
    "erasure_statement": "the receipt's wording",
    "webhooks_delivery": "the last event, addressed to the endpoint that was",
    "webhooks_message": "the events, by opaque ids",
}
"""Tables that may name what is gone, by opaque ids only, and what they tell."""

AT_WORK = {
    "audit_checkpoint": "the log's newest seal",
    "audit_publication": "where that was handed out",
    "audit_tile": "the seal's tree, which grows",
    "audit_treehead": "its size",
    "django_tasks_database_dbtaskresult": "tasks that ran",
    "erasure_heartbeat": "when the worker swept",
}
"""Tables whose rows the worker itself changes, whoever is torn down."""

SMALL, LARGE = "within the request", "by a worker"


@pytest.fixture(params=[SMALL, LARGE])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the organization counts as small or as large, whatever it holds."""
    form: str = request.param
    for module in (alone, executor, sets):
        monkeypatch.setattr(module, "LARGE", 12 if form == LARGE else 10**6)
    monkeypatch.setattr(subjects, "FEW", 2 if form == LARGE else 10**6)
    if form == LARGE:
        monkeypatch.setattr(alone, "PIECE", 0)
        monkeypatch.setattr(draining, "FIRST", 4)
        monkeypatch.setattr(draining, "MOST", 4)
    return form


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery under way goes on for as long as the receiver takes."""
    for name in ("CONNECT", "READ", "TOTAL"):
        monkeypatch.setattr(sending, name, 10.0 * PATIENCE)


def run_worker() -> None:
    work(every=sweep_every(), poll=0.01, once=True)
    assert settled()


@WHOLE
def test_an_organization_loses_everything_and_nobody_else_anything(
    size: int,
    form: str,
    stripe: FakeStripe,  # noqa: F811 - the fixture
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    catalogue = Catalogue()
    alice, charlie = UserFactory(username="alice"), UserFactory(username="charlie")
    theirs = found("charlies", charlie, stripe, receiver, size)
    acme = found("acme", alice, stripe, receiver, size)
    sibling = OrganizationFactory(slug="acme-of-old", archived_at=timezone.now())
    MembershipFactory(organization=sibling, user=alice, role="owner")
    run_worker()
    for estate in (theirs, acme):
        fill_history(estate, size)
        assert_everything_opens(estate)
    send_test(theirs)
    later = timezone.now() + sweep_every() * 1000
    Delivery.objects.pending().update(next_try_at=later)
    # On a machine that stalls they would run out, and the worker remove them.
    Grant.objects.update(expires=later)
    seal_and_publish()

    with being_delivered(receiver, acme):
        before = catalogue.read_rows()
        mine = find_belongings(catalogue, acme)
        assert_is_filled(catalogue, acme.organization, mine, before)
        answer = ask("DELETE", f"/organizations/{acme.organization.pk}", acme.owner_key)
        assert (answer.status_code, answer.content) == (204, b"")
        assert_everything_is_refused(acme)
        is_there = Organization.objects.filter(pk=acme.organization.pk).exists()
        assert is_there == (form == LARGE)
    run_worker()

    after = catalogue.read_rows()
    left = mine.gone & after.keys()
    assert not left, f"left of what it owned: {left}"
    assert_others_are_untouched(catalogue, before, after, mine, acme)
    assert_named_in_records_only(mine, after)
    assert_everything_is_refused(acme)
    assert_everything_opens(theirs)
    states = DeletionRequest.objects.values_list("state", flat=True)
    assert set(states) == {"completed"}
    assert_nobody_is_billed(stripe, acme, theirs)
    [last] = [one for one in receiver.requests if one.data["type"] == "organization.deleted"]
    assert last.path == acme.path
    assert last.verify(acme.secret)["data"]["organization_id"] == str(acme.organization.pk)
    with pytest.raises(Exception, match="signature"):
        last.verify(theirs.secret)


def test_a_table_that_the_scene_forgets_is_found() -> None:
    """The control: an organization that owns next to nothing."""
    catalogue = Catalogue()
    organization = MembershipFactory(role="owner").organization
    mine = catalogue.find_belongings({"organization": [organization.pk]})
    with pytest.raises(AssertionError, match=r"fill it: .*oauth_accesstoken") as told:
        assert_is_filled(catalogue, organization, mine, catalogue.read_rows())
    assert "organizations_membership" not in str(told.value).partition("can belong")[0]


# --- what there is, and what is left -----------------------------------------------------------


def find_belongings(catalogue: Catalogue, estate: Estate) -> Belongings:
    managed = [one.pk for one in estate.managed]
    return catalogue.find_belongings({"organization": [estate.organization.pk], "user": managed})


def assert_is_filled(
    catalogue: Catalogue, organization: Organization, mine: Belongings, rows: Rows
) -> None:
    """Fail for a table that could hang on an organization and of which the scene has no row."""
    filled = {table for table, _ in [*mine.gone, *mine.cleared]}
    empty = paths_to("organizations.Organization") - filled
    assert not empty, f"fill it: {empty} can belong to an organization (tests/proofs/estates.py)"
    written = {table for table, text in naming(rows, {organization.pk.hex})}
    loose = {
        table
        for table, columns in catalogue.columns.items()
        if any(one.endswith("organization_id") for one in columns)
    }
    empty = loose - written - WRITTEN_LATER
    assert not empty, f"fill it: {empty} can name an organization (tests/proofs/estates.py)"


WRITTEN_LATER = {"billing_billingorder", "erasure_deletionrequest", "erasure_pause"}
"""What the teardown writes itself, and pauses, one of which would be in its way."""


def naming(rows: Rows, ids: set[str]) -> set[tuple[str, str]]:
    """Return the rows that hold any of some ids, however they are spelled."""
    return {
        (table, text)
        for (table, _), text in rows.items()
        if any(one.replace("-", "") in ids for one in ID.findall(text.lower()))
    }


def assert_named_in_records_only(mine: Belongings, after: Rows) -> None:
    ids = {one.replace("-", "") for _, key in mine.gone for one in ID.findall(key.lower())}
    tables = {table for table, _ in naming(after, ids)}
    assert tables <= RECORDS.keys(), f"named still in {tables - RECORDS.keys()}"


def assert_others_are_untouched(
    catalogue: Catalogue, before: Rows, after: Rows, mine: Belongings, acme: Estate
) -> None:
    # By which the organization is deleted, and an invitation to it is tried.
    people = [acme.owner.pk, acme.guest.pk]
    keys = ApiKey.objects.filter(user__in=people).values_list("pk", flat=True)
    used = {("apikeys_apikey", catalogue.spell_key(pk)) for pk in keys}
    for key in before.keys() - mine.gone:
        table, _ = key
        if table in AT_WORK:
            continue
        assert key in after, f"gone, though others': {before[key]}"
        then = catalogue.changed(before[key], dict.fromkeys(mine.cleared.get(key, ())))
        now = catalogue.open_row(after[key])
        if table == "audit_auditevent":
            then |= {name: now[name] for name in SEALED}
        if key in used:
            then["last_used_at"] = now["last_used_at"]
        assert then == now, f"changed, though others': {key}"


# --- credentials -------------------------------------------------------------------------------


def assert_everything_opens(estate: Estate) -> None:
    for credential in (estate.platform_key, estate.machine_token):
        assert ask("GET", estate.at("webhooks"), credential).status_code == 200
        version = {"x-api-version": "2025-09"}
        assert ask("DELETE", "/users/nobody", credential, headers=version).status_code == 404
    assert ask("GET", "/v1/user/usr_x", estate.tokens["access_token"]).status_code == 404
    assert ask("GET", "/v1/user/usr_x", estate.managed_key).status_code == 404
    assert ask_for_own_token(estate.machine).status_code == 200
    page = estate.managed_browser.get("/admin/")
    assert page.wsgi_request.user.is_authenticated


def read_house(body: Any) -> Any:
    return body["error"]["code"]


DOORS: list[tuple[str, str, Callable[[Any], Any], Any]] = [
    ("DELETE", "/account", lambda body: body["error"], "unauthorized"),
    ("DELETE", "/v1/user/usr_x", read_house, "AUTHENTICATION_REQUIRED"),
    ("DELETE", "/users/nobody", lambda body: body, {"message": "Unauthorized"}),
    (
        "DELETE",
        "/organizations/{id}",
        lambda body: body,
        {"statusCode": 401, "message": "Unauthorized"},
    ),
    ("DELETE", "/user/usr_x", lambda body: body, {"detail": "Not authenticated"}),
    ("GET", "/v1/organizations/{id}/webhooks", read_house, "AUTHENTICATION_REQUIRED"),
]
"""An address of each dialect, where in the answer to look, and what stands there."""


def assert_everything_is_refused(estate: Estate) -> None:
    # So many failures from one address are throttled otherwise.
    cache.clear()
    for method, path, read, expected in DOORS:
        for name, credential in estate.credentials.items():
            answer = ask(
                method,
                path.format(id=estate.organization.pk),
                credential,
                {"confirm": True},
                headers={"x-api-version": "2025-09"},
            )
            assert answer.status_code == 401, (name, path, answer.content)
            assert read(answer.json()) == expected, (name, path)
    for answer in (
        ask_for_own_token(estate.machine),
        estate.flow.exchange(estate.code),
        estate.flow.refresh(estate.tokens["refresh_token"]),
    ):
        assert failure(answer) == (401, "invalid_client")
    token = INVITED.format(slug=estate.organization.slug)
    accepted = ask("POST", "/v1/invitations/accept", estate.guest_key, {"token": token})
    assert refused(accepted) == (404, "INVITATION_NOT_FOUND")
    assert estate.managed_browser.get("/admin/").wsgi_request.user.is_anonymous


# --- money -------------------------------------------------------------------------------------


def assert_nobody_is_billed(stripe: FakeStripe, acme: Estate, theirs: Estate) -> None:  # noqa: F811
    objects = stripe.objects
    assert objects[acme.subscription]["status"] == "canceled"
    assert stripe.cancels == {acme.subscription: 1}
    assert stripe.invoices_of(acme.subscription) == acme.invoices != []
    assert objects[acme.customer]["object"] == "customer"
    assert objects[theirs.subscription]["status"] == "active"
    assert stripe.changes[theirs.subscription] == 0
