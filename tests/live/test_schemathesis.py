"""Schemathesis, all checks on, finds nothing between the service and its own document."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.databases import VENDORS
from tests.live.servers import PATIENCE, UNTHROTTLED, serve

RULES = Path(__file__).with_name("schemathesis.toml")


CALLERS = ("operator", "platform", "bob")


def attack(vendor: str, callers: Iterable[str], folder: Path, examples: int, *options: str) -> None:
    """Run it with the key of each caller, and show its report when it finds anything."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program
    with serve(vendor, folder, **UNTHROTTLED) as live:
        keys = {**live.world["keys"], "bob": live.world["users"]["bob"]["api_key"]}
        for caller in callers:
            command = [program, "--config-file", str(RULES)]
            command += ["run", f"{live.base}/openapi.json", "--checks", "all"]
            command += ["--max-examples", str(examples), "--no-color"]
            # A busy machine is slow, which is no finding.
            command += ["--request-timeout", str(PATIENCE), "--suppress-health-check", "too_slow"]
            command += options
            command += ["--header", f"Authorization: Bearer {keys[caller]}"]
            command += ["--header", "x-api-version: 2025-09"]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=3000, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert " passed" in done.stdout


@pytest.mark.parametrize(
    ("vendor", "caller"),
    [("sqlite", "platform"), ("postgresql", "operator"), ("postgresql", "bob")],
)
def test_a_short_attack_finds_nothing(vendor: str, caller: str, tmp_path: Path) -> None:
    # The same requests in every run: what new ones would find is for the long attack.
    attack(vendor, [caller], tmp_path, 5, "--generation-deterministic")


@pytest.mark.long
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_long_attack_finds_nothing(vendor: str, tmp_path: Path) -> None:
    attack(vendor, CALLERS, tmp_path, 300)
