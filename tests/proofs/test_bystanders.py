"""Graphs made at random, one subject of each erased: every row that the database's catalogue does
not bind to that subject is afterwards byte for byte what it was before.

Many graphs share one database, loosely joined, so that each is a bystander of the others. Some are
erased one by one, each in another way, the rest by one purge. What belongs to a subject is read
from foreign keys and their rules, with the references that have none written down by hand
(``catalogue``). A failure names its seed: put what stands before the colon into ``PROOF_SEED``.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from uuid import UUID

import pytest
from django.apps import apps
from django.core import mail
from django.db import connection
from django.utils import timezone

from accounts.models import User
from audit.actors import Actor
from audit.events import Reference
from erasure import alone, draining, locking, pacing, sets
from erasure.executor import erase_now
from erasure.models import DeletionRequest
from erasure.planner import make_plan
from erasure.purging import purge_due
from erasure.subjects import get_kind
from organizations.models import ManagedUser, Organization
from tests.databases import triggers_off
from tests.proofs.catalogue import OVERWRITTEN, Belongings, Catalogue, Key, Rows, count_by_table
from tests.proofs.graphs import GIVEN, Graph, World
from tests.proofs.sizes import BYSTANDERS

pytestmark = pytest.mark.django_db

SEED = os.environ.get("PROOF_SEED", "bystanders")
AT_ONCE = 40
"""Graphs that share a database at a time."""

ACTOR = Actor.system("proofs")
MAY_APPEAR = {
    "audit_auditevent",
    "erasure_statement",
    "erasure_deletionrequest",
    # The order to end a subscription, the events for webhooks, and the tasks that wake them.
    "billing_billingorder",
    "webhooks_message",
    "webhooks_delivery",
    "django_tasks_database_dbtaskresult",
}
TABLES = {model._meta.label: model._meta.db_table for model in apps.get_models(True)}


@dataclass
class Case:
    """Subjects that are erased together, and everybody who goes along with them."""

    seed: str
    subjects: list[Reference]
    members: list[Reference]
    now: datetime

    def ids(self, kind: str = "") -> list[UUID]:
        return [it.id for it in self.members if it.kind == (kind or it.kind)]


def erase_at_once(case: Case) -> None:
    for subject in case.subjects:
        erase_now(actor=ACTOR, subject=subject, now=case.now)


def purge(case: Case) -> None:
    """Let the purge find them. Of those who go along some have a deletion of their own already."""
    for member in case.members:
        # The purge leaves alone whoever is not soft deleted, and a soft delete ends sessions, which
        # no erasure counts then.
        rows = get_kind(member.kind).model._base_manager.filter(pk=member.id)
        rows.update(is_deleted=True, is_active=False)
        is_subject = member in case.subjects
        if not is_subject and member.id.int % 2:
            continue
        DeletionRequest.objects.create(
            subject_kind=member.kind,
            subject_id=member.id,
            generation=500,
            channel="test",
            requested_by_kind="system",
            requested_at=case.now - timedelta(days=1),
            due_at=case.now if is_subject else case.now + timedelta(days=9),
        )
    report = purge_due(actor=ACTOR, clock=lambda: case.now, canary=False, jobs=1)
    assert (report.failed, report.stopped) == ({}, ""), case.seed
    assert report.erased == len(case.members), case.seed


def purge_in_pieces(case: Case) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (alone, sets):
            patch.setattr(module, "LARGE", 2)
        patch.setattr(alone, "PIECE", 0)
        patch.setattr(draining, "FIRST", 2)
        patch.setattr(draining, "MOST", 2)
        purge(case)


Way = Callable[[Case], None]
ONE_BY_ONE: list[Way] = [erase_at_once, purge, purge_in_pieces]


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing here is about time: sets are large and take as long as a busy machine wants."""
    monkeypatch.setattr(locking, "MOST", 600)
    monkeypatch.setattr(pacing, "SLOW", 600)
    yield
    mail.outbox.clear()


@BYSTANDERS
def test_every_row_outside_of_the_subjects_belongings_is_byte_identical(size: int) -> None:
    catalogue = Catalogue()
    for many in batched(range(size), AT_ONCE):
        seeds = [f"{SEED}:{number}" for number in many]
        graphs = World(f"{SEED}:{many[0]}-{many[-1]}").grow(seeds)
        assert_every_model_has_rows()
        rows = catalogue.read_rows()
        for way in ONE_BY_ONE:
            case = choose([graphs.pop()])
            foresee(catalogue, case)
            rows = erase_and_compare(catalogue, rows, case, way)
        erase_and_compare(catalogue, rows, choose(graphs), purge)
        start_anew()


def foresee(catalogue: Catalogue, case: Case) -> None:
    """Fail unless the plan of an erasure counts what the catalogue says."""
    expected, plan = find_expected(catalogue, case), make_plan(case.subjects[0])
    assert by_table(plan.removed) == expected.counts, case.seed
    assert by_table(plan.detached) == count_by_table(expected.cleared), case.seed
    assert by_table(plan.anonymised) == count_by_table(expected.overwritten), case.seed


def erase_and_compare(catalogue: Catalogue, before: Rows, case: Case, way: Way) -> Rows:
    expected = find_expected(catalogue, case)
    way(case)
    after = catalogue.read_rows()
    compare(catalogue, before, after, expected, case, f"{case} by {way.__name__}")
    return after


