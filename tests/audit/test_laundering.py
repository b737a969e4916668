"""What the service itself removes, it removes by what is genuine alone: nobody has it sign for
what they have changed."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models, transaction
from django.utils import timezone

from audit import forgetting, leaves, rows, verifying
from audit.actors import Actor, Origin
from audit.events import Reference, record
from audit.forgetting import forget_events, prune, redact_person
from audit.models import EventDetail, Tile
from audit.publishing import publish
from audit.sealing import seal
from audit.verifying import Kept, verify
from erasure import retention, signing
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest
from erasure.references import spell
from tests.audit.logs import at, elsewhere, events, make_people, seal_all, verdict, write_log
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import DAY, finished
from tests.ledgers import a_ledger
from tests.ledgers import entry as ledger_entry

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
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
def test_nor_is_one_that_is_changed_back_before_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at what is due and the look at what was sealed."""
    people = make_people(2)
    write_log(people, 10)
    kept = seal_all()
    victim, read = at(5), leaves.read_authentic

    def change_back(ids: Any) -> Any:
        found = list(ids)
        with triggers_off():
            events().filter(pk=victim.pk).update(at=victim.at, subject_id=victim.subject_id)
        return read(found)

    monkeypatch.setattr(forgetting, "read_authentic", change_back)
    with triggers_off():
        events().filter(pk=victim.pk).update(at=timezone.now() - LONG_AGO)
    assert prune(before=timezone.now() - DAY, execute=True) == 0
    gone = finished(ago=LONG_AGO)
    with triggers_off():
        events().filter(pk=victim.pk).update(subject_id=gone.subject_id)
    assert "audit.AuditEvent" not in retention.enforce(now=timezone.now(), execute=True)
    assert verdict(kept) is None


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


def test_what_outlives_it_is_not_taken_from_rows_that_anybody_wrote() -> None:
    alice, bob = make_people(2)
    before = timezone.now() - LONG_AGO
    see(alice, now=before)
    erase_logs(alice, now=before)
    told = events().get(action="user.logs_erased")
    see(bob)
    kept = seal_all()
    true = {"actor_id": bob, "subject_id": bob, "at": at(4).at}
    with triggers_off():
        values_of(bob).filter(event_id=at(4).pk).delete()
        events().filter(sealed_seq=4).update(actor_id=alice, subject_id=alice, at=before)
        forget_events([told.pk])
        events().filter(sealed_seq=4).update(**true)
    seal_all()
    assert verdict(kept) == ("erased", 4)


def test_the_end_of_an_organization_accounts_for_nobodys_values() -> None:
    acme, carl, dora = make_people(3)
    actor = Actor("organization", acme, "test", person_id=carl, origin=Origin("192.0.2.1", "x"))
    about = Reference("user", dora)
    record("x", actor=actor, subject=about, now=timezone.now(), keep_details=True)
    assert redact_person(acme) == 0
    ended = Reference("organization", acme)
    record("organization.erased", actor=SYSTEM, subject=ended, now=timezone.now())
    kept = seal_all()
    assert verdict(kept) is None
    with triggers_off():
        values_of(dora).delete()
    assert verdict(kept) == ("erased", 0)


def test_values_of_a_projects_own_kind_of_users_have_their_owners() -> None:
    member, other = make_people(2)
    for person_id in (member, None):
        actor = Actor("member", member, "admin", person_id=person_id, reason="words")
        record("pause.placed", actor=actor, subject=Reference("member", other), now=timezone.now())
    assert verdict(seal_all()) is None
    assert redact_person(member) == 2


def test_a_finished_erasure_is_not_under_way_whatever_its_row_says(tmp_path: Path) -> None:
    alice = make_people(1)[0]
    see(alice)
    intent = ledger_entry(subject_id=alice)
    request = finished(ago=DAY, subject_id=alice)
    with a_ledger(tmp_path):
        open_ledger().intend([intent])
        open_ledger().finish([intent], "done")
        facts = {"logs_kept": True, "deletion": str(request.pk)}
        about = Reference("user", alice)
        record("user.erased", actor=SYSTEM, subject=about, now=timezone.now(), facts=facts)
        kept = seal_all()
        assert verdict(kept) is None
        with triggers_off():
            values_of(alice).delete()
        cursor = {"begun": True, "intent": str(intent.id)}
        DeletionRequest.objects.filter(pk=request.pk).update(state="running", cursor=cursor)
        assert verdict(kept) == ("erased", 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change", [{"statement": "x"}, {"counts": {"a": "b"}}, {"counts": [1]}, {"told": 7}]
)
def test_a_spoiled_request_stops_retention_for_nobody_else(change: dict[str, Any]) -> None:
    people = make_people(2)
    write_log(people, 20)
    seal_all()
    spoiled = finished(ago=LONG_AGO, subject_id=people[0])
    finished(ago=LONG_AGO + DAY, subject_id=people[1])
    theirs = events().filter(subject_id=people[1]).count()
    DeletionRequest.objects.filter(pk=spoiled.pk).update(**change)
    done = retention.enforce(now=timezone.now(), execute=True)
    assert done["audit.AuditEvent"] == theirs
    assert events().filter(subject_id=people[0]).exists()


@pytest.mark.django_db(transaction=True)
def test_retention_waits_for_the_key_of_a_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_people(2)
    write_log(people, 20)
    seal_all()
    request = finished(ago=LONG_AGO, subject_id=people[0])
    with monkeypatch.context() as patch:
        patch.setattr(signing, "key_set", lambda: {"keys": []})
        with pytest.raises(signing.UnknownKey):
            retention.enforce(now=timezone.now(), execute=True)
    assert DeletionRequest.objects.filter(pk=request.pk).exists()
    theirs = events().filter(subject_id=people[0]).count()
    done = retention.enforce(now=timezone.now(), execute=True)
    assert (done["audit.AuditEvent"], done["erasure.DeletionRequest"]) == (theirs, 1)


def test_rows_that_no_service_can_have_written_stop_no_verification(kept: Kept) -> None:
    finished(ago=DAY, state="running", finished_at=None, cursor=["begun"])
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("UPDATE audit_checkpoint SET at = 'infinity'")
    write_log(make_people(1), 3)
    seal(now=timezone.now())
    assert verdict(kept) is None
    assert publish(now=timezone.now()) == {}
    assert forget_events([at(3).pk]) == 1


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
    see(alice)
    # As the manual says.
    with charlie_untouched():
        assert run("erase_logs", spell(Reference("user", alice)), "--execute")[0] == 0
    assert verdict(kept) is None
    assert not values_of(alice).exists()


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
