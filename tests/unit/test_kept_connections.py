"""When a kept connection to PostgreSQL is asked whether it is still there."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError
from django.db.utils import ConnectionHandler

from config.postgresql.base import DatabaseWrapper
from config.settings import database
from tests.databases import start_postgres

HOUR = 3600.0


class Kept(DatabaseWrapper):
    """A connection that counts how often it was asked."""

    asked = 0

    def is_usable(self) -> bool:
        self.asked += 1
        return super().is_usable()

    def request(self) -> int:
        """Do what a request does with a connection; return the server's process behind it."""
        self.close_if_unusable_or_obsolete()
        try:
            with self.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                pid: int = cursor.fetchone()[0]
                cursor.execute("SELECT pg_backend_pid()")
            return pid
        finally:
            self.close_if_unusable_or_obsolete()

    def lie_idle_for_an_hour(self) -> None:
        self.answered_at -= HOUR + 1


@pytest.fixture
def keep(django_db_blocker: Any) -> Iterator[Any]:
    """Returns a function that opens a connection which is trusted for so many seconds."""
    opened = []

    def open_one(trusted: float) -> Kept:
        handler = ConnectionHandler({"default": database(start_postgres())})
        config = handler.settings["default"]
        config["CONN_HEALTH_TRUSTED"] = trusted
        assert config["CONN_HEALTH_CHECKS"]
        opened.append(Kept(config, "default"))
        opened[-1].request()
        return opened[-1]

    with django_db_blocker.unblock():
        yield open_one
        for connection in opened:
            connection.close()


def kill(victim: Kept, by: Kept) -> None:
    """End the server's process behind a connection, as a restart of the server does."""
    pid = victim.request()
    victim.asked = 0
    with by.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s::int, 60000::bigint)", [pid])
        assert cursor.fetchone() == (True,)


def test_the_service_uses_this_backend() -> None:
    config = database("postgres://sexton@localhost/sexton")
    assert config["ENGINE"] == "config.postgresql"
    assert config["CONN_HEALTH_TRUSTED"] == 1


def test_a_connection_that_answered_a_moment_ago_is_not_asked_again(keep: Any) -> None:
    connection = keep(HOUR)
    assert len({connection.request() for _ in range(5)}) == 1
    assert connection.asked == 0


def test_without_trust_it_is_asked_once_for_each_request(keep: Any) -> None:
    connection = keep(0)
    assert len({connection.request() for _ in range(5)}) == 1
    assert connection.asked == 5


def test_after_a_pause_it_is_asked_once_and_then_trusted_again(keep: Any) -> None:
    connection = keep(HOUR)
    connection.lie_idle_for_an_hour()
    assert len({connection.request() for _ in range(5)}) == 1
    assert connection.asked == 1


def test_a_restart_in_a_pause_costs_no_request(keep: Any) -> None:
    connection = keep(HOUR)
    kill(connection, by=keep(HOUR))
    connection.lie_idle_for_an_hour()
    connection.request()
    assert connection.asked == 1


def test_a_restart_between_two_requests_costs_one_and_warns_the_other_connections(
    keep: Any,
) -> None:
    first, second, by = keep(HOUR), keep(HOUR), keep(HOUR)
    kill(first, by)
    kill(second, by)
    with pytest.raises(OperationalError):
        first.request()
    first.request()
    second.request()
    assert second.asked == 1
