"""Until it is sealed, a code shows that the service wrote an event. Without one it never is."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from uuid_utils.compat import uuid7

from audit.actors import Actor
from audit.events import Happening, Reference, record, record_many
from audit.evidence import FORGOTTEN
from audit.forgetting import forget_events
from audit.models import AuditEvent, EventDetail
from audit.rows import read_waiting
from audit.sealing import Sealed, seal
from audit.verifying import verify
from audit.vouching import vouched_entry
from erasure.models import DeletionRequest
from tests.admin.desk import delete_softly, sign_in_superuser
from tests.audit.logs import events, make_people, seal_all, verdict, write_log
from tests.commands.shell import run
from tests.databases import triggers_off

pytestmark = pytest.mark.django_db

SYSTEM = Actor.system("test")


def forge(action: str, subject: UUID | None = None, **facts: Any) -> UUID:
    """Put an event in with the database's password alone."""
    event = AuditEvent(
        at=timezone.now(),
        action=action,
        actor_kind="system",
        subject_kind="user",
        subject_id=subject,
        channel="forged",
        facts=facts,
        mac=b"\x07" * 32,
    )
    event.save(force_insert=True)
    return event.pk


def test_every_event_is_vouched_for_until_it_is_sealed() -> None:
    write_log(make_people(3), 20)
    kinds = [Happening(uuid7(), uuid7() if n % 2 else None, '{"b": 1, "a": 2}') for n in range(5)]
    record_many("many", actor=SYSTEM, kind="user", now=timezone.now(), happenings=kinds)
    same = {"at": timezone.now(), "actor_kind": "system", "channel": "x", "facts": {"b": 1, "a": 2}}
    AuditEvent.objects.create(action="one", **same)
    AuditEvent.objects.bulk_create([AuditEvent(action=f"bulk {n}", **same) for n in range(2)])
    waiting = list(read_waiting())
    assert len(waiting) == 28
    assert all(vouched_entry(row.values, mac) for row, mac in waiting)
    assert seal(now=timezone.now()).events == 28
    assert set(AuditEvent.objects.values_list("mac", flat=True)) == {None}


def test_what_was_put_in_is_not_sealed_and_is_named() -> None:
    write_log(make_people(2), 4)
    forged = [forge("user.deleted", uuid7()) for _ in range(3)]
    write_log(make_people(2), 4)
    assert seal(now=timezone.now(), batch=2) == Sealed(events=8, batches=5, size=8, refused=3)
    assert seal(now=timezone.now()).refused == 3
    assert verdict() == ("forged", None)
    assert set(events().filter(sealed_seq=None).values_list("pk", flat=True)) == set(forged)
    code, said = run("verify_audit_log", "--no-kept", "--most", "10")
    assert code == 1
    assert all(str(pk) in said for pk in forged)
    assert run("seal_audit_log")[1].startswith("0 events sealed, 8 in all.\n3 events refused")


def test_whoever_reads_the_log_is_told_what_was_put_in(client: Client) -> None:
    sign_in_superuser(client)
    mine = record("a", actor=SYSTEM, subject=Reference("user", uuid7()), now=timezone.now())
    forged = forge("user.deleted", uuid7())
    told = run("audit_log")[1].splitlines()
    assert [line for line in told if "FORGED" in line and "user.deleted" in line]
    assert [line for line in told if "unsealed" in line and "  a  " in line]
    said = [json.loads(line) for line in run("audit_log", "--json")[1].splitlines()]
    assert {it["action"]: it["forged"] for it in said} == {"a": False, "user.deleted": True}
    assert "FORGED" in client.get("/admin/audit/auditevent/").text
    page = "/admin/audit/auditevent/{}/change/"
    assert "the service did not write this" in client.get(page.format(forged)).text
    assert "not sealed yet" in client.get(page.format(mine)).text
    seal(now=timezone.now())
    assert "not sealed yet" not in client.get(page.format(mine)).text


def test_pages_of_a_deletion_leave_out_what_was_put_in(client: Client) -> None:
    sign_in_superuser(client)
    alice = delete_softly(at=timezone.now() - timedelta(hours=1))
    deletion = DeletionRequest.objects.get(subject_id=alice.pk)
    subject = Reference("user", alice.pk)
    record("deletion.brought_forward", actor=SYSTEM, subject=subject, now=timezone.now())
    forge("deletion.retried", alice.pk)
    told = client.get(f"/admin/erasure/deletionrequest/{deletion.pk}/change/").text
    assert "The erasure was brought forward" in told
    assert "Another attempt was asked for" not in told
    account = client.get(f"/admin/accounts/deleteduser/{alice.pk}/change/").text
    assert "deletion.brought_forward" in account
    assert "deletion.retried" not in account


