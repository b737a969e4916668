"""What the victim of a crash works on, and what is left of it afterwards.

Every function runs in a process of its own (``victim``) and returns something that JSON can hold.
"""

import json
import re
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.core.management import call_command
from django.db import connection

from accounts.models import User
from audit.actors import Actor
from audit.models import EventDetail
from erasure import alone, draining, executor, gate, jobs, locking, purging, sets, signing, subjects
from erasure.closure import closure_of
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest, LegalHold
from erasure.pacing import Pace
from erasure.purging import purge_due
from erasure.receipts import receipt_of, verify
from erasure.working import carry_on
from organizations.models import Organization
from organizations.services import delete_organization
from tests.bystanders import create_charlie
from tests.factories import (
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)
from tests.proofs.catalogue import Catalogue
from tests.proofs.poison import poison
from tests.proofs.victim import Boundaries

NOW = datetime.fromisoformat("2025-05-01T12:00:00+00:00")
LARGE = 12
"""Rows from which on a subject is drained in pieces, here."""

FORGOTTEN = {"erasure_ledgermark", "django_tasks_database_dbtaskresult"}
"""Where this database has come to in its ledger is another matter in each run, and so are the
tasks, which may run once more than they must."""

DAY = re.compile(r"2025-05-0[1-9][T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?")


def warm_up() -> None:
    """Do once what every fork would do again; without a connection, which no fork may share."""
    for kind in ("user", "organization"):
        assert closure_of(kind).steps


def build() -> dict[str, str]:
    """Fill an empty database. Return the subjects that are due, with what is to become of each."""
    call_command("migrate", verbosity=0)
    create_charlie()
    organizations: list[Organization] = [OrganizationFactory() for _ in range(3)]
    for one in organizations:
        MembershipFactory(organization=one, role="owner")
    fates: dict[str, str] = {}
    for number in range(4):
        fates[_due(_person(number, organizations))] = "completed"
    fates[_due(_person(24, organizations))] = "completed"
    fates[_due(_family())] = "completed"
    fates[_due(_person(2, organizations), state="failed", attempts=3, retry_at=NOW)] = "completed"
    poisoned, held = _person(1, organizations), _person(1, organizations)
    poison(poisoned.pk)
    fates[_due(poisoned)] = "failed"
    fates[_due(held)] = "scheduled"
    LegalHold.objects.create(
        subject_kind="user", subject_id=held.pk, reason="a suit", placed_at=NOW
    )
    fates[_due(User(pk=uuid4()))] = "completed"
    open_ledger().create()
    connection.close()
    return fates


def _person(rows: int, organizations: list[Organization]) -> User:
    user = UserFactory(is_active=False)
    User.objects.filter(pk=user.pk).update(is_deleted=True)
    MembershipFactory(user=user, organization=organizations[0])
    InvitationFactory(organization=organizations[1], invited_by=user)
    InvitationFactory(organization=organizations[2], email=user.email.upper())
    give_key(user)
    SessionFactory(user=user)
    event = uuid4()
    EventDetail.objects.bulk_create(
        EventDetail(event_id=event, person_id=user.pk, field=f"f{number}", value="192.0.2.7")
        for number in range(rows)
    )
    return user


def _family() -> Organization:
    """An organization with users that it manages, of whom one is large and one has no deletion."""
    one: Organization = OrganizationFactory(is_deleted=True, is_active=False)
    give_key(one)
    MembershipFactory(organization=one, role="owner")
    for rows in (0, 12, 1):
        user = _person(rows, [one, *Organization.objects.exclude(pk=one.pk)[:2]])
        ManagedUserFactory(organization=one, user=user)
        if rows != 1:
            _due(user, due_at=NOW + timedelta(days=3))
    return one


def build_teardown() -> dict[str, str]:
    """Fill an empty database with an organization that is in use and large, users that it manages
    included. Return what is to become of whom when its owner tears it down."""
    call_command("migrate", verbosity=0)
    create_charlie()
    acme: Organization = OrganizationFactory(slug="acme")
    others: list[Organization] = [OrganizationFactory() for _ in range(2)]
    owner = MembershipFactory(organization=acme, role="owner").user
    for one in others:
        MembershipFactory(organization=one, role="owner", user=owner)
    give_key(acme)
    for _ in range(20):
        MembershipFactory(organization=acme)
        InvitationFactory(organization=acme)
    fates = {str(acme.pk): "completed"}
    for number in (0, 14, 1, 2, 3):
        user = _person(number, [acme, *others])
        if number:
            User.objects.filter(pk=user.pk).update(is_deleted=False, is_active=True)
        ManagedUserFactory(organization=acme, user=user)
        fates[str(user.pk)] = "completed"
    # One of them owns another organization, too, and is deleted in the request.
    MembershipFactory(organization=others[0], role="owner", user=user)
    open_ledger().create()
    connection.close()
    return fates