def find_expected(catalogue: Catalogue, case: Case) -> Belongings:
    """Return what belongs to all of them."""
    return catalogue.find_belongings({kind: case.ids(kind) for kind in ("user", "organization")})


def compare(
    catalogue: Catalogue,
    before: Rows,
    after: Rows,
    expected: Belongings,
    case: Case,
    where: str,
) -> None:
    gone = before.keys() - after.keys()
    assert gone == expected.gone, (
        f"{where}\ntaken, though others': {gone - expected.gone}\n"
        f"left, though the subject's: {expected.gone - gone}"
    )
    new = {table for table, _ in after.keys() - before.keys()}
    assert new <= MAY_APPEAR, f"{where}\nrows that came from nowhere: {new - MAY_APPEAR}"
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    mine = changed & find_requests(catalogue, case)
    for key in changed - mine:
        values = expected_values(expected, key)
        then, now = catalogue.changed(before[key], values), catalogue.open_row(after[key])
        assert then == now, f"{where}\nchanged: {key}\nfrom {before[key]}\nto {after[key]}"
    kept = (expected.cleared.keys() | expected.overwritten) - changed
    for key in kept:
        then = catalogue.changed(before[key], expected_values(expected, key))
        assert then == catalogue.open_row(before[key]), f"{where}\nstill as before: {key}"
    counted = count_of_requests(case)
    assert counted == expected.counts, f"{where}\nthe requests count {counted}"


def expected_values(expected: Belongings, key: Key) -> dict[str, str | None]:
    values: dict[str, str | None] = dict.fromkeys(expected.cleared.get(key, ()))
    if key in expected.overwritten:
        values |= OVERWRITTEN[key[0]]
    return values


def find_requests(catalogue: Catalogue, case: Case) -> set[Key]:
    """Return the rows of the deletions that carried this erasure: they may change."""
    rows = DeletionRequest.objects.filter(subject_id__in=case.ids(), finished_at=case.now)
    table = DeletionRequest._meta.db_table
    return {(table, catalogue.spell_key(pk)) for pk in rows.values_list("pk", flat=True)}


def count_of_requests(case: Case) -> dict[str, int]:
    rows = DeletionRequest.objects.filter(
        subject_id__in=case.ids(), finished_at=case.now, state="completed"
    )
    counts: Counter[str] = Counter()
    for request in rows:
        counts.update(by_table(request.counts))
    return dict(counts)


def by_table(counts: dict[str, int]) -> dict[str, int]:
    return {TABLES[label]: rows for label, rows in counts.items()}


def choose(graphs: list[Graph]) -> Case:
    """Choose from each graph one of its people and organizations that is still there."""
    chosen = [found for graph in graphs if (found := choose_one(graph)) is not None]
    organizations = [it.id for it in chosen if it.kind == "organization"]
    managed = ManagedUser.objects.filter(organization_id__in=organizations)
    along = {Reference("user", pk) for pk in managed.values_list("user_id", flat=True)}
    seed = ", ".join(graph.seed for graph in graphs)
    return Case(seed, chosen, [*chosen, *along.difference(chosen)], timezone.now())


def choose_one(graph: Graph) -> Reference | None:
    users = User.objects.filter(pk__in=[it.pk for it in graph.users])
    organizations = Organization.objects.filter(pk__in=[it.pk for it in graph.organizations])
    there = [Reference("user", it.pk) for it in users.order_by("username")]
    there += [Reference("organization", it.pk) for it in organizations.order_by("slug")]
    return graph.rng.choice(there) if there else None


def assert_every_model_has_rows() -> None:
    models = [it for it in apps.get_models(include_auto_created=True) if not it._meta.proxy]
    empty = [it._meta.label for it in models if not it._base_manager.exists()]
    assert set(empty) <= GIVEN, f"No row of {empty}: teach tests/proofs/graphs.py to make some."


def start_anew() -> None:
    """Empty what a round filled. The constraints that wait for a commit are checked first."""
    models = [it for it in apps.get_models(include_auto_created=True) if not it._meta.proxy]
    names = [f'"{it._meta.db_table}"' for it in models if it._meta.label not in GIVEN]
    connection.check_constraints()
    with triggers_off(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"TRUNCATE {', '.join(names)}")
            return
        cursor.execute("PRAGMA defer_foreign_keys = ON")
        for name in names:
            cursor.execute(f"DELETE FROM {name}")


def test_a_stranger_that_an_erasure_touches_is_found() -> None:
    """The control: the database itself changes one row of others whenever a user goes."""
    catalogue = Catalogue()
    [graph] = World("control").grow(["control:0"])
    case = choose([graph])
    user = Reference("user", graph.users[0].pk)
    case = Case("control", [user], [user], case.now)
    touch = f"UPDATE accounts_user SET name = 'touched' WHERE username = '{graph.keeper.username}'"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {touch}; RETURN OLD; END $$"
            )
            body = "FOR EACH ROW EXECUTE FUNCTION touch()"
        else:
            body = f"BEGIN {touch}; END"
        cursor.execute(f"CREATE TRIGGER touch AFTER DELETE ON accounts_user {body}")
    with pytest.raises(AssertionError, match="control"):
        erase_and_compare(catalogue, catalogue.read_rows(), case, erase_at_once)