def test_what_was_changed_before_its_seal_is_named() -> None:
    mine = record("a", actor=SYSTEM, subject=Reference("user", uuid7()), now=timezone.now())
    write_log(make_people(2), 4)
    with triggers_off():
        events().filter(pk=mine).update(subject_id=uuid7())
    assert seal(now=timezone.now()).refused == 1
    assert verdict() == ("forged", None)


def test_a_code_is_of_no_use_to_another_event() -> None:
    write_log(make_people(2), 2)
    first, second = AuditEvent.objects.order_by("id")
    with triggers_off():
        events().filter(pk=first.pk).update(mac=second.mac)
    assert seal(now=timezone.now()).refused == 1


@pytest.mark.parametrize("action", ["user.erased", "user.logs_erased"])
def test_an_erasure_that_was_made_up_accounts_for_nothing(action: str) -> None:
    people = make_people(3)
    write_log(people, 40)
    kept = seal_all()
    with triggers_off():
        EventDetail.objects.filter(person_id=people[0]).delete()
    forge(action, people[0])
    seal_all()
    found = verdict(kept)
    assert found is not None
    assert found[0] == "erased"


def test_a_retention_that_was_made_up_accounts_for_nothing() -> None:
    write_log(make_people(3), 40)
    kept = seal_all()
    with triggers_off():
        EventDetail.objects.filter(event_id=events().get(sealed_seq=7).pk).delete()
        events().filter(sealed_seq=7).delete()
    forge(FORGOTTEN, positions=[[7, 7]])
    seal_all()
    assert verdict(kept) == ("missing", 7)


def test_a_former_secret_vouches_as_long_as_it_is_named(settings: Any) -> None:
    write_log(make_people(2), 4)
    former, settings.SECRET_KEY = settings.SECRET_KEY, "another secret of the service" * 2
    assert seal(now=timezone.now()).refused == 4
    settings.SECRET_KEY_FALLBACKS = [former]
    assert seal(now=timezone.now()) == Sealed(events=4, batches=1, size=4)


def test_an_operator_can_accept_what_waited_when_the_secret_was_lost(settings: Any) -> None:
    write_log(make_people(2), 2)
    lost, other = AuditEvent.objects.order_by("id").values_list("pk", flat=True)
    settings.SECRET_KEY = "another secret of the service" * 2
    code, said = run("seal_audit_log", "--accept", str(lost), "--dry-run")
    assert code == 0, said
    assert "1 event" in said
    assert not events().filter(action="audit.accepted").exists()
    assert run("seal_audit_log", "--accept", str(lost))[0] == 0
    assert events().get(action="audit.accepted").facts == {"events": [str(lost)]}
    assert list(events().filter(sealed_seq=None).values_list("pk", flat=True)) == [other]
    assert run("seal_audit_log", "--accept", str(other))[0] == 0
    assert verdict() is None
    for wrong in ("x", str(uuid7()), str(lost)):
        code, said = run("seal_audit_log", "--accept", wrong)
        assert (code, said) == (2, f"{wrong} is not an event that waits for its seal.")


def test_no_other_is_accepted_whose_id_is_the_same_in_another_spelling(settings: Any) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    write_log(make_people(1), 1)
    settings.SECRET_KEY = "another secret of the service" * 2
    lost, forged = events().get().pk, forge("user.deleted")
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET id = %s WHERE id = %s", [lost.hex.upper(), forged.hex]
        )
    assert run("seal_audit_log", "--accept", str(lost))[0] == 0
    assert events().get(sealed_seq=None).channel == "forged"
    assert verdict() == ("forged", None)


def test_what_is_refused_is_never_forgotten_and_keeps_nobody_from_it() -> None:
    write_log(make_people(2), 4)
    forged = forge("x")
    ids = list(AuditEvent.objects.values_list("pk", flat=True))
    with transaction.atomic():
        assert forget_events(ids) == 4
        assert forget_events([forged]) == 0
    assert events().filter(pk=forged).exists()


def test_a_waiting_event_that_cannot_be_read_is_reported() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("columns have types there")
    write_log(make_people(2), 2)
    with triggers_off(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_auditevent SET action = CAST(X'ff' AS TEXT)")
    assert verdict() == ("unreadable", None)
    forged = forge("user.deleted")
    found = [(it.code, it.event) for it in verify(most=9).faults]
    assert found == [("unreadable", None)] * 2 + [("forged", str(forged))]
