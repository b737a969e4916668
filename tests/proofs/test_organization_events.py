"""The same of organizations as ``test_audit_events`` shows of people: what there is of each, of its
members, invitations, webhooks and applications follows from the events alone, whatever is done and
by whatever path. What is refused, or rolled back, leaves neither rows nor events."""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

import pytest
from django.core import mail
from django.test import Client, TestCase
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.models import AuditEvent
from audit.sealing import seal
from audit.verifying import verify
from contracts import ids
from erasure.purging import purge_due
from erasure.typeids import spell_id
from organizations.models import Invitation, ManagedUser, Membership, Organization
from organizations.oauth.models import Application
from organizations.webhooks.models import Endpoint
from organizations.webhooks.recipients import ENDPOINT
from tests.admin.desk import sign_in_superuser
from tests.admin.test_organization_members import form_of
from tests.commands.shell import run
from tests.factories import UserFactory, give_key
from tests.house.asking import ask, make_due
from tests.proofs.sizes import RUN_ORGANIZATIONS
from tests.proofs.test_audit_events import fail_in_the_middle

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
IMMEDIATE = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}


@dataclass
class State:
    """What there is, as far as events tell."""

    organizations: dict[UUID, str] = field(default_factory=dict)
    """``live``, ``archived``, ``deleted`` or ``deleted archived``, by id."""
    members: dict[tuple[UUID, UUID], str] = field(default_factory=dict)
    """The role of a user in an organization."""
    managed: dict[UUID, UUID] = field(default_factory=dict)
    """The organization that manages a user."""
    invitations: dict[str, UUID] = field(default_factory=dict)
    webhooks: dict[str, UUID] = field(default_factory=dict)
    applications: dict[str, UUID] = field(default_factory=dict)


WORDS = {
    "organization.archived": {"live": "archived"},
    "organization.unarchived": {"archived": "live"},
    "organization.deleted": {"live": "deleted", "archived": "deleted archived"},
    "organization.restored": {"deleted": "live", "deleted archived": "archived"},
}
DELETED = ("deleted", "deleted archived")
BELONGINGS = {"invitation": "invitations", "webhook": "webhooks", "application": "applications"}
CHANGE_NOTHING_HERE = {
    "organization.changed",
    "organization.transferred",
    "webhook.secret_rotated",
    "user.deleted",
    "user.restored",
    "user.searched",
    "organization.searched",
    "admin.changed",
}


def fold(state: State, event: AuditEvent) -> None:
    """Take in one event. An action that nobody expects fails the proof."""
    subject, facts = event.subject_id, event.facts
    assert subject is not None
    kind, _, done = event.action.partition(".")
    match event.action:
        case "organization.created":
            state.organizations[subject] = "live"
            assert event.actor_id is not None
            state.members[subject, event.actor_id] = "owner"
        case "organization.erased":
            _take_all(state, subject)
        case action if action in WORDS:
            state.organizations[subject] = WORDS[action][state.organizations[subject]]
        case "member.added" | "member.role_changed":
            state.members[subject, UUID(facts["member"])] = facts["role"]
        case "member.removed":
            del state.members[subject, UUID(facts["member"])]
        case "user.provisioned":
            assert event.organization_id is not None
            state.managed[subject] = event.organization_id
        case "user.erased":
            del state.managed[subject]
        case action if action not in CHANGE_NOTHING_HERE:
            rows, name = getattr(state, BELONGINGS[kind]), facts[kind]
            assert done in {"created", "deleted", "revoked", "accepted"}, action
            if done == "created":
                rows[name] = subject
            else:
                del rows[name]


def _take_all(state: State, organization: UUID) -> None:
    del state.organizations[organization]
    state.members = {key: it for key, it in state.members.items() if key[0] != organization}
    # Whom it managed are subjects of their own, with events of their own.
    for name in BELONGINGS.values():
        rows = getattr(state, name)
        setattr(state, name, {key: of for key, of in rows.items() if of != organization})


