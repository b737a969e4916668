"""What is read with several statements is of one moment, and a failing database is told of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.actors import Actor
from audit.events import record
from audit.exporting import export
from audit.querying import Wanted, read_page
from tests.audit.logs import elsewhere, make_people, seal_all, see
from tests.audit.spoiling import spoil
from tests.databases import triggers_off

pytestmark = pytest.mark.django_db(transaction=True)


def say(number: int) -> None:
    system = Actor.system("test")
    record("acme.seen", actor=system, subject=None, now=timezone.now(), facts={"n": number})


@contextmanager
def before(words: str, work: Callable[[], Any]) -> Iterator[None]:
    """Do something once, before the first statement that holds these words."""
    left = [work]

    def look(execute: Any, sql: str, *rest: Any) -> Any:
        if words in sql and left:
            left.pop()()
        return execute(sql, *rest)

    with connection.execute_wrapper(look):
        yield
    assert not left


def test_an_event_that_comes_meanwhile_has_none_shown_twice() -> None:
    for number in range(6):
        say(number)
    seal_all()
    with triggers_off():
        spoil("a number that is too long", 5)
    with before("OFFSET 3", lambda: elsewhere(lambda: say(99))):
        page = read_page(Wanted(), before=None, limit=4)
    assert [it.facts["n"] for it in page] == [4, 3, 2, 1]


def test_of_many_events_only_those_around_a_spoiled_one_are_read_alone() -> None:
    for number in range(60):
        say(number)
    seal_all()
    with triggers_off():
        spoil("a number that is too long", 50)
    with CaptureQueriesContext(connection) as asked:
        page = read_page(Wanted(), before=None, limit=51)
    assert [it.facts["n"] for it in page] == [it for it in range(59, 7, -1) if it != 50]
    assert len(asked) < 25


def test_an_export_whose_database_fails_does_not_end_without_its_values() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("a statement that fails ends no transaction there")
    see(make_people(1)[0])
    seal_all()

    def fail() -> None:
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    with before("audit_eventdetail", fail), pytest.raises(DatabaseError):
        list(export(with_details=True))
