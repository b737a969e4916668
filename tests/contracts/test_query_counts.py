"""How many statements each success costs. docs/contracts.md quotes these numbers."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apikeys.verification import verify_key
from tests.contracts.test_idempotency import account, logs, organizations, user, users, v1_user
from tests.contracts.transcript import Call
from tests.factories import ManagedUserFactory, UserFactory, give_key

pytestmark = pytest.mark.django_db

# PostgreSQL erases and counts in one statement; SQLite counts first. One of them asks whether any
# webhook wants to know.
COUNTS = {
    account: {"postgresql": 11, "sqlite": 13},
    v1_user: {"postgresql": 11, "sqlite": 15},
    users: {"postgresql": 14, "sqlite": 16},
    logs: {"postgresql": 7, "sqlite": 7},
    organizations: {"postgresql": 24, "sqlite": 23},
    user: {"postgresql": 15, "sqlite": 16},
}


def statements(call: Call) -> list[str]:
    """Send a request and return its statements, without the savepoints of the test itself."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert call.send().status_code in (200, 204)
    return [q["sql"] for q in captured if "SAVEPOINT" not in q["sql"]]


@pytest.mark.parametrize("make", COUNTS, ids=lambda make: make.__name__)
def test_a_success_costs_a_fixed_number_of_queries(make: Callable[[], Call]) -> None:
    found = statements(make())
    assert len(found) == COUNTS[make][connection.vendor], "\n".join(found)


def test_verifying_a_key_is_one_query() -> None:
    for owner in (UserFactory(), ManagedUserFactory().organization):
        key = give_key(owner)
        with CaptureQueriesContext(connection) as captured:
            assert verify_key(key, now=timezone.now())
        assert len(captured) == 1


def test_a_typo_in_a_key_is_refused_without_a_query() -> None:
    key = give_key(UserFactory())
    typos = [key[:-1], key + "0", key.swapcase(), key[:9] + "_" + key[10:], "", "sk-"]
    typos += [key[:n] + ("0" if key[n] != "0" else "1") + key[n + 1 :] for n in range(3, len(key))]
    with CaptureQueriesContext(connection) as captured:
        assert not any(verify_key(typo, now=timezone.now()) for typo in typos)
    assert len(captured) == 0