class World:
    """What is done to, and by which paths."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"organizations:{seed}")
        self.client = Client()
        self.staff = sign_in_superuser(self.client)
        self.people: list[User] = UserFactory.create_batch(6)
        self.keys = {it.pk: give_key(it) for it in self.people}
        self.state = State()
        self.read: set[UUID] = set()
        self.count = 0

    def rows(self) -> State:
        """Return what there is, as the tables tell."""
        roles = Membership.objects.values_list("organization_id", "user_id", "role")
        hooks = Endpoint.objects.filter(organization__isnull=False).values_list(
            "id", "organization_id"
        )
        clients = Application.objects.values_list("id", "organization_id")
        return State(
            organizations={it.pk: _word(it) for it in Organization.objects.all()},
            members={(of, user): str(role) for of, user, role in roles},
            managed=dict(ManagedUser.objects.values_list("user_id", "organization_id")),
            invitations={
                str(pk): of for pk, of in Invitation.objects.values_list("pk", "organization_id")
            },
            webhooks={spell_id(ENDPOINT, pk): of for pk, of in hooks if of},
            applications={str(pk): of for pk, of in clients},
        )

    def reconcile(self) -> int:
        """Take in the events that are new; return how many, and hold them against the rows."""
        new = set(AuditEvent.objects.values_list("pk", flat=True)) - self.read
        for event in AuditEvent.objects.filter(pk__in=new).order_by("id"):
            fold(self.state, event)
        self.read |= new
        assert self.rows() == self.state
        return len(new)

    def name(self) -> str:
        self.count += 1
        return f"it-{self.count}-{self.rng.randrange(10**6)}"

    def some(self, *words: str) -> UUID | None:
        found = sorted(pk for pk, it in self.state.organizations.items() if it in words)
        return self.rng.choice(found) if found else None

    def key(self, organization: UUID) -> str:
        """Return the key of somebody there, an owner more often than not, or of a stranger."""
        there = [
            (user, role)
            for (of, user), role in sorted(self.state.members.items())
            if of == organization and user in self.keys
        ]
        owners = [user for user, role in there if role == "owner"]
        chosen = owners if owners and self.rng.random() < 0.8 else [user for user, _ in there]
        return self.keys[self.rng.choice(chosen or sorted(self.keys))]

    def person(self) -> UUID:
        return self.rng.choice(self.people).pk

    def ask(self, method: str, organization: UUID, path: str, body: Any = None) -> Any:
        answer = ask(
            method, f"/v1/organizations/{organization}{path}", self.key(organization), body
        )
        assert answer.status_code < 500
        return answer


def _word(row: Organization) -> str:
    if row.is_deleted:
        return "deleted archived" if row.archived_at else "deleted"
    return "archived" if row.archived_at else "live"


def found_by_api(world: World) -> None:
    body = {"name": "It", "slug": world.name()}
    assert ask("POST", "/v1/organizations", world.keys[world.person()], body).status_code == 201


def rename_by_api(world: World) -> None:
    if here := world.some("live"):
        world.ask("PATCH", here, "", {"slug": world.name()})


def invite_by_api(world: World) -> None:
    if here := world.some("live"):
        role = world.rng.choice(["member", "admin", "owner"])
        world.ask("POST", here, "/invitations", {"email": "new@example.com", "role": role})


def join_by_api(world: World) -> None:
    """Somebody is invited by the address that they have, and accepts or not."""
    if here := world.some("live"):
        person = world.rng.choice(world.people)
        role = world.rng.choice(["member", "admin", "owner"])
        mail.outbox.clear()
        with TestCase.captureOnCommitCallbacks(execute=True):
            world.ask("POST", here, "/invitations", {"email": person.email, "role": role})
        if mail.outbox and world.rng.random() < 0.9:
            [address] = re.findall(r"/invitations/(\S+)", str(mail.outbox[-1].body))
            ask("POST", "/v1/invitations/accept", world.keys[person.pk], {"token": address})


def revoke_by_api(world: World) -> None:
    live = {pk for pk, it in world.state.organizations.items() if it == "live"}
    if found := sorted(it for it in world.state.invitations.items() if it[1] in live):
        one, here = world.rng.choice(found)
        world.ask("DELETE", here, f"/invitations/{ids.encode(ids.INVITATION, UUID(one))}")


def change_role_by_api(world: World) -> None:
    if found := _some_member(world):
        here, user = found
        role = world.rng.choice(["owner", "admin", "member"])
        world.ask("PATCH", here, f"/members/{ids.encode(ids.USER, user)}", {"role": role})


def remove_by_api(world: World) -> None:
    if found := _some_member(world):
        here, user = found
        world.ask("DELETE", here, f"/members/{ids.encode(ids.USER, user)}")


def leave_by_api(world: World) -> None:
    if found := _some_member(world):
        ask("POST", f"/v1/organizations/{found[0]}/leave", world.keys.get(found[1]))


def transfer_by_api(world: World) -> None:
    if found := _some_member(world):
        here, user = found
        body = {"to": ids.encode(ids.USER, user), "keep_role": world.rng.choice(["admin", "owner"])}
        world.ask("POST", here, "/transfer", body)


def _some_member(world: World) -> tuple[UUID, UUID] | None:
    """Return an organization that works and one of its members, of several where there are."""
    live = {pk for pk, it in world.state.organizations.items() if it == "live"}
    size = Counter(here for here, _ in world.state.members)
    found = sorted(it for it in world.state.members if it[0] in live)
    found = [it for it in found if size[it[0]] > 1] or found
    return world.rng.choice(found) if found else None


def staff_by_admin(world: World) -> None:
    """Add somebody, change a role, or remove somebody, in the form of the organization."""
    if here := world.some("live"):
        row = Organization.objects.get(pk=here)
        there = {user for (of, user) in world.state.members if of == here}
        others = [it for it in world.people if it.pk not in there]
        data = form_of(row)
        match world.rng.choice(["add", "change", "remove"]):
            case "add" if others:
                data = form_of(row, (world.rng.choice(others), "member"))
            case "change":
                data["memberships-0-role"] = world.rng.choice(["owner", "admin", "member"])
            case "remove":
                data["memberships-0-DELETE"] = "on"
        world.client.post(f"/admin/organizations/organization/{here}/change/", data)


def provision_by_api(world: World) -> None:
    if here := world.some("live"):
        body = {"username": world.name(), "external_id": world.name()}
        world.ask("POST", here, "/managed-users", body)


def erase_managed_by_command(world: World) -> None:
    if world.state.managed:
        user = world.rng.choice(sorted(world.state.managed))
        run("erase_user", ids.encode(ids.USER, user), "--execute")


def webhooks_by_api(world: World) -> None:
    if here := world.some("live"):
        body = {"url": "https://hooks.example.com/in", "events": ["member.removed"]}
        world.ask("POST", here, "/webhooks", body)
    if world.state.webhooks:
        one, here = world.rng.choice(sorted(world.state.webhooks.items()))
        if world.rng.random() < 0.5:
            world.ask("POST", here, f"/webhooks/{one}/rotate-secret")
        else:
            world.ask("DELETE", here, f"/webhooks/{one}")


def applications_by_api(world: World) -> None:
    if here := world.some("live"):
        body = {"name": "It", "flow": "client_credentials"}
        world.ask("POST", here, "/applications", body)
    if world.state.applications:
        one, here = world.rng.choice(sorted(world.state.applications.items()))
        world.ask("DELETE", here, f"/applications/{ids.encode(ids.APPLICATION, UUID(one))}")


def archive_by_api(world: World) -> None:
    if here := world.some("live", "archived"):
        is_live = world.state.organizations[here] == "live"
        world.ask("POST", here, "/archive" if is_live else "/unarchive")


def tear_down_by_contract(world: World) -> None:
    if here := world.some("live", "archived"):
        headers = {"x-api-version": "2025-09"}
        ask("DELETE", f"/organizations/{here}", world.key(here), None, headers)


def schedule_by_api(world: World) -> None:
    if here := world.some("live", "archived"):
        slug = Organization.objects.get(pk=here).slug
        world.ask("POST", here, "/deletion", {"slug": slug})


def restore_by_command(world: World) -> None:
    if here := world.some(*DELETED):
        run("restore_account", str(here), "--execute")


def erase_by_command(world: World) -> None:
    if here := world.some("live", *DELETED):
        run("erase_organization", str(here), "--execute")


def purge_in_bulk(world: World) -> None:
    for here in [pk for pk, it in world.state.organizations.items() if it in DELETED]:
        if world.rng.random() < 0.5:
            make_due(Organization.objects.get(pk=here))
    purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)


Operation = Callable[[World], None]
OPERATIONS: dict[Operation, int] = {
    found_by_api: 6,
    rename_by_api: 2,
    invite_by_api: 3,
    join_by_api: 8,
    revoke_by_api: 3,
    change_role_by_api: 6,
    remove_by_api: 5,
    leave_by_api: 4,
    transfer_by_api: 3,
    staff_by_admin: 3,
    provision_by_api: 3,
    erase_managed_by_command: 2,
    webhooks_by_api: 3,
    applications_by_api: 3,
    archive_by_api: 2,
    tear_down_by_contract: 1,
    schedule_by_api: 2,
    restore_by_command: 2,
    erase_by_command: 1,
    purge_in_bulk: 1,
}


def shuffled(rng: random.Random) -> Iterator[Operation]:
    """Yield the operations for ever, each as often as it weighs before all begin anew."""
    while True:
        yield from rng.sample(
            list(OPERATIONS), sum(OPERATIONS.values()), counts=OPERATIONS.values()
        )


@RUN_ORGANIZATIONS
def test_rows_and_events_of_organizations_tell_the_same(size: int, settings: Any) -> None:
    settings.TASKS = IMMEDIATE
    world = World(size)
    told: Counter[str] = Counter()
    for number, act in enumerate(islice(shuffled(world.rng), size)):
        if number % 10 == 9:
            fail_in_the_middle(world, act)
            assert world.reconcile() == 0, f"{act.__name__} left an event of what was rolled back"
            continue
        act(world)
        told[act.__name__] += world.reconcile()
    assert all(told[act.__name__] for act in OPERATIONS), told
    seal(now=timezone.now())
    assert verify().fault is None
