"""Rows and events tell the same: whatever is done, and by whatever path, the state that follows
from the events alone is the state of the tables; what is rolled back leaves neither."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from accounts import joining
from accounts.models import User
from apikeys.models import ApiKey
from audit import events as writing
from audit.actors import Actor
from audit.models import AuditEvent
from audit.sealing import seal
from audit.statements import insert_columns, insert_values
from audit.verifying import verify
from contracts import ids
from erasure.models import DeletionRequest, LegalHold
from erasure.purging import purge_due
from tests.admin.desk import sign_in_superuser
from tests.commands.shell import run
from tests.factories import give_key
from tests.house.asking import ask
from tests.proofs.sizes import RECONCILED

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


@dataclass
class State:
    """What there is, as far as events tell."""

    users: dict[UUID, str] = field(default_factory=dict)
    """``live``, ``locked`` or ``deleted``, by id."""
    keys: dict[UUID, UUID] = field(default_factory=dict)
    """The owner of each key that works."""
    holds: set[UUID] = field(default_factory=set)


def fold(state: State, event: AuditEvent) -> None:
    """Take in one event. An action that nobody expects fails the proof."""
    subject, facts = event.subject_id, event.facts
    assert subject is not None
    match event.action:
        case "user.created":
            assert subject not in state.users
            state.users[subject] = "live"
        case "user.deleted" | "user.deactivated" | "user.activated" | "user.restored":
            words = {"deleted": "deleted", "deactivated": "locked"}
            state.users[subject] = words.get(event.action.partition(".")[2], "live")
            if event.action == "user.deleted":
                _end_keys(state, subject)
        case "user.erased":
            del state.users[subject]
            _end_keys(state, subject)
        case "api_key.created":
            state.keys[UUID(facts["key"])] = subject
        case "api_key.revoked":
            del state.keys[UUID(facts["key"])]
        case "hold.placed":
            state.holds.add(UUID(facts["hold"]))
        case "hold.released":
            state.holds.remove(UUID(facts["hold"]))
        case "api_key.renamed" | "admin.added" | "user.searched":
            pass
        case other:
            pytest.fail(f"nobody expects {other}")


def _end_keys(state: State, owner: UUID) -> None:
    state.keys = {key: of for key, of in state.keys.items() if of != owner}


class World:
    """What is done to, and by which paths. ``staff`` came before the events."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.client = Client()
        self.staff = sign_in_superuser(self.client)
        self.state = State()
        self.read: set[UUID] = set()
        self.count = 0

    def rows(self) -> State:
        """Return what there is, as the tables tell."""
        users = User.objects.exclude(pk=self.staff.pk).only("is_deleted", "is_active")
        # Those called "test" are the tests' own, which no service has made.
        alive = ApiKey.objects.filter(revoked_at=None).exclude(name="test")
        return State(
            users={it.pk: _word(it) for it in users},
            keys={it.pk: it.user_id for it in alive if it.user_id},
            holds=set(LegalHold.objects.filter(released_at=None).values_list("pk", flat=True)),
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
        return f"user-{self.count}-{self.rng.randrange(10**6)}"

    def some(self, word: str) -> UUID | None:
        found = [pk for pk, it in self.state.users.items() if it == word]
        return self.rng.choice(found) if found else None


def _word(user: User) -> str:
    if user.is_deleted:
        return "deleted"
    return "live" if user.is_active else "locked"


def create_by_admin(world: World) -> None:
    data = {"username": world.name(), "email": "", "name": "", "usable_password": "false"}
    assert world.client.post("/admin/accounts/user/add/", data).status_code == 302


def create_by_service(world: World) -> None:
    joining.create_user(actor=SYSTEM, username=world.name(), now=timezone.now())


def key_by_api(world: World) -> None:
    if user := world.some("live"):
        key = give_key(User.objects.get(pk=user))
        answer = ask("POST", "/v1/api-keys", key, {"name": "made"})
        assert answer.status_code == 201


def revoke_by_api(world: World) -> None:
    if key := _any_key(world):
        owner = User.objects.get(pk=world.state.keys[key])
        if owner.is_active:
            secret = give_key(owner)
            path = f"/v1/api-keys/{ids.encode(ids.KEY, key)}"
            rename = ask("PATCH", path, secret, {"name": "renamed"})
            assert rename.status_code == 200
            assert ask("DELETE", path, secret).status_code == 204


def _any_key(world: World) -> UUID | None:
    return world.rng.choice(sorted(world.state.keys)) if world.state.keys else None


def delete_by_contract(world: World) -> None:
    if user := world.some("live"):
        key = give_key(User.objects.get(pk=user))
        ask("DELETE", f"/v1/user/{ids.encode(ids.USER, user)}", key)


def restore_by_command(world: World) -> None:
    if user := world.some("deleted"):
        run("restore_account", ids.encode(ids.USER, user), "--execute")


def lock_by_admin(world: World) -> None:
    for word, action in (("live", "deactivate"), ("locked", "activate")):
        if user := world.some(word):
            data = {"action": action, "_selected_action": str(user), "index": "0"}
            assert world.client.post("/admin/accounts/user/", data).status_code == 302


def hold_by_command(world: World) -> None:
    if user := world.some("live") or world.some("deleted"):
        typed = ("--reason", "A lawsuit.", "--review", "2099-01-31")
        code, said = run("legal_hold", "place", ids.encode(ids.USER, user), *typed, "--execute")
        assert code == 0, said
    if world.state.holds and world.rng.random() < 0.7:
        hold = world.rng.choice(sorted(world.state.holds))
        run("legal_hold", "release", str(hold), "--execute")


def erase_by_command(world: World) -> None:
    if user := world.some(world.rng.choice(["live", "deleted", "locked"])):
        run("erase_user", ids.encode(ids.USER, user), "--execute")


def purge_in_bulk(world: World) -> None:
    open_ones = DeletionRequest.objects.filter(state="scheduled")
    chosen = [it.pk for it in open_ones if world.rng.random() < 0.5]
    open_ones.filter(pk__in=chosen).update(due_at=timezone.now() - timedelta(seconds=1))
    purge_due(actor=SYSTEM, clock=timezone.now, jobs=1)


Operation = Callable[[World], None]
OPERATIONS: dict[Operation, int] = {
    create_by_admin: 2,
    create_by_service: 4,
    key_by_api: 2,
    revoke_by_api: 1,
    delete_by_contract: 3,
    restore_by_command: 1,
    lock_by_admin: 1,
    hold_by_command: 1,
    erase_by_command: 1,
    purge_in_bulk: 1,
}


@RECONCILED
def test_rows_and_events_tell_the_same(size: int) -> None:
    world = World(size)
    told: Counter[str] = Counter()
    for number in range(size):
        act = world.rng.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]
        if number % 10 == 9:
            fail_in_the_middle(world, act)
            assert world.reconcile() == 0, f"{act.__name__} left an event of what was rolled back"
            continue
        act(world)
        told[act.__name__] += world.reconcile()
    assert all(told[act.__name__] for act in OPERATIONS), told
    seal(now=timezone.now())
    assert verify().fault is None


@contextmanager
def failing_writes() -> Iterator[None]:
    """Let every transaction fail right after its event was written."""

    def fail(*parts: Any) -> None:
        insert_values(*parts)
        raise DatabaseError("the tests say so")

    def fail_many(*args: Any, **kwargs: Any) -> None:
        insert_columns(*args, **kwargs)
        raise DatabaseError("the tests say so")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "insert_values", fail)
        patch.setattr(writing, "insert_columns", fail_many)
        with suppress(DatabaseError, AssertionError):
            yield


def fail_in_the_middle(world: Any, act: Callable[[Any], None]) -> None:
    """Do something that is to leave nothing behind."""
    client, world.client = world.client, Client(raise_request_exception=False)
    world.client.force_login(world.staff)
    before = world.rows()
    with failing_writes():
        act(world)
    world.client = client
    assert world.rows() == before
