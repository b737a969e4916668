"""The plan that previews, dry runs and the real run share."""

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from uuid_utils.compat import uuid7

from accounts.models import User
from audit.events import Reference
from audit.models import AuditEvent, EventDetail
from erasure.closure import closure_of
from erasure.desk.foreseen import foresee
from erasure.exceptions import SubjectNotFound
from erasure.models import BulkErasure, LegalHold
from erasure.planner import Plan, has_drifted, make_plan
from tests.bystanders import charlie_untouched, create_charlie, read_rows
from tests.commands.shell import run
from tests.factories import (
    ApplicationFactory,
    InvitationFactory,
    ManagedUserFactory,
    MembershipFactory,
    OrganizationFactory,
    SessionFactory,
    UserFactory,
    give_key,
)

pytestmark = pytest.mark.django_db

NOW = timezone.now()
NOBODY = UUID(int=7)


def create_alice() -> User:
    """Give Alice one of everything that a user can have."""
    alice: User = UserFactory(username="alice", email="Alice@example.com")
    organization = OrganizationFactory(name="Alice's secret club")
    MembershipFactory(user=alice, organization=organization, role="owner")
    MembershipFactory(organization=organization, role="owner")
    InvitationFactory(email="ALICE@example.com")
    InvitationFactory(invited_by=alice)
    SessionFactory.create_batch(3, user=alice)
    give_key(alice, created_by=alice)
    give_key(organization, created_by=alice)
    event = AuditEvent.objects.create(
        at=NOW, action="x", subject_kind="user", subject_id=alice.pk, actor_kind="system"
    )
    EventDetail.objects.create(event_id=event.pk, person_id=alice.pk, field="f", value="v")
    return alice


def create_acme() -> Any:
    """Give Acme members, a key, an invitation and two managed users with things of their own."""
    acme = OrganizationFactory(name="Acme")
    MembershipFactory(organization=acme, role="owner")
    InvitationFactory(organization=acme)
    give_key(acme)
    for _ in range(2):
        erin = ManagedUserFactory(organization=acme).user
        MembershipFactory(organization=acme, user=erin)
        SessionFactory(user=erin)
    return acme


def user(pk: UUID) -> Reference:
    return Reference("user", pk)


def organization(pk: UUID) -> Reference:
    return Reference("organization", pk)


def test_a_plan_is_what_an_erasure_does() -> None:
    with charlie_untouched():
        alice = create_alice()
        plan = make_plan(user(alice.pk))
        done = closure_of("user").carry_out([alice.pk])
    assert plan.removed == done.removed[alice.pk]
    assert plan.detached == done.detached[alice.pk]
    assert plan.anonymised == done.anonymised.get(alice.pk, {})
    assert plan.removed == {
        "accounts.User": 1,
        "accounts.Session": 3,
        "apikeys.ApiKey": 1,
        "audit.EventDetail": 1,
        "organizations.Invitation": 1,
        "organizations.Membership": 1,
    }
    assert next(iter(plan.removed)) == "accounts.User"
    assert plan.detached == {"apikeys.ApiKey": 1, "organizations.Invitation": 1}
    assert plan.total == 8


def test_a_plan_touches_nothing() -> None:
    create_charlie()
    alice, acme = create_alice(), create_acme()
    before = read_rows()
    make_plan(user(alice.pk))
    make_plan(organization(acme.pk), cap=1)
    assert read_rows() == before


def test_companions_are_counted_with_their_organization_and_shared_rows_once() -> None:
    with charlie_untouched():
        acme = create_acme()
        plan = make_plan(organization(acme.pk))
        companions = [one.id for one in plan.companions]
        first = closure_of("user").carry_out(companions)
        then = closure_of("organization").carry_out([acme.pk])
    done: dict[str, int] = {}
    for counts in (*first.removed.values(), *then.removed.values()):
        for label, rows in counts.items():
            done[label] = done.get(label, 0) + rows
    assert plan.removed == done
    assert plan.removed["organizations.Membership"] == 3
    assert plan.removed["organizations.ManagedUser"] == 2
    assert plan.removed["accounts.User"] == len(companions) == 2
    assert [one.effect for one in plan.affected] == ["is erased with it"] * 2


