"""A worker is killed between the claim, the request and the record: the message is still delivered,
at least once, under the same id and with the same bytes, and nothing overtakes it."""

import random
import signal
import subprocess
import sys
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from audit.actors import Actor
from audit.events import Reference, record
from organizations.webhooks import delivering
from organizations.webhooks.delivering import AT_ONCE, claim
from organizations.webhooks.models import Attempt, Delivery
from tests.databases import Switch
from tests.deployment.shell import ROOT, environment
from tests.factories import UserFactory
from tests.proofs.people import Ring
from tests.webhooks.conftest import receiver  # noqa: F401 - a fixture
from tests.webhooks.endpoints import deliver_all, make_endpoint
from tests.webhooks.receiver import Receiver

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE = 120

SEEN = {"claimed": 0, "sent": 1, "recording": 1, "recorded": 1}
"""Requests that were made before the worker died."""


def run(url: str, *command: str) -> int:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(
            DATABASE_URL=url,
            SECRET_KEY=django_settings.SECRET_KEY,
            WEBHOOKS_ALLOW_LOOPBACK="true",
        ),
        timeout=PATIENCE,
        check=False,
        capture_output=True,
    )
    connection.close()
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr.decode()[-3000:])
    return done.returncode


@pytest.mark.parametrize("point", SEEN)
def test_a_killed_worker_costs_a_try_and_no_message(
    point: str,
    switch: Switch,
    vendor: str,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    alice = UserFactory()
    _, secret = make_endpoint(None, receiver.url)
    subject = Reference("user", alice.pk)
    for action in ("user.deleted", "user.restored"):
        record(action, actor=Actor.system("test"), subject=subject, now=timezone.now())
    first, second = Delivery.objects.order_by("sequence")
    url = switch.url(vendor)
    assert run(url, "-m", "tests.proofs.dying", point) == -signal.SIGKILL
    assert len(receiver.requests) == SEEN[point]
    first.refresh_from_db()
    assert first.attempts == 1
    assert first.state == ("delivered" if point == "recorded" else "pending")
    assert Attempt.objects.count() == int(point == "recorded")
    # The lease keeps others away for as long as a request may take; then it has run out.
    if point != "recorded":
        assert first.lease_until
        Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    if point == "claimed":
        # Nothing but the sweep knows of it: the task that woke the worker died with it.
        assert run(url, "manage.py", "worker", "--once") == 0
    else:
        deliver_all()
    assert list(Delivery.objects.values_list("state", flat=True)) == ["delivered"] * 2
    again = int(point != "recorded")
    assert len(receiver.requests) == SEEN[point] + again + 1
    *mine, last = receiver.requests
    assert len({(one.id, one.body) for one in mine}) == 1
    assert last.data["type"] == "user.restored"
    assert last.id != mine[0].id
    for one in receiver.requests:
        one.verify(secret)
    assert second.pk


def test_two_workers_at_once_send_each_message_once(
    switch: Switch,
    vendor: str,
    receiver: Receiver,  # noqa: F811 - the fixture
) -> None:
    make_endpoint(None, receiver.url)
    for _ in range(12):
        subject = Reference("user", UserFactory().pk)
        now = timezone.now()
        record("user.restored", actor=Actor.system("test"), subject=subject, now=now)
    url = switch.url(vendor)
    command = [sys.executable, "manage.py", "worker", "--once"]
    env: dict[str, Any] = environment(
        DATABASE_URL=url, SECRET_KEY=django_settings.SECRET_KEY, WEBHOOKS_ALLOW_LOOPBACK="true"
    )
    connection.close()
    workers = [
        subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) for _ in range(2)
    ]
    assert [worker.wait(PATIENCE) for worker in workers] == [0, 0]
    assert Delivery.objects.filter(state="delivered").count() == 12
    assert sorted(one.id for one in receiver.requests) == sorted(
        {one.id for one in receiver.requests}
    )


@pytest.mark.parametrize("is_checked", [True, False], ids=["checked", "control"])
def test_of_two_who_see_the_same_one_gets_each(
    is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked before either takes. In the control nobody asks at the taking whether a
    lease was given since, and each is taken twice."""
    now = timezone.now()
    make_endpoint(None)
    for _ in range(2):
        record(
            "user.restored",
            actor=Actor.system("test"),
            subject=Reference("user", UserFactory().pk),
            now=now,
        )
    due = sorted(Delivery.objects.values_list("pk", flat=True))
    meeting = Barrier(2)
    monkeypatch.setattr(random, "shuffle", lambda _: meeting.wait(PATIENCE))
    if not is_checked:
        monkeypatch.setattr(delivering, "Q", lambda **_: Q())
    take = partial(claim, now=now, limit=AT_ONCE)
    [both] = Ring("claim").clash([(take, take)])
    tries = set(Delivery.objects.values_list("attempts", flat=True))
    assert tries == ({1} if is_checked else {2})
    if is_checked:
        assert sorted(it.pk for some in both for it in some) == due
