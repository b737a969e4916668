from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import VENDORS
from tests.live.servers import Live, serve


@pytest.fixture(params=VENDORS)
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    """A service of two worker processes on each database, with the demo's world in it."""
    with serve(request.param, tmp_path) as running:
        yield running
