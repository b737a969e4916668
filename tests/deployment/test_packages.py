"""requirements.lock: what the image installs, hash by hash, and from nowhere in particular."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.deployment.shell import PRODUCTION, ROOT, environment

LOCK = (ROOT / "requirements.lock").read_text()
PINS = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))
BLOCKS = re.split(r"^(?=[a-z])", LOCK, flags=re.MULTILINE)[1:]
DIRECT = [
    Requirement(line)
    for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
]
REMAKE = LOCK.splitlines()[0].removeprefix("# Remake: ")


@pytest.mark.parametrize("wanted", DIRECT, ids=lambda it: it.name)
def test_every_dependency_is_pinned_within_its_bounds(wanted: Requirement) -> None:
    assert wanted.name in PINS, f"Remake the lock: {REMAKE}"
    assert wanted.specifier.contains(PINS[wanted.name]), f"Remake the lock: {REMAKE}"


def test_the_lock_was_made_for_these_dependencies_and_no_others() -> None:
    direct = [text.split("==")[0] for text in BLOCKS if re.search(r"# +(via )?sexton ", text)]
    assert direct == sorted(it.name for it in DIRECT), f"Remake the lock: {REMAKE}"


def test_every_pin_has_hashes() -> None:
    assert len(BLOCKS) == len(PINS)
    assert all("--hash=sha256:" in block for block in BLOCKS)


def test_the_lock_names_no_registry_and_no_path() -> None:
    assert not re.search(r"://|--(?:extra-)?index|--find-links|[\s=]/\w", LOCK)


def test_its_first_line_says_how_to_remake_it() -> None:
    assert REMAKE.startswith("uv pip compile pyproject.toml --universal --generate-hashes ")


@pytest.mark.long
def test_the_lock_installs_with_hashes_required_and_production_starts(tmp_path: Path) -> None:
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    options = ("--quiet", "--only-binary", ":all:", "--require-hashes")
    subprocess.run(
        [home / "bin" / "pip", "install", *options, "-r", ROOT / "requirements.lock"], check=True
    )
    done = subprocess.run(
        [home / "bin" / "python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment(**PRODUCTION),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
