from pathlib import Path

import pytest

from tests.deployment.shell import PRODUCTION, manage


@pytest.fixture(scope="session")
def static_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static files as a production image holds them."""
    folder = tmp_path_factory.mktemp("deployment") / "static"
    done = manage("collectstatic", "--no-input", **PRODUCTION, STATIC_ROOT=str(folder))
    assert done.returncode == 0, done.stderr
    return folder
