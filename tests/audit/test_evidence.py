"""What accounts for values and events that are gone, and what does not."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, models, transaction
from django.utils import timezone

from audit import offline, rows, verifying
from audit.actors import Actor, Origin
from audit.events import Reference, record
from audit.evidence import FORGOTTEN, Claim, Claims, Said
from audit.forgetting import forget_events, redact_person
from audit.gaps import prepare_under_way
from audit.models import EventDetail
from audit.publishing import publish
from audit.sealing import seal
from audit.verifying import Kept, verify
from erasure.ledger import open_ledger
from erasure.models import DeletionRequest
from erasure.references import spell
from tests.audit.files import check, save
from tests.audit.logs import (
    at,
    elsewhere,
    erase_logs,
    events,
    make_people,
    seal_all,
    see,
    values_of,
    verdict,
    write_log,
)
from tests.audit.test_vouching import forge
from tests.bystanders import charlie_untouched
from tests.commands.shell import run
from tests.databases import triggers_off
from tests.erasure.clockwork import DAY, finished
from tests.ledgers import a_ledger
from tests.ledgers import entry as ledger_entry

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")
LONG_AGO = timedelta(days=4000)


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


@pytest.mark.parametrize("has_person", [True, False])
def test_the_end_of_an_organization_accounts_for_nobodys_values(has_person: bool) -> None:
    acme, carl, dora = make_people(3)
    person, origin = (carl, Origin("192.0.2.1", "x")) if has_person else (None, Origin("", ""))
    actor = Actor(
        "organization", acme, "test", person_id=person, origin=origin, reason="what was typed"
    )
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


def test_the_end_of_an_organization_with_somebodys_id_accounts_for_nothing_of_theirs() -> None:
    alice, acme = make_people(2)
    before = timezone.now() - LONG_AGO
    see(alice, now=before)
    about = Reference("organization", acme)
    record("x", actor=SYSTEM, subject=about, now=before, details={"name": "Acme"})
    for pk in (alice, acme):
        ended = Reference("organization", pk)
        record("organization.erased", actor=SYSTEM, subject=ended, now=timezone.now())
    kept = seal_all()
    assert verdict(kept) == ("survivor", 3), "but its own must be gone"
    redact_person(acme)
    assert verdict(kept) is None
    with triggers_off():
        values_of(alice).delete()
    assert verdict(kept) == ("erased", 0)


def test_values_of_a_projects_own_kind_of_users_have_their_owners() -> None:
    member, other = make_people(2)
    for person_id in (member, None):
        actor = Actor("member", member, "admin", person_id=person_id, reason="words")
        record("pause.placed", actor=actor, subject=Reference("member", other), now=timezone.now())
    assert verdict(seal_all()) is None
    assert redact_person(member) == 2


@pytest.mark.parametrize("makes_another", [True, False])
def test_a_finished_erasure_is_not_under_way_whatever_a_row_says(
    tmp_path: Path, makes_another: bool
) -> None:
    alice = make_people(1)[0]
    see(alice)
    request = finished(ago=DAY, subject_id=alice)
    intent = ledger_entry(subject_id=alice, deletion_id=request.pk)
    with a_ledger(tmp_path):
        open_ledger().intend([intent])
        open_ledger().finish([intent], "done")
        kept = seal_all()
        with triggers_off():
            values_of(alice).delete()
        state: dict[str, Any] = {
            "state": "running",
            "cursor": {"begun": True, "intent": str(intent.id)},
        }
        if makes_another:
            finished(ago=DAY, subject_id=alice, finished_at=None, **state)
        else:
            DeletionRequest.objects.filter(pk=request.pk).update(**state)
        assert verdict(kept) == ("erased", 0)


def test_another_deletion_of_the_same_person_is_not_the_one_that_is_under_way(
    tmp_path: Path,
) -> None:
    alice = make_people(1)[0]
    intent = ledger_entry(subject_id=alice)
    cursor = {"begun": True, "intent": str(intent.id)}
    fields: dict[str, Any] = {"subject_id": alice, "finished_at": None, "cursor": cursor}
    with a_ledger(tmp_path):
        open_ledger().intend([intent])
        other = finished(ago=DAY, state="running", **fields)
        assert set(prepare_under_way()()) == set()
        other.delete()
        finished(ago=DAY, id=intent.deletion_id, state="running", **fields)
        assert set(prepare_under_way()()) == {str(alice)}


@pytest.mark.parametrize("place", [299.5, 255.5, 7.5, -0.5])
def test_a_position_between_two_others_is_none(kept: Kept, place: float) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a position is a whole number there")
    events().filter(sealed_seq=9).delete()
    told = forge(FORGOTTEN, positions=[[9, 9]])
    events().filter(pk=told).update(mac=None, sealed_seq=models.Value(place, models.FloatField()))
    found = [it.code for it in verify([kept], most=99).faults if it.code != "orphan"]
    assert "beyond" in found
    assert "claim" in found


def test_what_no_sealed_event_says_accounts_for_nothing(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever answers the question what accounts for gaps, such as a view in a table's place."""
    victim = at(9).pk
    EventDetail.objects.filter(event_id=victim).delete()
    events().filter(pk=victim).delete()
    claims = Claims()
    claims.forgotten.append([9, 9])
    said = Said()
    said.add(7, Claim(forgotten=[[9, 9]]))
    monkeypatch.setattr(verifying, "read_claims", lambda: (claims, said))
    assert verdict(kept) == ("claim", None)


def test_however_a_fact_is_spelled_it_is_the_same() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("documents have one spelling there")
    alice = make_people(1)[0]
    see(alice)
    facts = {"logs_kept": True}
    about = Reference("user", alice)
    record("user.erased", actor=SYSTEM, subject=about, now=timezone.now(), facts=facts)
    kept = seal_all()
    with triggers_off(), connection.cursor() as cursor:
        values_of(alice).delete()
        cursor.execute(
            "UPDATE audit_auditevent SET facts = replace(facts, 'logs_kept', 'logs_\\u006bept')"
        )
    assert verdict(kept) == ("erased", 0)


def test_rows_that_no_service_can_have_written_stop_no_verification(kept: Kept) -> None:
    spoiled: list[Any] = [["begun"], {"begun": 1, "spare": 7}, {"begun": 1, "intent": {}}]
    for one in spoiled:
        finished(ago=DAY, state="running", finished_at=None, cursor=one)
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


def test_what_came_back_is_named_when_the_record_of_its_erasure_is_gone(tmp_path: Path) -> None:
    alice, bob = make_people(2)
    see(alice, now=timezone.now() - timedelta(hours=1))
    see(bob)
    dump = list(values_of(alice))
    erase_logs(alice)
    kept = seal_all()
    forget_events([events().get(action="user.logs_erased").pk])
    kept = seal_all()
    assert verdict(kept) is None
    EventDetail.objects.bulk_create(dump[:1])
    assert verdict(kept) == ("survivor", 0)
    with pytest.raises(offline.Bad, match="again, which was erased"):
        check(save(tmp_path / "file", with_details=True))


def test_an_event_that_came_back_after_it_was_removed_is_named(kept: Kept) -> None:
    gone, values = at(5), list(EventDetail.objects.filter(event_id=at(5).pk))
    forget_events([gone.pk])
    seal_all()
    assert verdict(kept) is None
    events().bulk_create([gone])
    EventDetail.objects.bulk_create(values)
    assert verdict(kept) == ("survivor", 5)


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
