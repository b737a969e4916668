"""What the service itself removes, it removes by what is genuine alone: nobody has it sign for
what they have changed."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import models, transaction
from django.utils import timezone

from audit import rows, verifying
from audit.actors import Actor, Origin
from audit.events import Reference, record
from audit.forgetting import forget_events, prune, redact_person
from audit.models import EventDetail, Tile
from audit.sealing import seal
from audit.verifying import Kept, verify
from erasure import retention
from erasure.models import DeletionRequest
from tests.audit.logs import at, elsewhere, events, make_people, seal_all, verdict, write_log
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import DAY, finished

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
REDACT = "from audit.forgetting import redact_person; redact_person"
LONG_AGO = timedelta(days=4000)


def values_of(person: UUID) -> Any:
    return EventDetail.objects.filter(models.Q(person_id=person) | models.Q(subject_id=person))


def see(person: UUID, times: int = 3, **values: Any) -> None:
    """Write events of a person about themselves, with their address."""
    actor = Actor("user", person, "test", person_id=person, origin=Origin("192.0.2.1", "x"))
    for _ in range(times):
        record(
            "user.seen",
            actor=actor,
            subject=Reference("user", person),
            keep_details=True,
            **{"now": timezone.now(), **values},
        )


def erase_logs(person: UUID, now: Any = None) -> None:
    redact_person(person)
    about = Reference("user", person)
    record("user.logs_erased", actor=SYSTEM, subject=about, now=now or timezone.now())


@pytest.mark.parametrize("position", [50, 260, 299])
def test_an_event_that_was_dated_back_is_not_pruned(kept: Kept, position: int) -> None:
    events().filter(sealed_seq=position).update(at=timezone.now() - LONG_AGO)
    assert forget_events([at(position).pk, at(7).pk], because="age") == 1
    assert events().filter(sealed_seq=position).exists()
    seal_all()
    assert verdict(kept) == ("changed", position)


def test_nor_is_one_whose_leaf_was_changed_with_it(kept: Kept) -> None:
    other = at(51)
    events().filter(sealed_seq=50).update(sealed_seq=None)
    events().filter(pk=other.pk).update(sealed_seq=50)
    tile = Tile.objects.get(pk=0)
    hashes = bytearray(tile.hashes)
    hashes[50 * 32 : 51 * 32] = hashes[51 * 32 : 52 * 32]
    Tile.objects.filter(pk=0).update(hashes=bytes(hashes))
    assert forget_events([other.pk, at(49).pk]) == 0, "nothing of this tile can be shown"
    assert forget_events([at(299).pk]) == 1


@pytest.mark.django_db(transaction=True)
def test_what_is_refused_holds_no_other_up() -> None:
    write_log(make_people(2), 30, start=timezone.now() - LONG_AGO)
    write_log(make_people(2), 10)
    seal_all()
    with triggers_off():
        events().filter(sealed_seq__in=[3, 4]).update(action="edited")
        events().filter(sealed_seq=33).update(at=timezone.now() - LONG_AGO)
    assert prune(before=timezone.now() - LONG_AGO / 2, execute=True, at_once=2) == 28
    left = events().exclude(action="audit.forgotten").values_list("sealed_seq", flat=True)
    assert sorted(left) == [3, 4, *range(30, 40)]


@pytest.mark.django_db(transaction=True)
def test_the_command_says_what_stays() -> None:
    write_log(make_people(2), 3, start=timezone.now() - LONG_AGO)
    seal_all()
    with triggers_off():
        events().filter(sealed_seq=1).update(action="other")
    code, said = run("prune_audit_log", "--older-than", "1095", "--execute")
    assert code == 0, said
    assert said.splitlines() == [
        "2 events removed.",
        "1 event left: not what was sealed. See verify_audit_log.",
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"signature": None},
        {"signature": b"\x07" * 64},
        {"finished_at": timezone.now() - LONG_AGO},
        {"subject_id": UUID(int=7), "finished_at": timezone.now() - LONG_AGO},
    ],
    ids=lambda change: "-".join(change),
)
@pytest.mark.django_db(transaction=True)
def test_a_request_that_was_made_up_has_nothing_forgotten(change: dict[str, Any]) -> None:
    people = [*make_people(2), UUID(int=7)]
    write_log(people, 20)
    seal_all()
    ago = DAY if "finished_at" in change else LONG_AGO
    request = finished(ago=ago, subject_id=people[0])
    other = finished(ago=LONG_AGO, subject_id=people[1])
    theirs = events().filter(subject_id=people[1]).count()
    DeletionRequest.objects.filter(pk=request.pk).update(**change)
    with charlie_untouched():
        done = retention.enforce(now=timezone.now(), execute=True)
    assert done["audit.AuditEvent"] == theirs
    assert not DeletionRequest.objects.filter(pk=other.pk).exists()


def test_an_erasure_that_keeps_the_logs_accounts_for_nothing() -> None:
    alice = make_people(1)[0]
    see(alice)
    about = Reference("user", alice)
    record(
        "user.erased", actor=SYSTEM, subject=about, now=timezone.now(), facts={"logs_kept": True}
    )
    for _ in range(2):
        # Waiting for its seal, and sealed.
        with triggers_off():
            values_of(alice).filter(event_id=events().order_by("id")[0].pk).delete()
        kept = seal_all()
        assert verdict(kept) == ("erased", 0)
    erase_logs(alice)
    assert verdict(kept) is None


def test_erased_logs_do_not_account_for_what_comes_after() -> None:
    alice = make_people(1)[0]
    see(alice)
    erase_logs(alice)
    see(alice, now=timezone.now() + timedelta(hours=20))
    kept = seal_all()
    assert verdict(kept) is None
    with triggers_off():
        values_of(alice).delete()
    assert verdict(kept) == ("erased", 4)


def test_what_outlives_the_record_of_an_erasure_is_what_it_accounted_for() -> None:
    alice = make_people(1)[0]
    before = timezone.now() - LONG_AGO
    see(alice, now=before)
    erase_logs(alice)
    told = events().get(action="user.logs_erased")
    see(alice, now=timezone.now() + timedelta(hours=1))
    kept = seal_all()
    with triggers_off():
        values_of(alice).delete()
    assert verdict(kept) == ("erased", 4)
    forget_events([told.pk])
    seal_all()
    assert verdict(kept) == ("erased", 4)


def test_a_value_that_was_made_nobodys_is_named() -> None:
    people = make_people(3)
    write_log(people, 40)
    kept = seal_all()
    with triggers_off():
        values_of(people[1]).filter(subject_id=people[1]).update(subject_id=None)
    found = verdict(kept)
    assert found is not None
    assert found[0] == "owner"


def test_a_value_that_came_back_after_its_erasure_is_named() -> None:
    alice, bob = make_people(2)
    see(alice, now=timezone.now() - timedelta(hours=1))
    see(bob, now=timezone.now() - timedelta(hours=1))
    dump = list(values_of(alice))
    erase_logs(alice)
    kept = seal_all()
    assert verdict(kept) is None
    EventDetail.objects.bulk_create(dump[:1])
    assert verdict(kept) == ("survivor", 0)
    # As the manual says.
    assert run("shell", "-c", f"{REDACT}('{alice}')")[0] == 0
    assert verdict(kept) is None


@pytest.mark.django_db(transaction=True)
def test_a_log_is_verified_while_events_are_sealed_and_erased_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people, done = make_people(5), list[bool]()
    write_log(people, 300)
    kept = seal_all()

    def go_on() -> None:
        write_log(people, 300)
        seal(now=timezone.now())
        with transaction.atomic():
            erase_logs(people[0])

    read = rows.read_details

    def read_slowly(given: Any) -> Any:
        found = read(given)
        if not done:
            done.append(True)
            elsewhere(go_on)
        return found

    monkeypatch.setattr(verifying, "read_details", read_slowly)
    monkeypatch.setattr(verifying, "AT_ONCE", 256)
    report = verify([kept])
    assert (report.fault, report.size, report.erased) == (None, 300, 0)
    monkeypatch.undo()
    report = verify([kept])
    assert (report.fault, report.size, report.erased > 0) == (None, 600, True)
