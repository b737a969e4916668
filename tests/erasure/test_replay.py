"""After a restore: who was erased goes again, who came back stays, strangers are not touched."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.services import soft_delete_own_account
from audit.actors import Actor
from audit.events import Reference
from audit.models import AuditEvent
from erasure import executor, gate, replay
from erasure.deleting import restore
from erasure.ledger import Ledger, born_text
from erasure.models import DeletionRequest, LedgerMark, LegalHold
from erasure.outstanding import REPLAY
from erasure.purging import purge_due
from erasure.replay import ForeignLedger, NoLedgerConfigured, foresee
from tests.bystanders import charlie_untouched
from tests.erasure.test_gate import put_back
from tests.erasure.test_ledger import erase
from tests.factories import SessionFactory, UserFactory, give_key
from tests.ledgers import Backup, a_ledger, entry, ids_of

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with a_ledger(tmp_path) as made:
        assert gate.look() == ""
        yield made


def run(**options: Any) -> replay.Replay:
    return replay.replay(clock=timezone.now, **options)


def schedule(user: User, **fields: Any) -> DeletionRequest:
    now = timezone.now()
    user.is_active, user.is_deleted, user.deleted_at = False, True, now
    user.save()
    made = {
        "subject_kind": "user",
        "subject_id": user.pk,
        "channel": "test",
        "requested_by_kind": "user",
        "requested_at": now - DAY,
        "due_at": now + DAY,
        "before": {"is_active": True},
    }
    return DeletionRequest.objects.create(**{**made, **fields})


def hold(user: User, **fields: Any) -> LegalHold:
    made = {"subject_kind": "user", "subject_id": user.pk, "reason": "a court's order"}
    return LegalHold.objects.create(**{**made, "placed_at": timezone.now() - DAY, **fields})


def test_who_was_erased_after_the_backup_is_erased_again(ledger: Ledger) -> None:
    with charlie_untouched():
        alice, bob, dora = UserFactory(), UserFactory(), UserFactory()
        SessionFactory(user=alice)
        give_key(alice)
        backup = Backup()
        erase(alice)
        erase(bob)
        backup.restore()
        found = foresee()
        assert ids_of(found.erased) == {alice.pk, bob.pk}
        assert User.objects.count() >= 3, "a look erases nobody"
        done = run()
        assert [each.subject.id for each in done.erased] == [alice.pk, bob.pk]
        assert done.erased[0].counts["apikeys.ApiKey"] == 1
        assert (done.failed, done.is_current) == ({}, True)
        assert set(User.objects.filter(pk__in=[alice.pk, bob.pk, dora.pk])) == {dora}
        assert gate.look() == ""


def test_a_second_replay_finds_nothing(ledger: Ledger) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    backup.restore()
    run()
    assert not foresee()
    again = run()
    assert (again.erased, again.is_current) == ([], True)
    assert LedgerMark.objects.get().position == ledger.end()


def test_the_deletion_keeps_its_id_and_gets_a_receipt(ledger: Ledger) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    [first] = DeletionRequest.objects.filter(subject_id=alice.pk)
    backup.restore()
    run()
    [again] = DeletionRequest.objects.filter(subject_id=alice.pk)
    assert (again.pk, again.state, again.channel) == (first.pk, "completed", REPLAY)
    assert again.signature


def test_a_request_that_the_backup_shows_as_waiting_is_carried_to_its_end(ledger: Ledger) -> None:
    alice = UserFactory()
    request = schedule(alice, due_at=timezone.now() + 30 * DAY)
    backup = Backup()
    erase(alice)
    backup.restore()
    assert run().is_current
    request.refresh_from_db()
    assert (request.state, request.channel) == ("completed", "test")
    assert DeletionRequest.objects.filter(subject_id=alice.pk).count() == 1


def test_a_lease_in_the_backup_holds_nothing_up(ledger: Ledger) -> None:
    alice = UserFactory()
    request = schedule(
        alice, state="running", lease_until=timezone.now() + DAY, lease_token=entry().id
    )
    backup = Backup()
    DeletionRequest.objects.update(lease_until=None, state="scheduled")
    erase(alice)
    backup.restore()
    assert run().is_current
    request.refresh_from_db()
    assert request.state == "completed"


def test_another_deletion_that_the_backup_shows_as_open_is_closed(ledger: Ledger) -> None:
    alice = UserFactory()
    first = schedule(alice).pk
    backup = Backup()
    DeletionRequest.objects.all().delete()
    erase(alice)
    second = DeletionRequest.objects.get(subject_id=alice.pk)
    backup.restore()
    assert run().is_current
    states = dict(DeletionRequest.objects.filter(subject_id=alice.pk).values_list("pk", "state"))
    assert states == {first: "cancelled", second.pk: "completed"}


def test_a_stranger_with_the_same_key_is_not_touched(ledger: Ledger) -> None:
    alice, bob = UserFactory(), UserFactory()
    backup = Backup()
    erase(alice)
    erase(bob)
    backup.restore()
    User.objects.filter(pk=alice.pk).update(date_joined=timezone.now() + DAY)
    done = run()
    assert [each.subject.id for each in done.erased] == [bob.pk]
    assert User.objects.filter(pk=alice.pk).exists()
    assert done.is_current


def test_a_hold_of_the_backup_had_ended_and_is_ended_again(ledger: Ledger) -> None:
    alice = UserFactory()
    standing = hold(alice)
    backup = Backup()
    standing.released_at = timezone.now()
    standing.save()
    erase(alice)
    backup.restore()
    done = run()
    assert [each.subject.id for each in done.erased] == [alice.pk]
    standing.refresh_from_db()
    assert standing.released_at is not None
    event = AuditEvent.objects.get(action="hold.released")
    assert event.facts == {
        "hold": str(standing.pk),
        "because": "The ledger shows that it had ended.",
    }


def test_a_hold_that_was_placed_since_keeps_the_subject_and_shuts_it_away(ledger: Ledger) -> None:
    alice, bob = UserFactory(), UserFactory()
    backup = Backup()
    erase(alice)
    erase(bob)
    backup.restore()
    standing = hold(alice, placed_at=timezone.now() + DAY)
    done = run()
    assert done.aside == [Reference("user", alice.pk)]
    assert (done.failed, done.is_current) == ({}, True), "the service opens"
    alice.refresh_from_db()
    assert (alice.is_active, alice.is_deleted) == (False, True), "but nobody reads this one"
    assert not User.objects.filter(pk=bob.pk).exists()
    [request] = DeletionRequest.objects.filter(subject_id=alice.pk)
    assert (request.state, request.channel) == ("scheduled", REPLAY)
    assert list(DeletionRequest.objects.due(timezone.now())) == []
    standing.released_at = timezone.now()
    standing.save()
    assert list(DeletionRequest.objects.due(timezone.now())) == [request], "the purge takes it"


def test_one_that_fails_keeps_the_gate_shut_and_stops_no_other(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, bob = UserFactory(), UserFactory()
    backup = Backup()
    erase(poison)
    erase(bob)
    backup.restore()
    real = executor.erase_locked

    def fail(*, subject: Reference, **arguments: Any) -> Any:
        if subject.id == poison.pk:
            raise RuntimeError(poison.email)
        return real(subject=subject, **arguments)

    monkeypatch.setattr(replay, "erase_locked", fail)
    done = run()
    assert done.failed == {Reference("user", poison.pk): "RuntimeError"}
    assert not done.is_current
    assert not User.objects.filter(pk=bob.pk).exists()
    done = run(puts_aside=True)
    assert (done.failed, done.aside) == ({}, [Reference("user", poison.pk)])
    assert done.is_current
    poison.refresh_from_db()
    assert poison.is_deleted


def test_who_had_come_back_is_brought_back(ledger: Ledger) -> None:
    with charlie_untouched():
        alice = UserFactory()
        request = schedule(alice)
        backup = Backup()
        User.objects.filter(pk=alice.pk).update(is_active=True, is_deleted=False, deleted_at=None)
        DeletionRequest.objects.filter(pk=request.pk).update(state="cancelled")
        ledger.intend(
            [
                entry(
                    "restored",
                    subject_id=alice.pk,
                    deletion_id=request.pk,
                    born=born_text(alice.date_joined),
                )
            ]
        )
        backup.restore()
        assert ids_of(foresee().restored) == {alice.pk}
        done = run()
        assert (done.restored, done.is_current) == ([Reference("user", alice.pk)], True)
        alice.refresh_from_db()
        request.refresh_from_db()
        assert (alice.is_active, alice.is_deleted, request.state) == (True, False, "cancelled")


def test_a_restore_writes_what_a_later_replay_needs(ledger: Ledger) -> None:
    with charlie_untouched():
        alice = UserFactory()
        soft_delete_own_account(
            actor=Actor("user", alice.pk, "test", person_id=alice.pk),
            user_id=alice.pk,
            now=timezone.now(),
        )
        backup = Backup()
        restore(
            actor=Actor("user", alice.pk, "link"),
            subject=Reference("user", alice.pk),
            now=timezone.now(),
            by_link=True,
        )
        assert [each.state for _, each in ledger.read()] == ["restored"]
        backup.restore()
        assert gate.look()
        assert run().restored == [Reference("user", alice.pk)]
        alice.refresh_from_db()
        assert (alice.is_active, alice.is_deleted) == (True, False)
        assert gate.look() == ""


def test_nobody_is_told_a_second_time(ledger: Ledger, mailoutbox: list[Any]) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    assert len(mailoutbox) == 1
    backup.restore()
    assert run().is_current
    assert len(mailoutbox) == 1


def test_a_purge_waits_for_the_replay(ledger: Ledger) -> None:
    alice, bob = UserFactory(), UserFactory()
    schedule(bob, due_at=timezone.now() - DAY)
    backup = Backup()
    erase(alice)
    backup.restore()
    report = purge_due(actor=Actor.system("test"), clock=timezone.now)
    assert (report.erased, "replay_erasures" in report.stopped) == (0, True)
    run()
    report = purge_due(actor=Actor.system("test"), clock=timezone.now)
    assert (report.erased, report.stopped) == (1, "")
    assert LedgerMark.objects.get().position == ledger.end()


def test_who_came_back_and_was_erased_later_is_erased(ledger: Ledger) -> None:
    alice = UserFactory()
    request = schedule(alice)
    born = born_text(alice.date_joined)
    backup = Backup()
    ledger.intend([entry("restored", subject_id=alice.pk, deletion_id=request.pk, born=born)])
    DeletionRequest.objects.filter(pk=request.pk).delete()
    erase(alice)
    backup.restore()
    done = run()
    assert (done.restored, done.is_current) == ([], True)
    assert [each.subject.id for each in done.erased] == [alice.pk]
    request.refresh_from_db()
    assert request.state == "cancelled"


def test_what_was_begun_counts_as_done_when_the_database_was_replaced(ledger: Ledger) -> None:
    alice, bob = UserFactory(), UserFactory()
    backup = Backup()
    begun = entry(subject_id=bob.pk, born=born_text(bob.date_joined))
    ledger.intend([begun])
    erase(alice)
    backup.restore()
    done = run()
    assert {each.subject.id for each in done.erased} == {alice.pk, bob.pk}
    assert LedgerMark.objects.get().position == ledger.end()
    assert done.is_current


def test_what_is_under_way_is_left_alone_otherwise(ledger: Ledger) -> None:
    bob = UserFactory()
    ledger.intend([entry(subject_id=bob.pk, born=born_text(bob.date_joined))])
    done = run()
    assert (done.erased, done.is_current) == ([], True)
    assert [each.state for _, each in ledger.read()] == ["intent"]
    assert LedgerMark.objects.get().position < ledger.end()


def test_a_replay_that_is_cut_off_is_run_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [UserFactory() for _ in range(4)]
    backup = Backup()
    for user in users:
        erase(user)
    backup.restore()
    real, left = executor.erase_locked, [2]

    def die(**arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(replay, "erase_locked", die)
        with pytest.raises(KeyboardInterrupt):
            run()
    gate.forget()
    assert gate.look()
    done = run()
    assert len(done.erased) == 2
    assert done.is_current
    assert not User.objects.filter(pk__in=[user.pk for user in users]).exists()


def test_single_rows_that_somebody_copied_back_are_found_in_the_whole_ledger(
    ledger: Ledger,
) -> None:
    alice = UserFactory()
    erase(alice)
    gate.advance(now=timezone.now())
    put_back(alice)
    assert not foresee()
    assert ids_of(foresee(from_start=True).erased) == {alice.pk}
    assert run(from_start=True).is_current
    assert not User.objects.filter(pk=alice.pk).exists()


def test_a_foreign_ledger_is_taken_only_when_told_to(ledger: Ledger, tmp_path: Path) -> None:
    with a_ledger(tmp_path / "other") as other:
        other.intend([entry()])
        with pytest.raises(ForeignLedger) as caught:
            run()
        assert caught.value.ledgers == [ledger.identity]
        assert run(adopts=True).is_current
        assert [mark.ledger for mark in LedgerMark.objects.all()] == [other.identity]


def test_without_a_ledger_there_is_nothing_to_replay(settings: Any) -> None:
    settings.ERASURE_LEDGER = ""
    with pytest.raises(NoLedgerConfigured):
        run()