@pytest.mark.parametrize("cap", [None, 100])
def test_what_a_companion_leaves_and_the_organization_takes_is_counted_as_taken(
    cap: int | None,
) -> None:
    acme = OrganizationFactory()
    erin = ManagedUserFactory(organization=acme).user
    ApplicationFactory(organization=acme, created_by=erin)
    ApplicationFactory(created_by=erin)
    with charlie_untouched():
        plan = make_plan(Reference("organization", acme.pk), cap=cap)
        assert plan.removed["oauth.Application"] == 1
        # The other one belongs to somebody else and forgets who made it.
        assert plan.detached["oauth.Application"] == 1


def test_all_rows_are_counted_by_one_statement() -> None:
    alice = create_alice()
    with CaptureQueriesContext(connection) as captured:
        make_plan(user(alice.pk))
    counting = [query for query in captured if "COUNT" in query["sql"]]
    assert len(counting) == 1
    # Names, obstacles and effects are asked for beside it, whatever the number of rows.
    assert len(captured) <= 12


def test_a_cap_bounds_each_count() -> None:
    alice = create_alice()
    plan = make_plan(user(alice.pk), cap=2)
    assert plan.capped
    assert plan.removed["accounts.Session"] == 2
    assert plan.removed["accounts.User"] == 1
    exact = make_plan(user(alice.pk), cap=3)
    assert not exact.capped
    assert exact.removed == make_plan(user(alice.pk)).removed


def test_what_is_kept_is_told_with_reason_ground_and_term() -> None:
    alice = create_alice()
    kept = make_plan(user(alice.pk)).kept
    (about,) = [one for one in kept if one.label == "audit.AuditEvent" and one.rows]
    assert (about.rows, about.retention_days) == (1, 3 * 365)
    assert about.basis == "Art. 5(2) and Art. 17(3)(b) GDPR"
    assert all(one.because for one in kept)
    # No index leads to them, and nobody shall wait for a whole table to be read.
    assert [one.rows for one in kept if one.label == "erasure.BulkErasure"] == [0]


def test_only_what_exists_is_shown_as_kept_and_what_may_exist_with_a_proviso() -> None:
    alice = UserFactory()
    assert [one.label for one in make_plan(user(alice.pk)).stays] == []
    BulkErasure.objects.create(
        reference="CASE-1",
        subjects=[["user", str(uuid7())]],
        size=1,
        proposed_by_id=uuid7(),
        proposed_at=timezone.now(),
    )
    plan = make_plan(user(alice.pk))
    assert [(one.label, one.rows) for one in plan.stays] == [("erasure.BulkErasure", None)]
    assert [one["label"] for one in plan.as_facts()["kept"]] == ["erasure.BulkErasure"]
    assert foresee(plan).kept[0][0] == "bulk erasures, if any"
    assert (
        "kept: erasure.BulkErasure, if any, for 1095 days" in run("erase_user", alice.username)[1]
    )
    assert plan.id == make_plan(user(alice.pk)).id


def test_blockers_and_holds_are_in_it() -> None:
    owner = MembershipFactory(role="owner", organization__name="Acme").user
    hold = LegalHold.objects.create(
        subject_kind="user", subject_id=owner.pk, reason="Case 1", placed_at=NOW
    )
    plan = make_plan(user(owner.pk))
    assert [one.code for one in plan.blockers] == ["sole_owner"]
    assert plan.blockers[0].facts["organizations"][0]["name"] == "Acme"
    assert [(one.id, one.reason) for one in plan.holds] == [(hold.pk, "Case 1")]
    assert plan.held
    assert [one.name for one in plan.affected] == ["Acme"]
    LegalHold.objects.update(released_at=NOW)
    assert not make_plan(user(owner.pk)).held


def test_a_hold_on_a_companion_is_in_the_plan_of_its_organization() -> None:
    acme = create_acme()
    erin = make_plan(organization(acme.pk)).companions[1]
    LegalHold.objects.create(
        subject_kind="user", subject_id=erin.id, reason="Case 2", placed_at=NOW
    )
    assert [one.reason for one in make_plan(organization(acme.pk)).holds] == ["Case 2"]


