"""The brakes: pauses of everything and of one organization, in whole rows and on record."""

from uuid import uuid4

import pytest

from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure.brakes import (
    EVERYTHING,
    forbid_paused,
    place_pause,
    read_brakes,
    release_pause,
    standing_pause,
)
from erasure.exceptions import Paused, RightMissing
from erasure.models import Pause
from erasure.subjects import _kinds, get_kind, managing_kind, register
from tests.erasure.leaving import NOW, SYSTEM, about, due_organization, due_person, person
from tests.factories import ManagedUserFactory, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_a_pause_of_everything_stops_everybody_until_it_is_released() -> None:
    forbid_paused()
    assert standing_pause() is None
    pause = place_pause(actor=SYSTEM, reason="a wrong query", now=NOW)
    with pytest.raises(Paused) as refused:
        forbid_paused()
    assert refused.value.reason == "a wrong query"
    stranger = uuid4()
    assert read_brakes([stranger]).stop(stranger, None)
    assert release_pause(actor=SYSTEM, pause_id=pause, now=NOW)
    assert not release_pause(actor=SYSTEM, pause_id=pause, now=NOW)
    forbid_paused()
    events = AuditEvent.objects.filter(action__startswith="pause.").order_by("id")
    assert [(it.action, it.subject_kind, it.subject_id) for it in events] == [
        ("pause.placed", EVERYTHING.kind, EVERYTHING.id),
        ("pause.released", EVERYTHING.kind, EVERYTHING.id),
    ]


def test_a_pause_of_an_organization_stops_it_and_whom_it_manages() -> None:
    organization, other = OrganizationFactory(), OrganizationFactory()
    managed = ManagedUserFactory(organization=organization, user=person()).user
    noted = due_person(organization_id=organization.pk)
    free = ManagedUserFactory(organization=other, user=person()).user
    place_pause(actor=SYSTEM, reason="x", now=NOW, organization_id=organization.pk)
    forbid_paused()
    assert standing_pause() is None
    for row, expected in (
        (organization, True),
        (managed, True),
        (noted, True),
        (other, False),
        (free, False),
    ):
        assert bool(standing_pause(about(row))) is expected, row
    brakes = read_brakes([managed.pk, free.pk])
    assert brakes.stop(managed.pk, None)
    assert brakes.stop(uuid4(), organization.pk)
    assert not brakes.stop(free.pk, other.pk)
    event = AuditEvent.objects.get(action="pause.placed")
    assert (event.subject_kind, event.subject_id) == ("organization", organization.pk)


def test_a_released_pause_stops_nobody() -> None:
    organization = due_organization()
    Pause.objects.create(
        organization_id=organization.pk, reason="x", placed_at=NOW, released_at=NOW
    )
    Pause.objects.create(reason="x", placed_at=NOW, released_at=NOW)
    assert standing_pause(Reference("organization", organization.pk)) is None
    assert not read_brakes([organization.pk]).stop(organization.pk, None)


def test_the_right_to_pull_the_brake_is_checked_by_the_service_itself() -> None:
    pause = place_pause(actor=SYSTEM, reason="x", now=NOW)
    staff = UserFactory(is_staff=True)
    actor = Actor(kind="user", id=staff.pk, channel="admin", person_id=staff.pk)
    with pytest.raises(RightMissing, match="add_pause"):
        place_pause(actor=actor, reason="y", now=NOW)
    with pytest.raises(RightMissing, match="change_pause"):
        release_pause(actor=actor, pause_id=pause, now=NOW)
    assert Pause.objects.standing().count() == 1


def test_a_pause_is_recorded_under_the_kind_that_it_is_about() -> None:
    organization, user = OrganizationFactory(), person()
    for row in (organization, user):
        place_pause(actor=SYSTEM, reason="x", now=NOW, organization_id=row.pk)
        event = AuditEvent.objects.latest("id")
        assert (event.subject_kind, event.subject_id) == (about(row).kind, row.pk)
    place_pause(actor=SYSTEM, reason="x", now=NOW, organization_id=uuid4())
    assert AuditEvent.objects.latest("id").subject_kind == "organization"


@pytest.mark.usefixtures("declarations")
def test_no_kind_is_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A project calls what manages others as it likes, or has nothing of the kind."""
    kind = get_kind("organization")
    _kinds.pop("organization")
    assert managing_kind() == ""
    place_pause(actor=SYSTEM, reason="x", now=NOW, organization_id=uuid4())
    assert AuditEvent.objects.latest("id").subject_kind == "subject"
    monkeypatch.setattr(kind, "name", "team", raising=False)
    register(kind)
    team = OrganizationFactory()
    place_pause(actor=SYSTEM, reason="x", now=NOW, organization_id=team.pk)
    assert AuditEvent.objects.latest("id").subject_kind == managing_kind() == "team"
