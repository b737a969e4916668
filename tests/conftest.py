"""Every test that touches a database runs on SQLite and on PostgreSQL."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("SECRET_KEY", "only-for-tests-" * 4)
for name in ("ENVIRONMENT", "CACHE_URL", "API_KEY_PREFIX", "RECEIPT_SIGNING_KEY", "RECEIPT_KEYS"):
    os.environ.pop(name, None)
# No test ever sees the embedded database of this checkout: each one is pointed at its own.
os.environ["DATABASE_URL"] = "sqlite://:memory:"
# Nor a ledger, unless it brings one of its own.
os.environ["ERASURE_LEDGER"] = "none"
os.environ["VAR_DIR"] = tempfile.mkdtemp(prefix="sexton-var-")

import pytest
from django.conf import settings
from pytest_django.plugin import blocking_manager_key

from tests.databases import VENDORS, Switch, let_tests_flush, start_postgres
from tests.live.servers import forget_worlds

switch_key = pytest.StashKey[Switch]()


def pytest_configure(config: pytest.Config) -> None:
    # The controller starts PostgreSQL once; the workers of a parallel run inherit its address.
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        start_postgres()
    let_tests_flush()
    folder = Path(tempfile.mkdtemp(prefix="sexton-test-"))
    # The settings were read before this file, from this checkout's own environment.
    settings.ERASURE_LEDGER = settings.RECEIPT_SIGNING_KEY = settings.RECEIPT_KEYS = ""
    settings.RECEIPT_KEY_FILE = folder / "receipt-key.json"
    config.stash[switch_key] = Switch(folder, os.environ.get("PYTEST_XDIST_WORKER", "main"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The proofs take longest. Begun last, one of them would have all other workers wait for it.
    items.sort(key=lambda item: "proofs" not in item.path.parts)


def needs_database(item: Any) -> bool:
    fixtures = {"db", "transactional_db", "live_server", "admin_client"}
    return bool(item.get_closest_marker("django_db") or fixtures & set(item.fixturenames))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if needs_database(FixtureView(metafunc)):
        metafunc.fixturenames.append("vendor")
        metafunc.parametrize("vendor", VENDORS)


class FixtureView:
    """A test function before it is an item, with what ``needs_database`` looks at."""

    def __init__(self, metafunc: pytest.Metafunc) -> None:
        self.fixturenames = metafunc.fixturenames
        self.get_closest_marker = metafunc.definition.get_closest_marker


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Point Django at the test's database before any fixture asks for it."""
    callspec = getattr(item, "callspec", None)
    if callspec and "vendor" in callspec.params:
        with item.config.stash[blocking_manager_key].unblock():
            item.config.stash[switch_key].use(callspec.params["vendor"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    forget_worlds()
    with session.config.stash[blocking_manager_key].unblock():
        session.config.stash[switch_key].close()


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None) -> None:
    """Replaces pytest-django's own set-up: the switch creates databases when first needed."""


@pytest.fixture
def switch(request: pytest.FixtureRequest) -> Switch:
    return request.config.stash[switch_key]


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    from django.core.cache import cache

    cache.clear()
    yield
    cache.clear()