def test_a_subject_that_is_gone_has_no_plan() -> None:
    with pytest.raises(SubjectNotFound):
        make_plan(user(NOBODY))


def test_its_id_is_the_digest_of_what_is_material() -> None:
    alice = create_alice()
    plan = make_plan(user(alice.pk))
    assert plan.id.startswith("plan_")
    assert len(plan.id) == len("plan_") + 64
    assert make_plan(user(alice.pk)).id == plan.id
    AuditEvent.objects.create(
        at=NOW, action="y", subject_kind="user", subject_id=alice.pk, actor_kind="system"
    )
    assert make_plan(user(alice.pk)).id == plan.id, "an event more is not material"
    SessionFactory(user=alice)
    assert make_plan(user(alice.pk)).id != plan.id


def test_its_record_holds_nobodys_name_and_its_facts_are_ready_for_json() -> None:
    alice, acme = create_alice(), create_acme()
    for subject in (user(alice.pk), organization(acme.pk)):
        plan = make_plan(subject)
        record = json.dumps(plan.as_record())
        for name in ("alice", "Alice", "Acme", "club"):
            assert name not in record
        facts = json.loads(json.dumps(plan.as_facts()))
        assert facts["id"] == plan.id
    assert make_plan(user(alice.pk)).as_facts()["subject"]["id"].startswith("usr_")
    assert make_plan(organization(acme.pk)).as_facts()["companions"][0]["id"].startswith("usr_")


@pytest.fixture
def plan() -> Plan:
    return make_plan(user(create_alice().pk))


@pytest.mark.parametrize("form", ["as_record", "as_facts"])
def test_the_same_plan_has_not_drifted(plan: Plan, form: str) -> None:
    assert has_drifted(json.loads(json.dumps(getattr(plan, form)())), plan) == []


@pytest.mark.parametrize("form", ["as_record", "as_facts"])
def test_an_organizations_plan_has_not_drifted_either(form: str) -> None:
    mine = make_plan(organization(create_acme().pk))
    assert has_drifted(getattr(mine, form)(), mine) == []


def test_fewer_rows_are_no_drift(plan: Plan) -> None:
    assert has_drifted(plan.as_record(), replace(plan, removed={"accounts.User": 1})) == []


def test_a_few_rows_more_are_no_drift_and_many_are(plan: Plan) -> None:
    before = replace(plan, removed={"accounts.Session": 100}).as_record()
    assert has_drifted(before, replace(plan, removed={"accounts.Session": 110})) == []
    assert has_drifted(before, replace(plan, removed={"accounts.Session": 111})) == [
        "accounts.Session: 111 rows to be removed, 100 were planned"
    ]
    few = replace(plan, removed={"accounts.Session": 1}).as_record()
    assert has_drifted(few, replace(plan, removed={"accounts.Session": 11})) == []
    assert has_drifted(few, replace(plan, removed={"accounts.Session": 12}))


def test_what_was_not_planned_at_all_is_drift(plan: Plan) -> None:
    before = replace(plan, removed={"accounts.User": 1}, detached={}).as_record()
    drift = has_drifted(before, replace(plan, removed={"accounts.User": 1, "apikeys.ApiKey": 1}))
    assert "apikeys.ApiKey: 1 rows to be removed, none was planned" in drift
    assert "apikeys.ApiKey: 1 rows to be detached, none was planned" in drift


def test_a_new_blocker_hold_or_companion_is_drift() -> None:
    acme = create_acme()
    before = make_plan(organization(acme.pk)).as_facts()
    erin = ManagedUserFactory(organization=acme).user
    other = MembershipFactory(user=erin, role="owner").organization
    hold = LegalHold.objects.create(
        subject_kind="user", subject_id=erin.pk, reason="Case 2", placed_at=NOW
    )
    drift = has_drifted(before, make_plan(organization(acme.pk)))
    assert drift[-3:] == [
        "new blocker: sole_owner",
        f"new hold: {hold.pk}",
        f"new companion: {erin.pk}",
    ]
    assert other.name not in str(drift)


def test_every_model_that_goes_can_be_read_before() -> None:
    alice = create_alice()
    for step in closure_of("user").steps:
        assert step.rows([alice.pk]).count() == step.count([alice.pk]).get(alice.pk, 0)
