"""What a monitor reads: the numbers are the database's, and nobody's name is among them."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from uuid_utils.compat import uuid7

from erasure import metrics
from erasure.clocks import sweep
from erasure.models import DeletionRequest, Heartbeat, Pause
from erasure.totals import SETTLED, roll_up
from tests.bystanders import charlie_untouched
from tests.contracts.transcript import place_hold
from tests.erasure.clockwork import DAY, HOUR, MINUTE, delete_user, finished, request_of

pytestmark = pytest.mark.django_db


def read() -> dict[str, float]:
    """Return every sample by its name and labels, parsed as a monitor parses it."""
    text = metrics.render_metrics().decode()
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def get(**headers: str) -> Any:
    return Client(raise_request_exception=False).get("/metrics", headers=headers)


def test_an_empty_database_has_every_number_but_no_sweep() -> None:
    told = {name: value for name, value in read().items() if name.startswith("erasure_")}
    assert told == {
        "erasure_requests_scheduled": 0,
        "erasure_requests_due": 0,
        "erasure_requests_overdue": 0,
        "erasure_requests_failed": 0,
        "erasure_requests_running": 0,
        "erasure_requests_stalled": 0,
        "erasure_requests_held": 0,
        "erasure_oldest_due_age_seconds": 0,
        "erasure_pauses[everything]": 0,
        "erasure_pauses[organization]": 0,
        "erasure_subjects_total": 0,
        "erasure_rows_total": 0,
    }


def test_each_deletion_is_counted_where_it_stands() -> None:
    now = timezone.now()
    with charlie_untouched():
        delete_user(due_since=-DAY)
        delete_user(due_since=HOUR)
        delete_user(due_since=3 * DAY)
        place_hold("user", delete_user(due_since=9 * DAY).pk)
        failed, alive, dead = (delete_user(due_since=MINUTE) for _ in range(3))
        change(failed, state="failed", retry_at=now + HOUR)
        change(alive, state="running", lease_until=now + HOUR, lease_token=uuid7())
        change(dead, state="running", lease_until=now - MINUTE, lease_token=uuid7())
        told = read()
    # Charlie's own deletion waits, too.
    assert told["erasure_requests_scheduled"] == 2
    assert told["erasure_requests_due"] == 5
    assert told["erasure_requests_overdue"] == 1
    assert told["erasure_requests_failed"] == 1
    assert told["erasure_requests_running"] == 1
    assert told["erasure_requests_stalled"] == 1
    assert told["erasure_requests_held"] == 1
    assert timedelta(seconds=told["erasure_oldest_due_age_seconds"]) >= 3 * DAY
    assert timedelta(seconds=told["erasure_oldest_due_age_seconds"]) < 4 * DAY


def change(user: Any, **fields: Any) -> None:
    DeletionRequest.objects.filter(pk=request_of(user).pk).update(**fields)


def test_overdue_is_a_setting(settings: Any) -> None:
    delete_user(due_since=2 * HOUR)
    settings.ERASURE_OVERDUE_AFTER = HOUR
    assert read()["erasure_requests_overdue"] == 1


def test_the_total_counts_subjects_and_rows_and_never_runs_backwards() -> None:
    for ago in (MINUTE, HOUR, 400 * DAY):
        finished(ago=ago)
    before = read()
    assert (before["erasure_subjects_total"], before["erasure_rows_total"]) == (3, 9)
    now = timezone.now()
    assert roll_up(now) == 2
    assert roll_up(now) == 0
    assert read() == before
    DeletionRequest.objects.filter(finished_at__lt=now - DAY).delete()
    assert read() == before
    finished(ago=SETTLED / 2)
    assert read()["erasure_rows_total"] == 12


def test_the_sum_of_a_sweep_that_began_later_is_kept_by_one_that_takes_long() -> None:
    finished(ago=400 * DAY)
    now = timezone.now()
    assert roll_up(now + HOUR) == 1
    DeletionRequest.objects.all().delete()
    assert roll_up(now) == 0
    assert read()["erasure_rows_total"] == 3
    finished(ago=-HOUR)
    assert roll_up(now + 2 * HOUR) == 1
    assert read()["erasure_rows_total"] == 6


def test_a_request_with_no_rows_counts_as_a_subject() -> None:
    finished(ago=HOUR, counts={})
    told = read()
    assert (told["erasure_subjects_total"], told["erasure_rows_total"]) == (1, 0)


def test_cancelled_and_open_requests_are_no_erasures() -> None:
    finished(ago=HOUR, state="cancelled")
    delete_user()
    assert read()["erasure_subjects_total"] == 0


def test_the_last_sweep_shows_its_age_and_its_failures() -> None:
    sweep(now=timezone.now() - HOUR, execute=True)
    told = read()
    assert told["erasure_last_sweep_age_seconds"] >= HOUR.total_seconds()
    assert told["erasure_last_sweep_failed_steps"] == 0
    Heartbeat.objects.filter(name="sweep").update(facts={"failed": {"files": "OSError"}})
    assert read()["erasure_last_sweep_failed_steps"] == 1


def test_brakes_show_without_their_reason() -> None:
    now = timezone.now()
    Pause.objects.create(reason="alice@example.com complained", placed_at=now)
    Pause.objects.create(reason="x", placed_at=now, organization_id=uuid7())
    Pause.objects.create(reason="x", placed_at=now, organization_id=uuid7(), released_at=now)
    told = read()
    assert (told["erasure_pauses[everything]"], told["erasure_pauses[organization]"]) == (1, 1)
    assert b"alice" not in get().content


def test_it_takes_few_queries_however_many_deletions_there_are(
    django_assert_max_num_queries: Any,
) -> None:
    for _ in range(5):
        place_hold("user", delete_user().pk)
    with django_assert_max_num_queries(8):
        metrics.render_metrics()


def test_the_page_is_text_that_a_monitor_understands() -> None:
    response = get()
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response["Cache-Control"] == "no-store"
    assert b"# TYPE erasure_rows_total counter" in response.content


def test_with_a_token_nobody_reads_it_without(settings: Any) -> None:
    settings.METRICS_TOKEN = "s3cret-of-the-monitor"
    for headers in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "s3cret-of-the-monitor"},
    ):
        response = get(**headers)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer realm="metrics"'
        assert response.json()["error"]["code"] == "AUTHENTICATION_REQUIRED"
        assert b"erasure_" not in response.content
    assert get(Authorization="Bearer s3cret-of-the-monitor").status_code == 200
    assert get(Authorization="bearer s3cret-of-the-monitor").status_code == 200


@pytest.mark.parametrize("address", ["192.0.2.7", "127.0.0.1"])
def test_production_without_a_token_has_no_such_page(settings: Any, address: str) -> None:
    settings.PRODUCTION = True
    response = Client(REMOTE_ADDR=address).get("/metrics")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "NOT_FOUND"


def test_it_is_only_read() -> None:
    assert Client().post("/metrics").status_code == 405
