"""The gate: nothing is served from a database that is older than its ledger."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from erasure import gate, marks, middleware
from erasure.gate import DatabaseBehind
from erasure.ledger import Ledger
from erasure.middleware import LedgerGate
from erasure.models import DeletionRequest, LedgerMark
from erasure.settling import PATIENCE, settle_intents
from tests.erasure.clockwork import finished
from tests.erasure.test_ledger import erase
from tests.factories import UserFactory, give_key
from tests.ledgers import Backup, a_ledger, entry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with a_ledger(tmp_path) as made:
        assert gate.look() == ""
        yield made


def put_back(user: User) -> None:
    """Let one row be there again, as though somebody had copied it out of a backup."""
    again = User(**{f.attname: getattr(user, f.attname) for f in User._meta.concrete_fields})
    again.save(force_insert=True)


def test_a_new_database_gets_its_mark_at_the_first_look(ledger: Ledger) -> None:
    mark = LedgerMark.objects.get()
    assert (mark.ledger, mark.position) == (ledger.identity, 0)


def test_an_erasure_leaves_the_gate_open(ledger: Ledger) -> None:
    erase(UserFactory())
    assert gate.look() == ""
    assert gate.look(is_thorough=True) == ""


def test_a_restored_backup_shuts_it(ledger: Ledger) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    assert gate.look() == ""
    backup.restore()
    assert gate.look().endswith("Run manage.py replay_erasures --execute.")
    with pytest.raises(DatabaseBehind):
        gate.require_current()


def test_a_loaded_dump_shuts_it_on_postgresql_whatever_is_in_it(
    ledger: Ledger, vendor: str
) -> None:
    UserFactory()
    backup = Backup()
    backup.restore()
    loaded = "The database was loaded from a dump. Run manage.py replay_erasures --execute."
    assert gate.look() == (loaded if vendor == "postgresql" else "")


def test_a_backup_with_an_older_mark_shuts_it(ledger: Ledger) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    assert gate.advance(now=timezone.now())
    backup.restore()
    assert gate.look()


def test_a_backup_made_after_the_erasure_is_current(ledger: Ledger, vendor: str) -> None:
    erase(UserFactory())
    gate.advance(now=timezone.now())
    backup = Backup()
    UserFactory()
    backup.restore()
    assert (gate.look() == "") == (vendor == "sqlite")
    gate.forget()
    assert "who were erased" not in gate.look(is_thorough=True)


def test_a_process_that_starts_late_finds_out_as_well(ledger: Ledger) -> None:
    alice = UserFactory()
    erase(alice)
    put_back(alice)
    gate.forget()
    assert "1 who were erased are there" in gate.look()


def test_a_stranger_with_the_same_key_is_no_reason(ledger: Ledger) -> None:
    alice = UserFactory()
    erase(alice)
    alice.date_joined = timezone.now()
    put_back(alice)
    gate.forget()
    assert gate.look() == ""


def test_who_came_back_after_the_backup_shuts_it_while_a_purge_would_take_them(
    ledger: Ledger,
) -> None:
    from erasure.models import DeletionRequest

    alice, now = UserFactory(), timezone.now()
    request = DeletionRequest.objects.create(
        subject_kind="user",
        subject_id=alice.pk,
        channel="test",
        requested_by_kind="user",
        requested_at=now,
        due_at=now,
    )
    ledger.intend([entry("restored", subject_id=alice.pk, deletion_id=request.pk)])
    gate.forget()
    assert "1 who came back are due to be erased" in gate.look()
    DeletionRequest.objects.update(state="cancelled")
    gate.forget()
    assert gate.look() == ""


def test_a_database_of_another_ledger_is_shut(ledger: Ledger, tmp_path: Path) -> None:
    with a_ledger(tmp_path / "other"):
        assert f"belongs to the ledger {ledger.identity}" in gate.look()
        assert not (tmp_path / "other").exists(), "no ledger is begun for it"
    assert gate.look() == ""


def test_a_database_without_a_mark_is_shut_when_the_ledger_tells_something(ledger: Ledger) -> None:
    LedgerMark.objects.all().delete()
    gate.forget()
    assert gate.look() == ""
    LedgerMark.objects.all().delete()
    ledger.intend([entry()])
    gate.forget()
    assert "has no mark" in gate.look()


def test_a_ledger_that_is_gone_or_cut_shuts_it(ledger: Ledger, tmp_path: Path) -> None:
    erase(UserFactory())
    assert gate.advance(now=timezone.now())
    file = tmp_path / "ledger" / "erasures.jsonl"
    text = file.read_text()
    file.write_text(text.splitlines(keepends=True)[0])
    gate.forget()
    assert "has lost its end" in gate.look()
    file.unlink()
    gate.forget()
    assert "has vanished" in gate.look()
    file.write_text(text)
    gate.forget()
    assert gate.look() == ""


def test_the_mark_passes_what_is_settled_and_nothing_else(ledger: Ledger) -> None:
    erase(UserFactory())
    end = ledger.end()
    assert gate.advance(now=timezone.now())
    assert LedgerMark.objects.get().position == end
    assert gate.look() == ""
    ledger.intend([entry()])
    erase(UserFactory())
    assert not gate.advance(now=timezone.now()), "an intent without an end holds it"
    assert LedgerMark.objects.get().position == end


def test_a_sweep_finds_out_how_intents_ended(ledger: Ledger) -> None:
    alice, late = UserFactory(), timezone.now() + PATIENCE
    begun = entry(subject_id=alice.pk, born=alice.date_joined.isoformat())
    gone = entry()
    ledger.intend([begun, gone])
    assert settle_intents(now=timezone.now()) == {"done": 0, "void": 0}, "they may be under way"
    assert settle_intents(now=late + PATIENCE) == {"done": 1, "void": 1}
    ends = {each.id: each.state for _, each in ledger.read()}
    assert ends == {begun.id: "void", gone.id: "done"}
    assert LedgerMark.objects.get().position == ledger.end()
    assert gate.look(is_thorough=True) == ""


def test_an_intent_stays_open_while_rows_are_going_piece_by_piece(ledger: Ledger) -> None:
    alice = UserFactory()
    begun = entry(subject_id=alice.pk, born=alice.date_joined.isoformat())
    ledger.intend([begun])
    cursor = {"begun": True, "intent": str(begun.id)}
    fields = {"subject_id": alice.pk, "state": "failed", "finished_at": None, "cursor": cursor}
    finished(ago=PATIENCE, id=begun.deletion_id, **fields)
    late = timezone.now() + PATIENCE * 2
    assert settle_intents(now=late) == {"done": 0, "void": 0}
    DeletionRequest.objects.filter(pk=begun.deletion_id).update(cursor={"large": True})
    assert settle_intents(now=late) == {"done": 0, "void": 1}


def test_a_sweep_decides_nothing_while_the_database_is_behind(ledger: Ledger) -> None:
    alice, bob = UserFactory(), UserFactory()
    backup = Backup()
    ledger.intend([entry(subject_id=bob.pk, born=bob.date_joined.isoformat())])
    erase(alice)
    backup.restore()
    assert settle_intents(now=timezone.now() + PATIENCE * 2) == {"done": 0, "void": 0}


# --- requests -----------------------------------------------------------------------------------


def test_a_request_of_the_resurrected_gets_503_in_the_paths_dialect(ledger: Ledger) -> None:
    alice = UserFactory()
    key = give_key(alice)
    backup = Backup()
    erase(alice)
    backup.restore()
    client = Client(headers={"Authorization": f"Bearer {key}"})
    for path in ("/v1/api-keys", "/account", "/nowhere"):
        answer: Any = client.get(path)
        assert answer.status_code == 503
        assert (answer["Retry-After"], answer["Cache-Control"]) == ("30", "no-store")
        assert alice.username not in answer.content.decode()
    house: Any = client.get("/v1/api-keys").json()
    assert house["error"]["message"] == "The service is being brought up to date."
    assert (house["error"]["status"], house["error"]["type"]) == (503, "server_error")
    assert client.delete("/account").status_code == 503
    assert User.objects.get(pk=alice.pk).is_active


def test_staff_get_a_page_that_says_what_to_do(ledger: Ledger) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    backup.restore()
    answer: Any = Client().get("/admin/login/")
    assert answer.status_code == 503
    assert "manage.py replay_erasures --execute" in answer.content.decode()


def test_probes_and_keys_are_served_and_readyz_says_what_to_run(ledger: Ledger) -> None:
    alice = UserFactory()
    assert Client().get("/readyz").json()["checks"]["ledger"] == "ok"
    backup = Backup()
    erase(alice)
    backup.restore()
    client = Client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/.well-known/jwks.json").status_code == 200
    ready: Any = client.get("/readyz")
    assert ready.status_code == 503
    assert "manage.py replay_erasures --execute" in ready.json()["checks"]["ledger"]


@pytest.mark.parametrize(
    ("told", "long", "status"),
    [(200, 3600, 503), (404, 3600, 503), (204, 3600, 204), (204, 0, 503)],
)
@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_backup_that_comes_while_a_view_reads_is_not_shown(
    ledger: Ledger,
    method: str,
    told: int,
    long: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(middleware, "LONG", long)
    alice = UserFactory()
    backup = Backup()
    erase(alice)

    def view(request: HttpRequest) -> HttpResponse:
        backup.restore()
        return HttpResponse(User.objects.get(pk=alice.pk).email, status=told)

    request = getattr(RequestFactory(), method)("/x")
    answer: Any = LedgerGate(view)(request)
    assert answer.status_code == status
    if status == 503:
        assert alice.email not in answer.content.decode()


@pytest.mark.parametrize(("long", "status"), [(3600, 200), (0, 503)])
def test_an_answer_that_shows_nothing_needs_no_second_look(
    ledger: Ledger, long: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "LONG", long)
    alice = UserFactory()
    backup = Backup()
    erase(alice)

    def view(request: HttpRequest) -> HttpResponse:
        backup.restore()
        response: Any = HttpResponse("done")
        response.shows_nothing = True
        return cast("HttpResponse", response)

    answer: Any = LedgerGate(view)(RequestFactory().delete("/x"))
    assert answer.status_code == status


def test_without_the_setting_the_answer_is_plain_text(ledger: Ledger) -> None:
    alice = UserFactory()
    erase(alice)
    put_back(alice)
    gate.forget()
    with override_settings(ERASURE_GATE_ANSWER=None, ERASURE_GATE_OPEN=()):
        answer: Any = LedgerGate(lambda request: HttpResponse("x"))(RequestFactory().get("/x"))
    assert (answer.status_code, answer["Content-Type"]) == (503, "text/plain")


def test_without_a_ledger_the_gate_is_off() -> None:
    alice = UserFactory()
    gate.forget()
    with override_settings(ERASURE_LEDGER=""), CaptureQueriesContext(connection) as captured:
        assert gate.look() == ""
        assert not gate.advance(now=timezone.now())
    assert len(captured) == 0
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_glance_believes_what_the_same_connection_saw_a_moment_ago(
    ledger: Ledger, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    real = gate.look
    monkeypatch.setattr(gate, "look", lambda: (looks.append(1), real())[1])  # type: ignore[func-returns-value]
    with override_settings(ERASURE_LEDGER_CHECK_SECONDS=3600):
        assert [gate.glance(), gate.glance(), gate.glance()] == ["", "", ""]
        assert len(looks) == 0, "the fixture has looked"
        if vendor == "postgresql":
            connection.close()
            assert gate.glance() == ""
            assert len(looks) == 1, "a new connection may lead to another database"
    assert gate.glance() == ""
    assert looks


def test_a_glance_at_what_was_shut_looks(ledger: Ledger) -> None:
    alice = UserFactory()
    backup = Backup()
    erase(alice)
    backup.restore()
    with override_settings(ERASURE_LEDGER_CHECK_SECONDS=3600):
        assert gate.look()
        assert gate.glance()


def test_a_look_costs_one_query_at_most(ledger: Ledger, vendor: str) -> None:
    erase(UserFactory())
    gate.advance(now=timezone.now())
    gate.look()
    with CaptureQueriesContext(connection) as captured:
        for _ in range(5):
            assert gate.look() == ""
    # On PostgreSQL it goes by the driver, in the place of the health check.
    assert len(captured) == (5 if vendor == "sqlite" else 0)


def test_a_look_is_the_health_check_of_a_kept_connection(ledger: Ledger, vendor: str) -> None:
    if vendor == "sqlite":
        pytest.skip("SQLite's connections are not looked at")
    gate.look()
    kept: Any = connection
    kept.health_check_done = False
    kept.connection.close()
    assert gate.look() == "", "a connection that broke between requests is made anew"
    assert kept.health_check_done


def test_threads_agree(ledger: Ledger) -> None:
    alice = UserFactory()
    erase(alice)
    put_back(alice)
    gate.forget()
    found: list[str] = []

    def ask() -> None:
        try:
            found.append(gate.look())
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 4
    assert all("1 who were erased" in each for each in found)


def test_a_mark_can_be_written_inside_any_transaction(ledger: Ledger) -> None:
    with transaction.atomic(), transaction.atomic():
        marks.write_mark(ledger.identity, 7, timezone.now())
    mark = marks.read_mark(ledger.identity)
    assert mark is not None
    assert (mark.position, mark.is_sealed) == (7, True)
