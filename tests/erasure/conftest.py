from collections.abc import Iterator
from typing import Any

import pytest

from erasure import policies
from erasure.subjects import _kinds
from tests.erasure import farms, planted


@pytest.fixture
def planted_tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Made before the test's transaction: SQLite changes no schema within one."""
    with django_db_blocker.unblock():
        planted.create_tables()
        yield
        planted.drop_tables()


@pytest.fixture
def world(planted_tables: None, db: None) -> None:
    """The planted models, with their tables, on the database of the test."""


@pytest.fixture
def farm_tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        farms.create_tables()
        yield
        farms.drop_tables()


@pytest.fixture(name="farms")
def farms_of_the_test(farm_tables: None, db: None) -> None:
    """Farms and what hangs on them, on the database of the test."""


@pytest.fixture
def declarations() -> Iterator[dict[str, policies.Policy]]:
    """The policies of this project, to be changed: afterwards all is as it was before, and no
    closure that was built meanwhile is used again."""
    known, kinds = dict(policies._policies), dict(_kinds)
    yield policies._policies
    policies._policies.clear()
    policies._policies.update(known)
    _kinds.clear()
    _kinds.update(kinds)
    policies._version = next(policies._changes)
