from collections.abc import Iterator
from typing import Any

import pytest

from tests.erasure import planted


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