def tear_down(minutes: int = 0, boundary: int = 0, side: str = "") -> int:
    """Do what the service and then a worker do when an owner deletes an organization; return how
    many commits there were. Again: the owner asks again if there was no answer, and the next purge
    takes up what was begun."""
    watch = Boundaries(boundary, side)
    watch.watch()
    _shrink()
    now = NOW + timedelta(minutes=minutes)
    # As every request does before it reaches a view.
    assert not gate.look()
    acme = Organization.objects.filter(slug="acme", is_deleted=False).first()
    if acme is not None:
        owner = acme.memberships.get(role="owner").user_id
        actor = Actor(kind="user", id=owner, channel="test", person_id=owner)
        done = delete_organization(actor=actor, organization_id=acme.pk, now=now)
        assert not done.is_finished
        purge_actor = Actor.system("purge")
        carry_on(done.deletion_id, actor=purge_actor, clock=lambda: now, gives_way=lambda: False)
        connection.close()
        gate.forget()
    else:
        rehearse(minutes)
    return watch.passed


def time_tear_down() -> float:
    started = time.perf_counter()
    tear_down()
    return time.perf_counter() - started


def _due(subject: User | Organization, **fields: Any) -> str:
    kind = "user" if isinstance(subject, User) else "organization"
    values: dict[str, Any] = {
        "due_at": NOW - timedelta(days=1),
        "requested_at": NOW - timedelta(days=15),
        "channel": "test",
        "requested_by_kind": "user",
        **fields,
    }
    DeletionRequest.objects.create(subject_kind=kind, subject_id=subject.pk, **values)
    return str(subject.pk)


def purge(minutes: int = 0, boundary: int = 0, side: str = "") -> int:
    """Purge whatever is due so many minutes later; return how many commits there were."""
    watch = Boundaries(boundary, side)
    watch.watch()
    rehearse(minutes)
    return watch.passed


def rehearse(minutes: int = 0) -> None:
    """Purge in a process that lives on: what it composes once, its forks find ready."""
    _shrink()
    now = NOW + timedelta(minutes=minutes)
    report = purge_due(actor=Actor.system("purge"), clock=lambda: now, jobs=1)
    assert not report.stopped, report.stopped
    connection.close()
    gate.forget()


def time_purge() -> float:
    """Purge and return how long it took, connection included."""
    started = time.perf_counter()
    purge()
    return time.perf_counter() - started


def _shrink() -> None:
    """Make sets and pieces of a few, however quick or slow this machine is today."""
    for module in (alone, executor, sets):
        module.LARGE = LARGE  # type: ignore[attr-defined]
    alone.PIECE = 0
    draining.FIRST = draining.MOST = 10
    draining.ALLOWED = 600
    subjects.FEW = 3
    purging.CANARY = 3
    locking.MOST = 600  # type: ignore[attr-defined]
    # One thread, whose commits can be counted.
    jobs.LANES = 1

    def keep(self: Pace, *_: object) -> None:
        self.size = min(self.size, 10)

    Pace.observe = keep  # type: ignore[assignment,method-assign]


def look() -> dict[str, Any]:
    """Return every row and every receipt, without what differs between any two runs: times of this
    day, ids that were made meanwhile, tries."""
    catalogue = Catalogue()
    named = {
        it.pk: f"{it.subject_kind}:{it.subject_id}:{it.generation}"
        for it in DeletionRequest.objects.all()
    }
    rows = sorted(
        _forget(table, catalogue.open_row(text), named)
        for (table, _), text in catalogue.read_rows().items()
        if table not in FORGOTTEN
    )
    keys = signing.key_set()["keys"]
    done = DeletionRequest.objects.filter(state="completed")
    receipts = {
        named[it.pk]: _forget("receipt", verify(receipt_of(it), keys), named)
        for it in done.exclude(signature=None)
    }
    states = {str(it.subject_id): it.state for it in DeletionRequest.objects.all()}
    connection.close()
    return {"rows": rows, "receipts": receipts, "states": states}


def _forget(table: str, row: dict[str, Any], named: dict[UUID, str]) -> str:
    if table == "receipt":
        del row["iat"], row["ledger_entry"]
        # Of lines that hold ids, which differ between two runs.
        row.get("along", {}).pop("sha256", None)
    if table == "audit_auditevent":
        del row["id"], row["mac"]
    if table == "erasure_statement":
        del row["first_used_at"]
    if table == "erasure_deletionrequest":
        for name in ("along", "attempts", "signature", "due_at", "requested_at", "ledger_entry"):
            del row[name]
    text = json.dumps([table, _open(row)], sort_keys=True)
    for pk, name in named.items():
        text = text.replace(str(pk), name).replace(pk.hex, name)
    return DAY.sub("NOW", text)


def _open(value: Any) -> Any:
    """Open the documents within a row: their keys come in any order."""
    if isinstance(value, dict):
        return {name: _open(it) for name, it in value.items()}
    if isinstance(value, str) and value.startswith("'{"):
        return json.loads(value[1:-1].replace("''", "'"))
    return value
